r"""Scores a trained student on a split.

Needs: CHECKPOINT_PATH, EVAL_OUTPUT_DIR, and the config.gin of the run. For weights
without a run, add files of methods/ and datasets/ instead of config.gin.
Commonly overridden: EVAL_SPLIT, MIXTURE_OR_TASK_NAME, NUM_BEAMS.

  python -m dsbs_jax.eval --gin_file=local/eval.gin --gin_file=runs/cqa/config.gin \
    --gin.CHECKPOINT_PATH=runs/cqa --gin.EVAL_OUTPUT_DIR=runs/cqa/eval \
    --tfds_data_dir=$HOME/data
"""

from dsbs_jax import interruption, malloc

if __name__ == "__main__":
    # Before the other imports, which take a moment.
    malloc.keep_freed_memory()
    interruption.install()

from dsbs_jax import cli
from dsbs_jax.local.config import EVAL_SETTINGS, EvalConfig, PredictionSettings


def main() -> dict[str, dict[str, float]]:
    """Scores a checkpoint, and returns the metrics of each task in percent."""
    config, shared = cli.read(EvalConfig), PredictionSettings.from_macros(cli.values())
    # JAX takes seconds to import; bad settings are reported before.
    from dsbs_jax.local import inference

    return inference.evaluate(config, shared)


if __name__ == "__main__":
    cli.run_configured(main, EVAL_SETTINGS, __doc__ or "")
