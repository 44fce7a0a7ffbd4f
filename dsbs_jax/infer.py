"""Answers new inputs with a trained student: `python -m dsbs_jax.infer …`."""

from dsbs_jax import settings


def main() -> None:
    """Answers as gin says."""
    from dsbs_jax.local import inference

    inference.infer()


if __name__ == "__main__":
    settings.use_huge_pages()
    settings.run_configured(main)
