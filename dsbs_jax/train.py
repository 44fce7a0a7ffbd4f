r"""Trains a student on this machine, over all its devices.

Needs: MODEL_DIR, and one file each of sizes/, methods/ and datasets/.
Commonly overridden: TRAIN_STEPS, LEARNING_RATE, BATCH_SIZE, NUM_MICROBATCHES,
DROPOUT_RATE, PRECISION, RANDOM_SEED, EVAL_PERIOD, PATIENCE,
INITIAL_CHECKPOINT_PATH; OPTIMIZER = 'adafactor' with SCHEDULE = 'constant' for T5's own
recipe.

  python -m dsbs_jax.train --gin_file=sizes/small.gin \
    --gin_file=methods/step_by_step.gin --gin_file=datasets/cqa.gin \
    --gin_file=local/train.gin --gin.MODEL_DIR=runs/cqa --tfds_data_dir=$HOME/data

The same command resumes a run that was stopped.
"""

from typing import Any

from dsbs_jax import interruption, malloc

if __name__ == "__main__":
    # Before the other imports, which take a moment.
    malloc.keep_freed_memory()
    interruption.install()

from dsbs_jax import cli
from dsbs_jax.local.config import TRAIN_SETTINGS, TrainSettings


def main() -> dict[str, Any]:
    """Trains a student, and returns the content of `results.json`."""
    settings = TrainSettings.from_macros(cli.values())
    # JAX takes seconds to import; bad settings are reported before.
    from dsbs_jax.local import loop

    return loop.train(settings)


if __name__ == "__main__":
    cli.run_configured(main, TRAIN_SETTINGS, __doc__ or "")
