"""Decodes the inputs of a split, scores the predictions and writes them to files."""

import contextlib
import dataclasses
import logging
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import seqio
import tensorflow as tf
from seqio.metrics import ModelOutputType

from dsbs_jax import files
from dsbs_jax.data import mixtures, row_schema, scoring
from dsbs_jax.data.feature_converter import DistillationFeatureConverter
from dsbs_jax.data.tasks import StudentTask
from dsbs_jax.errors import UserError
from dsbs_jax.local.config import DecodingConfig
from dsbs_jax.local.input_batches import in_batches
from dsbs_jax.local.partitioning import Partitioner
from dsbs_jax.student import decoding
from dsbs_jax.student.network import Transformer
from dsbs_jax.student.precision import round_factors

ACCURACY = "accuracy"
# Task: metric: value in percent.
Scores = dict[str, dict[str, float]]


@contextlib.contextmanager
def _without_seqio_warnings() -> Iterator[None]:
    """Drops SeqIO's warnings about lengths and loggers that this module chooses."""

    def keep(record: logging.LogRecord) -> bool:
        return record.module != "evaluation" or record.levelno > logging.WARNING

    logger = logging.getLogger("absl")
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)


@dataclasses.dataclass(frozen=True)
class Predictor:
    """Decodes many inputs, in batches of inputs of about the same length.

    Attributes:
        model: The student.
        config: How predictions are decoded.
        partitioner: Spreads each batch over the devices.
    """

    model: Transformer
    config: DecodingConfig
    partitioner: Partitioner

    def __call__(
        self, params: Any, inputs: Sequence[np.ndarray]
    ) -> tuple[list[list[int]], list[float]]:
        """Decodes inputs.

        Args:
            params: The student's parameters.
            inputs: Token ids of each input, int32 [S] with its own S.

        Returns:
            For each input the generated ids, and their log-probability in nats.
        """
        params = round_factors(params, self.model.config.types)

        def decode(batch: jax.Array) -> tuple[jax.Array, jax.Array]:
            decoded = self.decode_batch(params, batch)
            return decoded.tokens, decoded.log_probability

        rows = in_batches(decode, inputs, self.config.batch_size, self.partitioner)
        tokens = [ids.tolist() for ids, _ in rows]
        return tokens, [float(log_probability) for _, log_probability in rows]

    def decode_batch(self, params: Any, tokens: jax.Array) -> decoding.Decoded:
        """Decodes a batch of inputs greedily or with beam search.

        Args:
            params: The student's parameters.
            tokens: int32 [B, S].
        """
        config = self.config
        if config.num_beams == 1:
            return decoding.greedy(self.model, params, tokens, config.max_decode_length)
        return decoding.beam_search(
            self.model,
            params,
            tokens,
            config.max_decode_length,
            config.num_beams,
            config.length_penalty,
        )


def _check_examples(provider: mixtures.Provider, split: str) -> None:
    """Checks that each label task has a row to be scored on.

    Raises:
        UserError: No task has the split and a metric, or a task has no row.
    """
    tasks = seqio.evaluation.get_valid_eval_tasks(seqio.get_subtasks(provider), split)
    if not tasks:
        raise UserError(
            f"{provider.name!r} has no task with a {split!r} split and a metric"
        )
    for task in tasks:
        # TensorFlow warns about a cache that is not read to its end.
        examples = task.get_dataset(None, split, shuffle=False, try_in_mem_cache=False)
        if next(iter(examples.take(1)), None) is None:
            raise UserError(
                f"task {task.name!r} has no {split} example: no row of {split} has the "
                "label that it is scored on"
            )


