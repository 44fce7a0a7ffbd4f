"""How long texts are beside what the student can read and write."""

import dataclasses
import os
from collections.abc import Callable, Sequence

import sentencepiece

from dsbs_jax.data.records import SEGMENT_SEPARATOR
from dsbs_jax.errors import UserError


@dataclasses.dataclass(frozen=True, slots=True)
class Lengths:
    """The student's feature lengths, and what they are counted in.

    Attributes:
        inputs: Tokens of an input that the student reads, end token included.
        targets: Tokens of a target that it learns, end token included.
        unit: "tokens" or "words". A word is a token or more, so words only bound.
        count: Takes texts and returns how many units each has, without an end token.

    Raises:
        UserError: A length is not positive.
    """

    inputs: int = 512
    targets: int = 128
    unit: str = "words"
    count: Callable[[Sequence[str]], list[int]] = lambda texts: [
        len(text.replace(SEGMENT_SEPARATOR, " ").split()) for text in texts
    ]

    def __post_init__(self) -> None:
        """Checks both lengths."""
        for name in ("inputs", "targets"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UserError(
                    f"{name} length is {value!r}, expected a whole number from 1"
                )


def in_tokens(path: str | os.PathLike[str], inputs: int, targets: int) -> Lengths:
    """Counts in a student's own tokens.

    Args:
        path: A SentencePiece model file.
        inputs: As in `Lengths`.
        targets: As in `Lengths`.

    Raises:
        UserError: It is no SentencePiece model.
    """
    model = sentencepiece.SentencePieceProcessor()
    try:
        model.Load(os.fspath(path))
    except (RuntimeError, OSError) as error:
        raise UserError(
            f"vocabulary {path}: no SentencePiece model that can be read"
        ) from error

    def count(texts: Sequence[str]) -> list[int]:
        # The end token parts segments, and an encoder would split its name into pieces.
        segments = [text.split(SEGMENT_SEPARATOR) for text in texts]
        pieces = iter(model.encode([part for parts in segments for part in parts]))
        return [
            sum(len(next(pieces)) for _ in parts) + len(parts) - 1 for parts in segments
        ]

    return Lengths(inputs, targets, "tokens", count)
