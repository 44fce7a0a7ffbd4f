"""Scores every label of a closed set for many inputs."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import seqio

from dsbs_jax.data.label_spelling import spell
from dsbs_jax.local.input_batches import in_batches, padded_batch_size
from dsbs_jax.local.partitioning import Partitioner
from dsbs_jax.student import label_scoring
from dsbs_jax.student.network import Transformer
from dsbs_jax.student.precision import round_factors


class LabelScorer:
    """Computes the log-probability of each label of a closed set.

    Attributes:
        labels: The label set, in the order of the scores' columns.
    """

    def __init__(
        self,
        model: Transformer,
        labels: Sequence[str],
        vocabulary: seqio.Vocabulary,
        partitioner: Partitioner,
        batch_size: int,
        max_decode_length: int,
    ) -> None:
        """Encodes the labels.

        Args:
            model: The student.
            labels: The label set.
            vocabulary: The student's vocabulary.
            partitioner: Spreads each batch over the devices.
            batch_size: Inputs that are scored at a time.
            max_decode_length: Longest label in tokens, with the end token.

        Raises:
            UserError: The set is empty, or the student cannot generate a label.
        """
        self.labels = tuple(labels)
        ids = spell(self.labels, vocabulary, max_decode_length)
        self._model, self._partitioner = model, partitioner
        self._batch_size = padded_batch_size(batch_size, partitioner)
        trees = label_scoring.make_trees(ids, model.config, self._batch_size)
        self._trees = jax.device_put(trees, partitioner.replicated)

    def __call__(self, params: Any, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """Scores inputs.

        Args:
            params: The student's parameters.
            inputs: Token ids of each of N inputs, int32 [S] with its own S.

        Returns:
            Log-probability of each of A labels, float32 [N, A], in nats. The labels'
            probabilities need not sum to 1, because the student can also generate other
            text.
        """
        params = round_factors(params, self._model.config.types)

        def score(tokens: jax.Array) -> jax.Array:
            return label_scoring.score_labels(self._model, params, tokens, self._trees)

        scores = in_batches(score, inputs, self._batch_size, self._partitioner)
        return np.reshape(scores, (len(inputs), len(self.labels))).astype(np.float32)


def probabilities(log_probabilities: np.ndarray) -> np.ndarray:
    """Normalizes log-probabilities over the labels of a closed set.

    [[-1.0, -1.0, -9.0]] -> [[0.4999, 0.4999, 0.0002]]

    Args:
        log_probabilities: Float32 [N, A], in nats.

    Returns:
        float64 [N, A]; each row sums to 1.
    """
    scores = log_probabilities.astype(np.float64)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)
