"""Scores of a student on a split: decode, compare, write every prediction down."""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import seqio
import tensorflow as tf
from seqio.metrics import ModelOutputType

from dsbs_jax import files
from dsbs_jax.data import registration
from dsbs_jax.data.feature_converter import DistillationFeatureConverter
from dsbs_jax.errors import UserError
from dsbs_jax.local.datasets import trim
from dsbs_jax.local.partitioning import LOGICAL_AXIS_RULES, Partitioner
from dsbs_jax.student import decoding
from dsbs_jax.student.network import Transformer

ACCURACY = "accuracy"


@dataclasses.dataclass(frozen=True)
class Decoder:
    """How predictions are decoded.

    Attributes:
        max_decode_length: New tokens at most.
        num_beams: 1 is greedy.
        length_penalty: Of beam search.
    """

    max_decode_length: int = 63
    num_beams: int = 1
    length_penalty: float = 1.0

    def __post_init__(self) -> None:
        """Checks the fields."""
        for name in ("max_decode_length", "num_beams"):
            if getattr(self, name) < 1:
                raise UserError(
                    f"Decoder.{name} is {getattr(self, name)}, expected 1 or more"
                )

    def __call__(self, model: Transformer, params: Any, tokens: jax.Array) -> Any:
        """Decodes int32 [B, S]; see `decoding.Decoded`."""
        if self.num_beams == 1:
            return decoding.greedy(model, params, tokens, self.max_decode_length)
        return decoding.beam_search(
            model,
            params,
            tokens,
            self.max_decode_length,
            self.num_beams,
            self.length_penalty,
        )


