"""What a trained student is used for: scoring a split, answering new inputs."""

import json
import pathlib
from typing import Any

import gin
import numpy as np
import tensorflow as tf

from dsbs_jax import files, weights
from dsbs_jax.data import jsonl, registration
from dsbs_jax.data.features import VOCABULARY
from dsbs_jax.data.preprocessors import encode_segments
from dsbs_jax.errors import UserError
from dsbs_jax.local import evaluation, state
from dsbs_jax.local.datasets import DatasetConfig
from dsbs_jax.local.partitioning import Partitioner
from dsbs_jax.local.report import table
from dsbs_jax.student.network import Transformer


@gin.configurable
def evaluate(
    *,
    checkpoint_path: str,
    output_dir: str,
    model: Transformer,
    dataset: DatasetConfig,
    split: str,
    decoder: evaluation.Decoder,
    num_partitions: int = 1,
) -> dict[str, dict[str, float]]:
    """Scores a checkpoint on a split of a task or mixture.

    Args:
        checkpoint_path: A run's folder (its best checkpoint) or one checkpoint.
        output_dir: Gets `scores.json` and every prediction.
        model: The student.
        dataset: What to score; `batch_size` rows are decoded at a time.
        split: "validation", "test" or "train".
        decoder: How predictions are decoded.
        num_partitions: Devices that a copy of the student is spread over.

    Returns:
        By task, its metrics in percent.

    Raises:
        UserError: There is no such checkpoint, task or split.
    """
    splits = dataset.provider.splits
    if split not in splits:
        raise UserError(
            f"EVAL_SPLIT is {split!r}, expected one of {', '.join(sorted(splits))}"
        )
    partitioner = Partitioner(num_partitions)
    params = _load(checkpoint_path, model, partitioner)
    predictor = evaluation.Predictor(model, decoder, partitioner, dataset.batch_size)
    scorer = evaluation.Scorer(
        dataset.mixture_or_task_name, split, predictor, dataset.task_feature_lengths
    )
    folder = pathlib.Path(output_dir)
    scores = scorer(params, folder, "checkpoint")
    files.write(folder / "scores.json", json.dumps(scores, indent=2) + "\n")
    rows = [["task", "metric", split]]
    rows += [[t, m, f"{v:.2f}"] for t, ms in scores.items() for m, v in ms.items()]
    print(table(rows))
    return scores


@gin.configurable
def infer(
    *,
    checkpoint_path: str,
    input_file: str,
    output_file: str,
    model: Transformer,
    dataset: DatasetConfig,
    decoder: evaluation.Decoder,
    rationale: bool = False,
    rationale_decoder: evaluation.Decoder | None = None,
    num_partitions: int = 1,
) -> None:
    """Answers the inputs of a JSONL file with a trained student.

    Args:
        checkpoint_path: A run's folder (its best checkpoint) or one checkpoint.
        input_file: JSON lines with `input`, and an `id` where wanted; no label is needed.
        output_file: Gets a line for each: the row as it was, with `label`, `score` (the
            label's log-probability in nats) and, where asked, `rationale`.
        model: The student.
        dataset: What the student was trained on: its method decides the prefix.
        decoder: How labels are decoded.
        rationale: Whether the student's own rationale is wanted too.
        rationale_decoder: How rationales are decoded; `decoder` where None.
        num_partitions: Devices that a copy of the student is spread over.

    Raises:
        UserError: No such checkpoint or file, a bad line, or a rationale is wanted from
            a student that was not trained to give one.
    """
    tasks = registration.subtasks(dataset.provider.name)
    label_task = next((t for t in tasks if t.label), None)
    explain_task = next((t for t in tasks if t.label is None), None)
    if label_task is None:
        raise UserError(f"{dataset.mixture_or_task_name!r} has no task with labels")
    single_task = label_task.rationale is not None
    if rationale and not explain_task and not single_task:
        raise UserError(
            f"RATIONALE is True, but {dataset.mixture_or_task_name!r} trains no "
            "rationales; expected a step_by_step or single_task method"
        )
    rows = jsonl.read_inputs(input_file)
    partitioner = Partitioner(num_partitions)
    params = _load(checkpoint_path, model, partitioner)
    limit = dataset.task_feature_lengths["inputs"]

    def answer(prefix: str, decoder: evaluation.Decoder) -> tuple[list, list]:
        predictor = evaluation.Predictor(
            model, decoder, partitioner, dataset.batch_size
        )
        inputs = _encode([prefix + row["input"] for row in rows], limit)
        tokens, scores = predictor(params, inputs)
        return [VOCABULARY.decode(t).strip() for t in tokens], scores

    labels, scores = answer(label_task.prefix, decoder)
    rationales: list[str | None] = [None] * len(rows)
    if single_task:
        rationales, labels = zip(*map(registration.split_answer, labels), strict=True)
    elif rationale:
        rationales, _ = answer(explain_task.prefix, rationale_decoder or decoder)
    answers = zip(rows, labels, scores, rationales, strict=True)
    files.write_jsonl(
        output_file,
        (
            {**row, "label": label, "score": round(score, 6)}
            | ({"rationale": why} if rationale else {})
            for row, label, score, why in answers
        ),
    )
    print(f"{len(rows):,} answers are in {output_file}")


def _load(path: str, model: Transformer, partitioner: Partitioner) -> Any:
    abstract = state.abstract_params(model, partitioner)
    return weights.load_params(weights.open_checkpoint(path), abstract)


def _encode(texts: list[str], limit: int) -> list[np.ndarray]:
    """Token ids of each text, cut at `limit` with the end of sequence included."""
    dataset = tf.data.Dataset.from_tensor_slices(texts).map(
        lambda text: encode_segments(text, VOCABULARY),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    end = np.asarray([VOCABULARY.eos_id], np.int32)
    encoded = [
        np.concatenate([ids[: limit - 1], end]) for ids in dataset.as_numpy_iterator()
    ]
    cut = sum(len(row) == limit for row in encoded)
    if cut:
        print(f"{cut:,} of {len(encoded):,} inputs fill all {limit} tokens or are cut")
    return encoded
