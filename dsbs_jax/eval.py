"""Scores a trained student on a split: `python -m dsbs_jax.eval --gin_file=… …`."""

from dsbs_jax import cli


def main() -> None:
    """Evaluates as gin says."""
    from dsbs_jax.local import inference

    inference.evaluate()


if __name__ == "__main__":
    cli.run_configured(main, description=__doc__)
