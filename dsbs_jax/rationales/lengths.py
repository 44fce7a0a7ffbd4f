"""Lengths of texts, compared with the longest input and target of a student."""

import dataclasses
import os
from collections.abc import Callable, Sequence

import sentencepiece

from dsbs_jax.data.dataset_spec import FeatureLengths
from dsbs_jax.data.records import SEGMENT_SEPARATOR
from dsbs_jax.errors import UserError


@dataclasses.dataclass(frozen=True, slots=True)
class TokenLimits:
    """The longest input and target of a student, and how to count a text's length.

    Attributes:
        inputs: The longest input in tokens, end token included.
        targets: The longest target in tokens, end token included.
        unit: What `count` counts: "tokens" or "words".
        count: Takes texts and returns the length of each, without an end token.
    """

    inputs: int
    targets: int
    unit: str
    count: Callable[[Sequence[str]], list[int]]


def in_words(limits: FeatureLengths) -> TokenLimits:
    """Counts in words, for use without a vocabulary.

    Each word has at least one token, so a text has at least as many tokens as words.
    """
    return TokenLimits(limits.inputs, limits.targets, "words", _count_words)


def _count_words(texts: Sequence[str]) -> list[int]:
    return [len(text.replace(SEGMENT_SEPARATOR, " ").split()) for text in texts]


def load_tokenizer(
    path: str | os.PathLike[str],
) -> sentencepiece.SentencePieceProcessor:
    """Reads a SentencePiece model file.

    Raises:
        UserError: The file is not a SentencePiece model.
    """
    model = sentencepiece.SentencePieceProcessor()
    try:
        model.Load(os.fspath(path))
    except (RuntimeError, OSError) as error:
        raise UserError(
            f"vocabulary {path}: cannot be read as a SentencePiece model"
        ) from error
    return model


def in_tokens(path: str | os.PathLike[str], limits: FeatureLengths) -> TokenLimits:
    """Counts in the tokens of a student's vocabulary.

    Args:
        path: A SentencePiece model file.
        limits: The longest input and target.

    Raises:
        UserError: The file is not a SentencePiece model.
    """
    model = load_tokenizer(path)

    def count(texts: Sequence[str]) -> list[int]:
        # "A man.</s>A dog." -> pieces of "A man." + 1 end token + pieces of "A dog.".
        # The encoder would split the text "</s>" into several pieces, so each segment
        # is encoded alone. All segments are encoded in one call, which is faster.
        segments = [text.split(SEGMENT_SEPARATOR) for text in texts]
        pieces = iter(model.encode([part for parts in segments for part in parts]))
        return [
            sum(len(next(pieces)) for _ in parts) + len(parts) - 1 for parts in segments
        ]

    return TokenLimits(limits.inputs, limits.targets, "tokens", count)
