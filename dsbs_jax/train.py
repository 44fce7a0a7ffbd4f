"""Trains a student on this machine: `python -m dsbs_jax.train --gin_file=… …`."""

from dsbs_jax import settings


def main() -> None:
    """Trains as gin says."""
    from dsbs_jax.local import loop

    loop.train()


if __name__ == "__main__":
    settings.use_huge_pages()
    settings.run_configured(main)
