"""Uses of a trained student: scoring a split, and answering new inputs."""

from typing import Any

from dsbs_jax import files
from dsbs_jax.data import mixtures, vocabulary
from dsbs_jax.errors import UserError
from dsbs_jax.local import evaluation, report, state
from dsbs_jax.local.config import EvalConfig, PredictionSettings
from dsbs_jax.local.partitioning import Partitioner
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
        UserError: The checkpoint, task or split does not exist, or the vocabulary has
            more ids than the student.
    """
    folder = files.check_output_folder(config.eval_output_dir)
    data = mixtures.build(shared.data, vocabulary.load(shared.data.vocabulary_path))
    mixtures.check_split(data.mixture, config.eval_split)
    model = Transformer(student_config(shared.student, config.checkpoint_path))
    _check_vocabulary(data, model, config.checkpoint_path)
    partitioner = Partitioner(shared.partitioning.num_partitions)
    params = read_params(config.checkpoint_path, model, partitioner)
    predictor = evaluation.Predictor(model, shared.decoding, partitioner)
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


def _check_vocabulary(
    data: mixtures.MethodData, model: Transformer, checkpoint: str
) -> None:
    ids, rows = data.vocabulary.vocab_size, model.config.vocab_size
    if ids > rows:
        raise UserError(
            f"the vocabulary of VOCABULARY_PATH has {ids} ids, expected at most the "
            f"{rows} rows of the embedding of CHECKPOINT_PATH, {checkpoint}; give the "
            "vocabulary with which the student was trained"
        )
