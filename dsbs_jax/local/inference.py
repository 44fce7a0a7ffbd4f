"""Uses of a trained student: scoring a split, and answering new inputs."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import seqio
import tensorflow as tf
from absl import logging

from dsbs_jax import files
from dsbs_jax.data import mixtures, tables, vocabulary
from dsbs_jax.data.methods import TaskInfo
from dsbs_jax.data.preprocessors import encode_segments
from dsbs_jax.data.tasks import infos_of, split_answer
from dsbs_jax.errors import UserError
from dsbs_jax.local import evaluation, report, state
from dsbs_jax.local.config import EvalConfig, InferConfig, PredictionSettings
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
        shared: The examples, the student and how it decodes.

    Returns:
        The metrics of each task, in percent.

    Raises:
        UserError: The checkpoint, task or split does not exist.
    """
    data = mixtures.build(shared.data, vocabulary.load(shared.data.vocabulary_path))
    splits = data.mixture.splits
    if config.eval_split not in splits:
        raise UserError(
            f"EVAL_SPLIT is {config.eval_split!r}, expected one of "
            f"{', '.join(sorted(splits))}"
        )
    predictor, params = _load(config.checkpoint_path, shared)
    scorer = evaluation.Scorer(
        data.mixture, config.eval_split, predictor, data.task_feature_lengths
    )
    folder = pathlib.Path(config.eval_output_dir)
    scores = scorer(params, folder, "checkpoint")
    files.write(folder / "scores.json", json.dumps(scores, indent=2) + "\n")
    rows = [["task", "metric", config.eval_split]]
    rows += [[t, m, f"{v:.2f}"] for t, ms in scores.items() for m, v in ms.items()]
    print(report.table(rows))
    return scores


def infer(
    config: InferConfig,
    shared: PredictionSettings,
) -> None:
    """Labels the inputs of a file with a trained student.

    OUTPUT_FILE gets each row of INPUT_FILE with the student's answer:

        label      The predicted label.
        score      Log-probability in nats of the tokens that the student generated for
                   the label task. They are the label alone, except in the single-task
                   methods: there they are the rationale and the label.
        rationale  The student's rationale, with RATIONALE.

    Args:
        config: Checkpoint, files, and whether rationales are generated.
        shared: The data that the student was trained on, whose method decides the
            prefixes of the inputs; the student, and how it decodes labels.

    Raises:
        UserError: The checkpoint or file does not exist, a line is bad, or the student
            was not trained to give rationales.
    """
    data = mixtures.build(shared.data, vocabulary.load(shared.data.vocabulary_path))
    label_task, explain_task = _tasks(data)
    if config.rationale and not explain_task and not label_task.single_task:
        raise UserError(
            f"RATIONALE is True, but {data.mixture.name!r} does not train rationales; "
            "expected a run with a step_by_step or single_task method"
        )
    rows = tables.read_inputs(config.input_file)
    predictor, params = _load(config.checkpoint_path, shared)

    def generate(task: TaskInfo, predictor: evaluation.Predictor) -> _Generated:
        texts = [task.prefix + row["input"] for row in rows]
        limit = data.task_feature_lengths["inputs"]
        inputs = _encode(texts, data.vocabulary, limit)
        tokens, scores = predictor(params, inputs)
        return [data.vocabulary.decode(ids).strip() for ids in tokens], scores

    labels, scores = generate(label_task, predictor)
    rationales = [""] * len(rows)
    if label_task.single_task:
        rationales, labels = map(list, zip(*map(split_answer, labels), strict=True))
    elif config.rationale and explain_task:
        longer = dataclasses.replace(
            shared.decoding, max_decode_length=config.rationale_length
        )
        rationales, _ = generate(
            explain_task, dataclasses.replace(predictor, config=longer)
        )
    answers = [
        {**row, "label": label, "score": round(score, 6)}
        | ({"rationale": rationale} if config.rationale else {})
        for row, label, score, rationale in zip(
            rows, labels, scores, rationales, strict=True
        )
    ]
    files.write_jsonl(config.output_file, answers)
    print(f"{len(rows):,} answers are in {config.output_file}")


# Texts, and their log-probabilities in nats.
_Generated = tuple[list[str], list[float]]


def _tasks(data: mixtures.MethodData) -> tuple[TaskInfo, TaskInfo | None]:
    """Returns the mixture's label task and, in two-task methods, its rationale task.

    Raises:
        UserError: The mixture has no label task.
    """
    infos = infos_of(data.mixture)
    label_task = next((info for info in infos if info.label), None)
    explain_task = next((info for info in infos if not info.label), None)
    if label_task is None:
        raise UserError(f"{data.mixture.name!r} has no task with labels")
    return label_task, explain_task


def _load(
    checkpoint: str, shared: PredictionSettings
) -> tuple[evaluation.Predictor, Any]:
    """Returns a predictor and the parameters of a checkpoint."""
    model = Transformer(student_config(shared.student, checkpoint))
    partitioner = Partitioner(shared.partitioning.num_partitions)
    abstract = state.abstract_params(model, partitioner)
    params = load_params(open_checkpoint(checkpoint), abstract)
    return evaluation.Predictor(model, shared.decoding, partitioner), params


def _encode(
    texts: Sequence[str], vocabulary: seqio.Vocabulary, limit: int
) -> list[np.ndarray]:
    """Returns the token ids of each text, at most `limit` with the end token."""
    dataset = tf.data.Dataset.from_tensor_slices(list(texts)).map(
        lambda text: encode_segments(text, vocabulary),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    end = np.asarray([vocabulary.eos_id], np.int32)
    encoded = [
        np.concatenate([ids[: limit - 1], end]) for ids in dataset.as_numpy_iterator()
    ]
    full = sum(len(ids) == limit for ids in encoded)
    if full:
        logging.warning(
            "%d of %d inputs have %d tokens or more; longer ones are truncated",
            full,
            len(encoded),
            limit,
        )
    return encoded