@dataclasses.dataclass(frozen=True)
class Predictor:
    """Decodes many inputs in batches of about the same length.

    Attributes:
        model: The student.
        decoder: How.
        partitioner: Spreads the batch over the devices.
        batch_size: Rows a batch.
    """

    model: Transformer
    decoder: Decoder
    partitioner: Partitioner
    batch_size: int

    def __call__(
        self, params: Any, inputs: Sequence[np.ndarray]
    ) -> tuple[list[list[int]], list[float]]:
        """Decodes token ids, each int32 [S] of its own length.

        Returns:
            For each input the generated ids, and their log-probability.
        """
        tokens: list[list[int]] = [[] for _ in inputs]
        scores = [0.0] * len(inputs)
        order = sorted(range(len(inputs)), key=lambda i: -len(inputs[i]))
        size = -(-self.batch_size // self.partitioner.data_size)
        size *= self.partitioner.data_size
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            decoded = self._decode(params, [inputs[i] for i in rows], size)
            for i, row, score in zip(rows, *decoded, strict=False):
                tokens[i], scores[i] = row.tolist(), float(score)
        return tokens, scores

    def _decode(
        self, params: Any, inputs: Sequence[np.ndarray], size: int
    ) -> tuple[np.ndarray, np.ndarray]:
        width = 8 * -(-max(len(row) for row in inputs) // 8)
        padded = np.zeros((size, 2 * width), np.int32)
        for row, values in zip(padded, inputs, strict=False):
            row[: len(values)] = values
        batch = trim(
            {"encoder_input_tokens": padded, "decoder_target_tokens": padded[:, :1]}
        )
        tokens = self.partitioner.put_batch(batch)["encoder_input_tokens"]
        with self.partitioner.mesh, nn.logical_axis_rules(LOGICAL_AXIS_RULES):
            decoded = self.decoder(self.model, params, tokens)
        return jax.device_get((decoded.tokens, decoded.log_probability))


class Scorer:
    """Scores a student on one split of a mixture's label tasks.

    SeqIO's evaluator prepares the examples and computes the tasks' metrics, as it does
    in T5X, so that both engines score alike.
    """

    def __init__(
        self,
        mixture_or_task_name: str,
        split: str,
        predictor: Predictor,
        task_feature_lengths: Mapping[str, int],
    ) -> None:
        """Reads and tokenizes the split once.

        Raises:
            UserError: No task of the mixture has both the split and a metric.
        """
        self._split, self._predictor = split, predictor
        # Targets are not cut: a prediction is compared with the whole of them.
        self._evaluator = seqio.Evaluator(
            mixture_or_task_name,
            DistillationFeatureConverter(pack=False, apply_length_check=False),
            eval_split=split,
            sequence_length={"inputs": task_feature_lengths["inputs"]},
            async_compute_metrics=False,
        )
        if not self._evaluator.eval_tasks:
            raise UserError(
                f"{mixture_or_task_name!r} has no task with a {split!r} split and a "
                "metric to score"
            )

    def __call__(
        self, params: Any, directory: pathlib.Path, name: str
    ) -> dict[str, dict[str, float]]:
        """Scores these parameters.

        Args:
            params: The student's.
            directory: Gets `<split>-<name>-<task>.jsonl` with every prediction.
            name: Of the parameters, for example "step_1000".

        Returns:
            By task, its metrics in percent.
        """

        def predict(dataset: tf.data.Dataset, *_: Any) -> list[tuple[int, list[int]]]:
            examples = list(dataset.as_numpy_iterator())
            inputs = [e["encoder_input_tokens"] for _, e in examples]
            tokens, _ = self._predictor(params, [row[row > 0] for row in inputs])
            return [(int(i), t) for (i, _), t in zip(examples, tokens, strict=True)]

        future, outputs = self._evaluator.evaluate(
            compute_metrics=True, predict_fn=predict
        )
        for task in self._evaluator.eval_tasks:
            predictions = self._texts(task, outputs[task.name])
            path = directory / f"{self._split}-{name}-{task.name}.jsonl"
            files.write_jsonl(path, self._judged(task, predictions))
        return {
            task: {metric: float(value) for metric, value in metrics.items()}
            for task, metrics in future.result().items()
        }

    def _texts(self, task: seqio.Task, outputs: Mapping) -> list[str]:
        vocabulary = task.output_features["targets"].vocabulary
        return [vocabulary.decode(t) for t in outputs[ModelOutputType.PREDICTION]]

    def _judged(self, task: seqio.Task, texts: list[str]) -> Iterable[dict]:
        metric = registration.TASKS[task.name].metric
        examples = self._evaluator.cached_task_datasets[task.name].as_numpy_iterator()
        for text, example in zip(texts, examples, strict=True):
            target = example["targets_pretokenized"].decode()
            judged = [task.postprocess_fn(t) for t in (target, text)]
            yield {
                "id": example["id"].decode(),
                "input": example["inputs_pretokenized"].decode(),
                "target": target,
                "prediction": text,
                "correct": metric([judged[0]], [judged[1]])[ACCURACY] == 100,
            }


def mean_accuracy(scores: Mapping[str, Mapping[str, float]]) -> float:
    """The mean accuracy over tasks, in percent."""
    return float(np.mean([metrics[ACCURACY] for metrics in scores.values()]))


def teacher_accuracy(task_name: str, split: str = "test") -> dict[str, Any]:
    """The teacher's own score on a split, by the rule that scores the student.

    A row without a usable teacher label counts as wrong.

    Args:
        task_name: A label task; its dataset is looked up.
        split: Of the dataset.

    Returns:
        By teacher "rows", "unparsable" and "accuracy" in percent; only teachers with
        labels on the split, and nothing where no person labelled the data.
    """
    info = registration.TASKS[task_name]
    source = seqio.TaskRegistry.get(task_name).source
    if split not in source.splits or not source.has_human_labels:
        return {}
    rows = list(source.get_dataset(split, shuffle=False).as_numpy_iterator())
    rows = [row for row in rows if row["has_label"]]
    scores = {}
    for teacher in registration.teachers(info.dataset):
        labels = [row[f"{teacher}_label"].decode() for row in rows]
        held = [bool(row[f"has_{teacher}_label"]) for row in rows]
        if any(held):
            targets = [row["label"].decode() for row in rows]
            scores[teacher] = {
                "rows": len(rows),
                "unparsable": held.count(False),
                **info.metric(targets, labels),
            }
    return scores
