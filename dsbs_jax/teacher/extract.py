"""Asks a teacher for rationales: `python -m dsbs_jax.teacher.extract …`."""

import signal
import sys

from absl import flags

from dsbs_jax import cli


def main() -> None:
    """Asks as gin says; `extraction.extract` lists the exit statuses."""
    from dsbs_jax.teacher import extraction

    try:
        sys.exit(extraction.extract(dry_run=flags.FLAGS.dry_run))
    except KeyboardInterrupt:
        # Before or after asking, which stops by itself; nothing is lost by it.
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    flags.DEFINE_bool("dry_run", False, "Print a prompt and the estimate; ask nothing.")
    flags.DEFINE_alias("dry-run", "dry_run")
    cli.run_configured(main, tensorflow=False)
