"""Answers of a student that JAX computes, on any device."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import seqio

from dsbs_jax.engines.engine import EngineName
from dsbs_jax.local.evaluation import Predictor
from dsbs_jax.local.label_scorer import LabelScorer
from dsbs_jax.local.partitioning import Partitioner
from dsbs_jax.local.student_folder import StudentSpec
from dsbs_jax.student.network import Transformer
from dsbs_jax.student.precision import round_factors


class JaxEngine:
    """Decodes with the settings of the student, and scores labels as one tree."""

    name: EngineName = "jax"

    def __init__(
        self,
        spec: StudentSpec,
        words: seqio.Vocabulary,
        params: Any,
        partitioner: Partitioner,
    ) -> None:
        """Takes the parts of a student.

        Args:
            spec: What `student.json` holds.
            words: The vocabulary.
            params: The parameters, placed on the partitioner's devices.
            partitioner: Spreads each batch over the devices.

        Raises:
            UserError: The student cannot generate a label of the label set.
        """
        model = Transformer(spec.network)
        self._params = round_factors(params, spec.network.types)
        self._predictor = Predictor(model, spec.decoding, partitioner)
        self._scorer = None
        if spec.closed_labels is not None:
            self._scorer = LabelScorer(
                model,
                spec.closed_labels,
                words,
                partitioner,
                spec.decoding.batch_size,
                spec.decoding.max_decode_length,
            )

    def generate(
        self, inputs: Sequence[np.ndarray], max_length: int
    ) -> tuple[list[list[int]], list[float]]:
        """Decodes inputs greedily or with beam search, as `Engine.generate`."""
        decoding = dataclasses.replace(
            self._predictor.config, max_decode_length=max_length
        )
        predictor = dataclasses.replace(self._predictor, config=decoding)
        return predictor(self._params, inputs)

    def score_labels(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """Scores labels with one pass for each input, as `Engine.score_labels`."""
        assert self._scorer is not None
        return self._scorer(self._params, inputs)
