"""The command `dsbs-jax`: one module for each subcommand, which calls the API."""
