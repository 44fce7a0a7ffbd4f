"""The server of `dsbs-jax serve`. Its packages are in the extra `serve`."""
