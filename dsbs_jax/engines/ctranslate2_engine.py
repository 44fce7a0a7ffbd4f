"""Answers of a student that CTranslate2 computes on the CPU."""

import importlib.util
import os
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Self

import numpy as np
import seqio

from dsbs_jax import interruption
from dsbs_jax.data.label_spelling import spell
from dsbs_jax.engines.engine import EngineName
from dsbs_jax.errors import UserError
from dsbs_jax.local.student_folder import StudentSpec
from dsbs_jax.weights import ParameterReader, ctranslate2_format

# Pairs of input and label that are scored in one call, which bounds the memory of
# their texts.
_PAIRS = 8_192


def is_installed() -> bool:
    """Returns whether the package ctranslate2 can be imported."""
    return importlib.util.find_spec("ctranslate2") is not None


class CTranslate2Engine:
    """Decodes greedily, and scores labels one by one."""

    name: EngineName = "ctranslate2"

    def __init__(
        self, folder: pathlib.Path, spec: StudentSpec, words: seqio.Vocabulary
    ) -> None:
        """Opens the model.

        Args:
            folder: The folder that `ctranslate2_format.write_model` wrote.
            spec: What `student.json` holds.
            words: The vocabulary.

        Raises:
            UserError: CTranslate2 is not installed or cannot read the folder; or the
                student decodes with beam search, or cannot generate every label of its
                label set.
        """
        try:
            import ctranslate2
        except ImportError as error:
            raise UserError(
                "the package ctranslate2 is not installed: pip install "
                "'dsbs-jax[serve]'"
            ) from error
        if spec.decoding.num_beams != 1:
            raise UserError(
                f"the student decodes with NUM_BEAMS {spec.decoding.num_beams}; the "
                "engine ctranslate2 decodes greedily, so use the engine jax"
            )
        tokens = ctranslate2_format.tokens_of(words, spec.network.vocab_size)
        self._tokens = tokens
        self._ids = {token: number for number, token in enumerate(tokens)}
        self._batch_size = spec.decoding.batch_size
        self._labels: list[list[str]] = []
        if spec.closed_labels is not None:
            ids = spell(spec.closed_labels, words, spec.decoding.max_decode_length)
            # CTranslate2 appends the end token.
            self._labels = [self._texts(label[:-1]) for label in ids]
        try:
            self._translator = ctranslate2.Translator(
                str(folder), device="cpu", intra_threads=os.cpu_count() or 1
            )
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"{folder}: CTranslate2 cannot read the model: {error}"
            ) from error

    @classmethod
    def from_checkpoint(
        cls, reader: ParameterReader, spec: StudentSpec, words: seqio.Vocabulary
    ) -> Self:
        """Converts the weights of a checkpoint to float32 weights of CTranslate2.

        They are written to a temporary folder, which is removed when they are loaded.

        Args:
            reader: The weights.
            spec: What `student.json` holds.
            words: The vocabulary.
        """
        params = {name: reader.read(name) for name in reader.shapes()}
        tokens = ctranslate2_format.tokens_of(words, spec.network.vocab_size)
        with tempfile.TemporaryDirectory() as scratch, interruption.removed(scratch):
            model = pathlib.Path(scratch) / ctranslate2_format.MODEL_FOLDER
            ctranslate2_format.write_model(model, params, spec.network, tokens)
            return cls(model, spec, words)

    def generate(
        self, inputs: Sequence[np.ndarray], max_length: int
    ) -> tuple[list[list[int]], list[float]]:
        """Decodes inputs greedily, as `Engine.generate`."""
        results = self._translator.translate_batch(
            [self._texts(ids) for ids in inputs],
            # CTranslate2 sorts the inputs by length.
            max_batch_size=self._batch_size,
            beam_size=1,
            length_penalty=0,
            max_input_length=0,
            min_decoding_length=0,  # an empty answer is possible
            max_decoding_length=max_length,
            return_scores=True,
        )
        ids = [[self._ids[t] for t in result.hypotheses[0]] for result in results]
        return ids, [float(result.scores[0]) for result in results]

    def score_labels(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """Scores each label with a pass of its own, as `Engine.score_labels`."""
        labels = self._labels
        scores = np.empty((len(inputs), len(labels)), np.float32)
        step = max(1, _PAIRS // len(labels))
        for start in range(0, len(inputs), step):
            texts = [self._texts(ids) for ids in inputs[start : start + step]]
            results = self._translator.score_batch(
                [text for text in texts for _ in labels],
                labels * len(texts),
                max_batch_size=self._batch_size,
                max_input_length=0,
            )
            sums = [sum(result.log_probs) for result in results]
            scores[start : start + step] = np.reshape(sums, (-1, len(labels)))
        return scores

    def _texts(self, ids: Sequence[int] | np.ndarray) -> list[str]:
        return [self._tokens[number] for number in ids]
