"""Chooses feature lengths from the token counts of the training rows."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import seqio

from dsbs_jax.data import label_spelling, methods
from dsbs_jax.data.methods import (
    ANSWER_MARKER,
    COUNTERFACTUAL_PREFIX,
    FACTUAL_PREFIX,
    MethodInfo,
)
from dsbs_jax.data.records import SEGMENT_SEPARATOR, Record
from dsbs_jax.errors import UserError
from dsbs_jax.reports import quantiles

# Rows that are counted: the first ones.
_COUNTED = 20_000
# Longest lengths that are chosen: T5's input length, and half of it.
MAX_INPUTS, MAX_TARGETS = 512, 256
# A longest text above this multiple of the 99 % quantile does not set the length.
_OUTLIER = 1.5
# Lengths are rounded up to a multiple.
_MULTIPLE = 8


@dataclasses.dataclass(frozen=True, slots=True)
class ChosenLength:
    """The length of a feature.

    Attributes:
        tokens: The length, end token included.
        longest: Tokens of the longest text.
        quantile: Tokens that 99 % of the texts do not exceed.
        truncated: Number of texts that are longer than `tokens`.
        texts: Number of texts.
    """

    tokens: int
    longest: int
    quantile: int
    truncated: int
    texts: int

    @property
    def reason(self) -> str:
        """The counts that led to the length, as text."""
        return (
            f"longest {self.longest:,}, 99 % up to {self.quantile:,}; "
            f"{self.truncated:,} of {self.texts:,} are cut"
        )


def input_length(
    records: Sequence[Record],
    words: seqio.Vocabulary,
    method: MethodInfo,
    given: int | None,
) -> ChosenLength:
    """Chooses the length of inputs, with the longer prefix and the end token."""
    prefix = max(methods.prefixes_of(method), key=len)
    counts = [count(prefix + r.input, words) for r in records[:_COUNTED]]
    return choose(counts, given, MAX_INPUTS)


def target_length(
    records: Sequence[Record],
    words: seqio.Vocabulary,
    method: MethodInfo,
    given: int | None,
) -> ChosenLength:
    """Chooses the length of targets. Labels are never cut.

    Args:
        records: The training rows.
        words: The vocabulary.
        method: The method, whose target may hold both label and rationale.
        given: The user's choice.

    Raises:
        UserError: The given length cuts a label.
    """
    records = records[:_COUNTED]
    labels = [r.label or r.teacher_label for r in records]
    tokens = [count(label, words) for label in labels if label is not None]
    rationales = [text for r in records for text, _ in r.weighted_rationales]
    if method.counterfactual:
        rationales = list(_prefixed_targets(records))
    elif method.rationale_first or method.label_first:
        join = "{r}{marker}{label}" if method.rationale_first else "{label}{end}{r}"
        rationales = [
            join.format(
                r=r.rationale, label=label, marker=ANSWER_MARKER, end=SEGMENT_SEPARATOR
            )
            for r, label in zip(records, labels, strict=True)
            if r.rationale is not None and label is not None
        ]
    # Few rationales among many labels are not outliers.
    kinds = [part for part in (tokens, [count(r, words) for r in rationales]) if part]
    counts = [tokens for part in kinds for tokens in part]
    longest_label = max(tokens, default=1)
    if given is not None and given < longest_label:
        raise UserError(
            f"target_length is {given}, expected at least {longest_label}, the tokens "
            "of the longest label"
        )
    chosen = [choose(part, None, MAX_TARGETS).tokens for part in kinds]
    longest = max([_round_up(longest_label), *chosen])
    return choose(counts, given or longest, MAX_TARGETS)


def _prefixed_targets(records: Iterable[Record]) -> Iterator[str]:
    """Yields the targets of the counterfactual method."""
    for record in records:
        label = record.label or record.teacher_label
        if record.rationale and label:
            yield f"{FACTUAL_PREFIX}{record.rationale}{ANSWER_MARKER}{label}"
        label = record.counterfactual_label
        if record.counterfactual_rationale and label:
            text = f"{record.counterfactual_rationale}{ANSWER_MARKER}{label}"
            yield f"{COUNTERFACTUAL_PREFIX}{text}"


def label_length(
    labels: Iterable[str], words: seqio.Vocabulary, closed: bool, given: int | None
) -> int:
    """Counts the tokens of the longest label; checks that each can be generated.

    Args:
        labels: The label set, or the labels of the training rows.
        words: The vocabulary.
        closed: Whether `labels` is a closed set, in which two labels must differ.
        given: Longest answer that is decoded, if the user chose it.

    Raises:
        UserError: The vocabulary cannot spell a label, or a label is too long.
    """
    labels = list(dict.fromkeys(labels))
    longest = max((count(label, words) for label in labels), default=1)
    label_spelling.spell(labels, words, given or longest, distinct=closed)
    return given or longest


def count(text: str, words: seqio.Vocabulary) -> int:
    """Counts the tokens of a text, with those between its segments and at its end."""
    segments = text.split(SEGMENT_SEPARATOR)
    return sum(len(words.encode(segment)) + 1 for segment in segments)


def choose(counts: Sequence[int], given: int | None, limit: int) -> ChosenLength:
    """Chooses a length for texts with these numbers of tokens.

    The longest text sets the length, unless it is an outlier, longer than one and a
    half times the 99 % quantile; then the quantile sets it. The limit applies to both.

    [12, 15, 14], no limit -> 16 tokens, 0 of 3 are cut
    """
    ordered = sorted(counts) or [1]
    longest = ordered[-1]
    quantile = quantiles.quantile(ordered, 0.99)
    tokens = longest if longest <= _OUTLIER * quantile else quantile
    tokens = given or min(_round_up(tokens), limit)
    cut = sum(n > tokens for n in ordered)
    return ChosenLength(tokens, longest, quantile, cut, len(ordered))


def _round_up(tokens: int) -> int:
    return -(-tokens // _MULTIPLE) * _MULTIPLE
