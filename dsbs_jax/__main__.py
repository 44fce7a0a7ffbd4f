"""Runs the command `dsbs-jax` as `python -m dsbs_jax`."""

from dsbs_jax.commands.app import main

if __name__ == "__main__":
    main()
