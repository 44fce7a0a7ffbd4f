r"""Labels new inputs with a trained student.

Needs: CHECKPOINT_PATH, INPUT_FILE (rows with `input`), OUTPUT_FILE, and the
config.gin of the run. For weights without a run, add files of methods/ and datasets/
instead of config.gin.
Commonly overridden: RATIONALE, RATIONALE_LENGTH, NUM_BEAMS.

  python -m dsbs_jax.infer --gin_file=local/infer.gin --gin_file=runs/cqa/config.gin \
    --gin.CHECKPOINT_PATH=runs/cqa --gin.INPUT_FILE=new.jsonl \
    --gin.OUTPUT_FILE=answers.jsonl --gin.RATIONALE=True
"""

from dsbs_jax import interruption, malloc

if __name__ == "__main__":
    # Before the other imports, which take a moment.
    malloc.keep_freed_memory()
    interruption.install()

from dsbs_jax import cli
from dsbs_jax.local.config import INFER_SETTINGS, InferConfig, PredictionSettings


def main() -> None:
    """Labels the inputs of INPUT_FILE and writes OUTPUT_FILE."""
    config, shared = cli.read(InferConfig), PredictionSettings.from_macros(cli.values())
    # JAX takes seconds to import; bad settings are reported before.
    from dsbs_jax.api import inference

    inference.infer(config, shared)


if __name__ == "__main__":
    cli.run_configured(main, INFER_SETTINGS, __doc__ or "")
