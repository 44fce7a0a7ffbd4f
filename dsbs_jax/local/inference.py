"""Uses of a trained student: scoring a split, and answering new inputs."""

from typing import Any

from dsbs_jax import files
from dsbs_jax.data import mixtures, vocabulary
from dsbs_jax.local import evaluation, report, state
from dsbs_jax.local.config import EvalConfig, PredictionSettings
from dsbs_jax.local.partitioning import Partitioner
from dsbs_jax.student.config import check_vocabulary_size
from dsbs_jax.student.network import Transformer
from dsbs_jax.weights import load_params, open_checkpoint, student_config


def evaluate(
    config: EvalConfig,
    shared: PredictionSettings,
) -> evaluation.Scores:
    """Scores a checkpoint on a split, and writes scores and predictions.

    Args:
        config: Checkpoint, split and output folder.
        shared: Settings of the examples, the student and its decoding.

    Returns:
        The metrics of each task, in percent.

    Raises:
        UserError: The checkpoint, task or split does not exist.
    """
    folder = files.check_output_folder(config.eval_output_dir)
    data = mixtures.build(shared.data, vocabulary.load(shared.data.vocabulary_path))
    mixtures.check_split(data.mixture, config.eval_split)
    predictor, params = _load(config.checkpoint_path, shared)
    check_vocabulary_size(predictor.model.config.vocab_size, data.vocabulary.vocab_size)
    scorer = evaluation.Scorer(
        data.mixture, config.eval_split, predictor, data.task_feature_lengths
    )
    scores = scorer(params, folder, "checkpoint")
    files.write_json(folder / "scores.json", scores)
    rows = [["task", "metric", config.eval_split]]
    rows += [[t, m, f"{v:.2f}"] for t, ms in scores.items() for m, v in ms.items()]
    print(report.table(rows))
    return scores


def read_params(checkpoint: str, model: Transformer, partitioner: Partitioner) -> Any:
    """Reads the parameters of a checkpoint, placed on the partitioner's devices.

    Raises:
        UserError: The checkpoint cannot be read, or does not fit the student.
    """
    abstract = state.abstract_params(model, partitioner)
    return load_params(open_checkpoint(checkpoint), abstract)


def _load(
    checkpoint: str, shared: PredictionSettings
) -> tuple[evaluation.Predictor, Any]:
    """Returns a predictor and the parameters of a checkpoint."""
    model = Transformer(student_config(shared.student, checkpoint))
    partitioner = Partitioner(shared.partitioning.num_partitions)
    params = read_params(checkpoint, model, partitioner)
    return evaluation.Predictor(model, shared.decoding, partitioner), params
