"""The features of every task, and the vocabulary behind them.

Tasks are registered when their module is imported, which gin does before all its
bindings are read. The features therefore hold a vocabulary that looks up its
SentencePiece model, a setting, only when it is first used.
"""

import functools
from collections.abc import Sequence

import gin
import seqio
import tensorflow as tf

from dsbs_jax.data import vocabulary


@functools.cache
def _load(path: str, extra_ids: int) -> seqio.SentencePieceVocabulary:
    return vocabulary.load(path, extra_ids)


@gin.configurable
def student_vocabulary(
    path: str = gin.REQUIRED, extra_ids: int = 100
) -> seqio.SentencePieceVocabulary:
    """The student's SentencePiece vocabulary.

    Args:
        path: A local or `gs://` model file, or a Hugging Face hub id.
        extra_ids: Sentinels above the model's own pieces.
    """
    return _load(path, extra_ids)


class ConfiguredVocabulary(seqio.Vocabulary):
    """Stands for `student_vocabulary()`, looked up when it is first used."""

    def __init__(self) -> None:
        """Takes nothing: every instance stands for the same setting."""
        super().__init__()

    @property
    def bos_id(self) -> int | None:  # noqa: D102
        return student_vocabulary().bos_id

    @property
    def eos_id(self) -> int | None:  # noqa: D102
        return student_vocabulary().eos_id

    @property
    def unk_id(self) -> int | None:  # noqa: D102
        return student_vocabulary().unk_id

    @property
    def extra_ids(self) -> int:  # noqa: D102
        return student_vocabulary().extra_ids

    @property
    def vocab_size(self) -> int:  # noqa: D102
        return student_vocabulary().vocab_size

    @property
    def sp_model(self) -> bytes:
        """The serialised model, by which SeqIO compares vocabularies."""
        return student_vocabulary().sp_model

    @property
    def _base_vocab_size(self) -> int:
        return student_vocabulary()._base_vocab_size

    def _encode(self, s: str) -> Sequence[int]:
        return student_vocabulary()._encode(s)

    def _decode(self, ids: Sequence[int]) -> str:
        return student_vocabulary()._decode(ids)

    def _encode_tf(self, s: tf.Tensor) -> tf.Tensor:
        return student_vocabulary()._encode_tf(s)

    def _decode_tf(self, ids: tf.Tensor) -> tf.Tensor:
        return student_vocabulary()._decode_tf(ids)

    def __eq__(self, other: object) -> bool:  # noqa: D105
        return isinstance(other, ConfiguredVocabulary) or student_vocabulary() == other

    __hash__ = None


VOCABULARY = ConfiguredVocabulary()

# "task_ids" says for each target token which task it belongs to. Its vocabulary is
# only there for SeqIO's checks: ids pass through.
OUTPUT_FEATURES = {
    "inputs": seqio.Feature(vocabulary=VOCABULARY, add_eos=True),
    "targets": seqio.Feature(vocabulary=VOCABULARY, add_eos=True),
    "task_ids": seqio.Feature(
        vocabulary=seqio.PassThroughVocabulary(size=3), add_eos=False
    ),
}
