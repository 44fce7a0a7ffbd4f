r"""Asks a teacher for rationales and labels of the inputs in a file.

    python -m dsbs_jax.teacher.extract --gin_file=teacher/extract.gin \
      --gin.INPUT_FILE=questions.jsonl --gin.PROMPT=cqa --gin.OUTPUT_DIR=runs/teacher \
      --gin.BASE_URL=http://localhost:8000/v1 --gin.TEACHER_MODEL=the-teacher

With --dry_run it only prints the first request and the estimated cost. The same command
resumes an extraction: stored replies are never requested again. Exit statuses: 0 done,
2 bad input, 3 stopped by a cap, 4 inputs without a usable reply or rows that the judge
did not answer, 128 + number after a signal.
"""

import signal
import sys

from absl import flags

from dsbs_jax import cli
from dsbs_jax.teacher import extraction
from dsbs_jax.teacher.config import ExtractionSettings

SETTINGS = ExtractionSettings.classes()


def run(dry_run: bool = False) -> int:
    """Runs the extraction that the macros describe; returns the exit status."""
    config = ExtractionSettings.from_macros(cli.values())
    return extraction.extract(config, dry_run).status


def main() -> None:
    """Runs the command."""
    try:
        sys.exit(run(flags.FLAGS.dry_run))
    except KeyboardInterrupt:
        # Requests have their own signal handler; this one covers the rest of the run.
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    flags.DEFINE_bool(
        "dry_run",
        False,
        "Print the first request and the estimated cost; send nothing.",
    )
    flags.DEFINE_alias("dry-run", "dry_run")
    cli.run_configured(main, [*SETTINGS.values()], __doc__, tensorflow=False)