class Scorer:
    """Scores a student on one split of the label tasks of a mixture.

    SeqIO's evaluator prepares the examples and computes the metrics, as it does in T5X,
    so both engines compute the same scores.
    """

    def __init__(
        self,
        provider: mixtures.Provider,
        split: str,
        predictor: Predictor,
        task_feature_lengths: Mapping[str, int],
    ) -> None:
        """Reads and tokenizes the split once.

        Args:
            provider: The mixture or task.
            split: Name of the split.
            predictor: Decodes the inputs.
            task_feature_lengths: Tokens of each feature. Inputs are truncated, targets
                are not.

        Raises:
            UserError: No task of the mixture has both the split and a metric, or a task
                has no row with a label.
        """
        self._split, self._predictor = split, predictor
        _check_examples(provider, split)
        with mixtures.temporary_name(provider) as name, _without_seqio_warnings():
            # Targets are not truncated: predictions are compared with complete targets.
            self._evaluator = seqio.Evaluator(
                name,
                DistillationFeatureConverter(pack=False, apply_length_check=False),
                eval_split=split,
                sequence_length={"inputs": task_feature_lengths["inputs"]},
                async_compute_metrics=False,
            )

    def __call__(self, params: Any, folder: pathlib.Path, name: str) -> Scores:
        """Scores these parameters.

        Args:
            params: The student's parameters.
            folder: Folder in which to write `<split>-<name>-<task>.jsonl`, with every
                prediction.
            name: Name of the parameters, for example "step_1000".

        Returns:
            The metrics of each task, in percent.
        """

        def predict(dataset: tf.data.Dataset, *_: Any) -> list[tuple[int, list[int]]]:
            examples = list(dataset.as_numpy_iterator())
            inputs = [e["encoder_input_tokens"] for _, e in examples]
            # SeqIO pads inputs to the longest of the split.
            inputs = [ids[ids > 0] for ids in inputs]
            tokens = self._predictor(params, inputs)[0]
            return [(int(i), t) for (i, _), t in zip(examples, tokens, strict=True)]

        future, outputs = self._evaluator.evaluate(
            compute_metrics=True, predict_fn=predict
        )
        for task in self._evaluator.eval_tasks:
            vocabulary = task.output_features["targets"].vocabulary
            predictions = outputs[task.name][ModelOutputType.PREDICTION]
            texts = [vocabulary.decode(ids) for ids in predictions]
            path = folder / f"{self._split}-{name}-{task.name}.jsonl"
            files.write_jsonl(path, self._compared(task, texts))
        return {
            task: {metric: float(value) for metric, value in metrics.items()}
            for task, metrics in future.result().items()
        }

    def _compared(self, task: StudentTask, texts: list[str]) -> Iterable[dict]:
        """Yields each example with its prediction and the field `correct`."""
        examples = self._evaluator.cached_task_datasets[task.name].as_numpy_iterator()
        for text, example in zip(texts, examples, strict=True):
            target = example["targets_pretokenized"].decode()
            label = task.postprocess_fn(target, example=example, is_target=True)
            answers = {} if isinstance(label, str) else {row_schema.ANSWERS: label}
            correct = task.info.metric.accepts(label, task.postprocess_fn(text))
            yield {
                "id": example["id"].decode(),
                "input": example["inputs_pretokenized"].decode(),
                "target": target,
                **answers,
                "prediction": text,
                "correct": correct,
            }


def mean_accuracy(scores: Mapping[str, Mapping[str, float]]) -> float:
    """Returns the mean accuracy over tasks, in percent."""
    return float(np.mean([metrics[ACCURACY] for metrics in scores.values()]))


def teacher_accuracy(task: StudentTask, split: str = "test") -> dict[str, Any]:
    """Scores the teachers' labels on a split, with the metric that scores the student.

    A row without a usable teacher label counts as wrong.

    Args:
        task: A label task of the dataset.
        split: Name of the split.

    Returns:
        For each teacher by name: "rows" (rows with a human label), "unparsable" (rows
        without a usable teacher label) and "accuracy" in percent. Teachers without
        labels on the split are left out. Empty if the split has no human labels.
    """
    if split not in task.source.splits or not task.source.has_human_labels:
        return {}
    rows = list(task.source.get_dataset(split, shuffle=False).as_numpy_iterator())
    rows = [row for row in rows if row[row_schema.flag_of(row_schema.LABEL)]]
    results = {}
    for teacher in sorted(task.info.spec.teachers):
        field = row_schema.label_field(teacher)
        flag = row_schema.flag_of(field)
        if not any(row[flag] for row in rows):
            continue
        score = scoring.score_teacher(
            (
                (
                    row_schema.answers_of(row) or row[row_schema.LABEL].decode(),
                    row[field].decode() if row[flag] else None,
                )
                for row in rows
            ),
            task.info.metric,
        )
        results[teacher] = {
            "rows": score.rows,
            "unparsable": score.without_label,
            ACCURACY: 100.0 * score.correct / score.rows,
        }
    return results
