"""Trains a student on this machine: `python -m dsbs_jax.train --gin_file=… …`."""

from dsbs_jax import cli


def main() -> None:
    """Trains as gin says."""
    from dsbs_jax.local import loop

    loop.train()


if __name__ == "__main__":
    cli.run_configured(main, description=__doc__)
