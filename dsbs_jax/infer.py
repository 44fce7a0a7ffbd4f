"""Answers new inputs with a trained student: `python -m dsbs_jax.infer …`."""

from dsbs_jax import cli


def main() -> None:
    """Answers as gin says."""
    from dsbs_jax.local import inference

    inference.infer()


if __name__ == "__main__":
    cli.run_configured(main, description=__doc__)
