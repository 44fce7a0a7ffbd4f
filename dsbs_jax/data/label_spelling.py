"""Token ids of a closed label set, checked so that each label can be generated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from dsbs_jax.errors import UserError

if TYPE_CHECKING:  # imports TensorFlow
    import seqio

# Faults that one error names.
_SHOWN = 20


def spell(
    labels: Sequence[str],
    vocabulary: seqio.Vocabulary,
    max_decode_length: int,
    *,
    distinct: bool = True,
) -> list[list[int]]:
    """Encodes each label as a student generates it.

    ["red", "dark red"] -> [[57, 1], [31, 57, 1]]

    Args:
        labels: The label set.
        vocabulary: The student's vocabulary.
        max_decode_length: Longest label in tokens, with the end token.
        distinct: Whether two labels with the same tokens are an error.

    Returns:
        The token ids of each label, with the end token.

    Raises:
        UserError: The label set is empty, or has a label that is blank, occurs twice,
            contains characters that the vocabulary lacks, decodes to another text, or
            is too long. The error names each such label.
    """
    if not labels:
        raise UserError("the label set is empty, expected at least one label")
    found = faults(labels, vocabulary, max_decode_length, distinct=distinct)
    if found:
        raise UserError(describe(found.values()))
    return [[*vocabulary.encode(label), vocabulary.eos_id] for label in labels]


def faults(
    labels: Iterable[str],
    vocabulary: seqio.Vocabulary,
    max_decode_length: int,
    *,
    distinct: bool = True,
) -> dict[str, str]:
    """Describes why a student cannot generate some of the labels, by label.

    Args:
        labels: The labels.
        vocabulary: The student's vocabulary.
        max_decode_length: Longest label in tokens, with the end token.
        distinct: Whether two labels with the same tokens are a fault.
    """
    found = {}
    owners: dict[tuple[int, ...], str] = {}
    for label in labels:
        ids = (*vocabulary.encode(label), vocabulary.eos_id)
        fault = _fault(label, ids, vocabulary, max_decode_length)
        if fault is None and distinct and ids in owners:
            fault = f"label {label!r:.60} has the tokens of label {owners[ids]!r:.60}"
            if label == owners[ids]:
                fault = f"label {label!r:.60} is given twice, expected it once"
        if fault is not None:
            found[label] = fault
        owners.setdefault(ids, label)
    return found


def describe(found: Iterable[str]) -> str:
    """Joins the first faults to one text."""
    listed = list(found)
    more = len(listed) - _SHOWN
    rest = [f"and {more} more labels with a fault"] if more > 0 else []
    return "; ".join([*listed[:_SHOWN], *rest])


def _fault(
    label: str, ids: Sequence[int], vocabulary: seqio.Vocabulary, longest: int
) -> str | None:
    """Describes why a student cannot generate a label; None if it can."""
    if not label.strip():
        return f"label {label!r} is empty, expected text"
    if vocabulary.unk_id in ids:
        missing = [c for c in label if vocabulary.unk_id in vocabulary.encode(c)]
        characters = ", ".join(map(repr, dict.fromkeys(missing)))
        return (
            f"label {label!r:.60} has characters that the vocabulary lacks: "
            f"{characters}; expected another label, or a vocabulary that is trained on "
            "the labels"
        )
    text = vocabulary.decode(list(ids))
    if text != label:
        return (
            f"label {label!r:.60} reads back from the vocabulary as {text!r:.60}, "
            "expected the same text; change the label in the rows"
        )
    if len(ids) > longest:
        return (
            f"label {label!r:.60} has {len(ids)} tokens with the end token, expected "
            f"at most MAX_DECODE_LENGTH, {longest}"
        )
    return None
