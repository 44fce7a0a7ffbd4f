"""Which outcomes become training rows; what is dropped lies beside with its reason.

Filters run in the order of `FilterConfig`, and the first that applies gives the reason.
By default only those run that the method itself needs: without a label or a rationale a
row does not train both tasks, and the same row twice trains them twice.
"""

import collections
import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import gin

from dsbs_jax import files
from dsbs_jax.data import metrics
from dsbs_jax.data.records import check_text
from dsbs_jax.errors import UserError
from dsbs_jax.rationales import voting
from dsbs_jax.rationales.voting import VotedExample

UNPARSABLE = "unparsable"
DISAGREES = "disagrees with the human label"
NARROW = "vote margin too small"
SHORT = "rationale too short"
LONG = "rationale too long"
LEAKS = "label in the rationale's first words"
SAME_INPUT = "duplicate input"
SAME_ROW = "duplicate input and rationale"
# In the order in which they run.
REASONS = (UNPARSABLE, DISAGREES, NARROW, SHORT, LONG, LEAKS, SAME_INPUT, SAME_ROW)

T = TypeVar("T")
_WORD = re.compile(r"\w+")


@gin.configurable
@dataclasses.dataclass(frozen=True)
class FilterConfig:
    """What is dropped.

    Attributes:
        dataset: Whose way of comparing labels counts; "default" compares text.
        unparsable: Whether to drop what has a problem: no label or no rationale. What
            has no label of either kind and no rationale is dropped in any case.
        disagreement: Whether to drop what has a human label that the teacher's is not.
        min_margin: The smallest vote margin that stays, 0 to 1; 0 is off.
        min_words: The fewest words that a rationale may have; 0 is off.
        max_words: The most words that a rationale may have; 0 is off.
        leak_words: The label must not stand within this many first words; 0 is off.
        duplicate_inputs: Whether to drop all but the first outcome of an input.
        duplicate_rows: Whether to drop all but the first of input and rationale.

    Raises:
        UserError: A setting is out of its range.
    """

    dataset: str = "default"
    unparsable: bool = True
    disagreement: bool = False
    min_margin: float = 0.0
    min_words: int = 0
    max_words: int = 0
    leak_words: int = 0
    duplicate_inputs: bool = False
    duplicate_rows: bool = True

    def __post_init__(self) -> None:
        """Checks every setting."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            expected = {"min_margin": float | int}.get(field.name, field.type)
            if not isinstance(value, expected) or (
                isinstance(value, bool) and field.type is not bool
            ):
                raise UserError(
                    f"filters.FilterConfig.{field.name} is {value!r}, expected "
                    f"{field.type.__name__}"
                )
        if not 0 <= self.min_margin <= 1:
            raise UserError(
                f"filters.FilterConfig.min_margin is {self.min_margin}, expected 0 to 1"
            )
        for name in ("min_words", "max_words", "leak_words"):
            if getattr(self, name) < 0:
                raise UserError(
                    f"filters.FilterConfig.{name} is {getattr(self, name)}, expected 0 "
                    "(off) or more"
                )
        if 0 < self.max_words < self.min_words:
            raise UserError(
                f"filters.FilterConfig.max_words is {self.max_words}, expected at "
                f"least min_words, {self.min_words}"
            )


@dataclasses.dataclass(frozen=True)
class FilterResult:
    """What stays and what goes.

    Attributes:
        kept: Outcomes that become training rows, in their order.
        dropped: The others with their reasons, in their order. Every reason begins with
            one of `REASONS`.
        settings: What was asked for; None where it is not known.
    """

    kept: list[VotedExample]
    dropped: list[tuple[VotedExample, str]]
    settings: FilterConfig | None = None

    @property
    def counts(self) -> dict[str, int]:
        """How many were dropped for each reason, in the order of the filters."""
        counted = collections.Counter(
            reason.partition(":")[0] for _, reason in self.dropped
        )
        known = [reason for reason in REASONS if counted[reason]]
        return {r: counted[r] for r in [*known, *sorted(counted.keys() - set(known))]}


def apply(found: Sequence[VotedExample], settings: FilterConfig) -> FilterResult:
    """Sorts outcomes into those that stay and those that go, with their reasons."""
    result = FilterResult([], [], settings)
    reason_for = _reasons(settings)
    for outcome in found:
        reason = next(reason_for(outcome), None)
        if reason is None:
            result.kept.append(outcome)
        else:
            result.dropped.append((outcome, reason))
    return result


def _reasons(settings: FilterConfig) -> Callable[[VotedExample], Iterator[str]]:
    """Makes the function that yields the reasons against an outcome."""
    correct = metrics.correct_fn(settings.dataset)
    inputs: set[str] = set()
    rows: set[tuple[str, str | None]] = set()

    def reasons(outcome: VotedExample) -> Iterator[str]:
        label, teacher = outcome.label, outcome.teacher_label
        nothing = label is teacher is outcome.rationale is None
        if nothing or (settings.unparsable and outcome.problem):
            yield f"{UNPARSABLE}: {outcome.problem}"
        both = label is not None and teacher is not None
        if settings.disagreement and both and not correct(label, teacher):
            yield DISAGREES
        if outcome.samples and outcome.margin < settings.min_margin:
            yield NARROW
        if outcome.rationale is not None:
            words = len(outcome.rationale.split())
            if words < settings.min_words:
                yield SHORT
            if 0 < settings.max_words < words:
                yield LONG
            if leaks_within(outcome) <= settings.leak_words:
                yield LEAKS
        if settings.duplicate_inputs and outcome.input in inputs:
            yield SAME_INPUT
        row = outcome.input, outcome.rationale
        if settings.duplicate_rows and row in rows:
            yield SAME_ROW
        # Only reached by an outcome that stays: a dropped one must not displace others.
        inputs.add(outcome.input)
        rows.add(row)

    return reasons


def leaks_within(outcome: VotedExample) -> float:
    """Within how many of the rationale's first words the whole teacher label stands.

    A word is a run of letters and digits; letter case and punctuation do not matter. In
    "Socks go in a drawer." the label "a Drawer" stands within 5 words.

    Returns:
        A number of words from 1, or infinity when it stands nowhere.
    """
    label = _words(outcome.teacher_label or "")
    words = _words(outcome.rationale or "")
    # Searched for as one text: word by word, long ones would take for ever.
    found = f" {' '.join(words)} ".partition(f" {' '.join(label)} ")
    if not label or not found[1]:
        return float("inf")
    return len(found[0].split()) + len(label)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def dropped_row(outcome: VotedExample, reason: str) -> dict[str, Any]:
    r"""Makes a row of filtered.jsonl: that of a kept one, the reason, the raw texts.

    What UTF-8 cannot encode is spelled out: a lone surrogate becomes "\ud800".
    """
    texts = [
        text.encode("utf-8", "backslashreplace").decode()
        for text in outcome.completions
    ]
    row = voting.to_row(outcome) | {"reason": reason, "completions": texts}
    return row | ({"problem": outcome.problem} if outcome.problem else {})


def write(
    result: FilterResult, kept: str | os.PathLike[str], dropped: str | os.PathLike[str]
) -> None:
    """Writes the training rows, and what was filtered beside them.

    Raises:
        OSError: As `files.write`.
    """
    files.write_jsonl(dropped, (dropped_row(*pair) for pair in result.dropped))
    files.write_jsonl(kept, map(voting.to_row, result.kept))


def read(
    kept: str | os.PathLike[str], dropped: str | os.PathLike[str] | None = None
) -> FilterResult:
    """Reads what `write` wrote. Either file may be empty, though not both.

    Raises:
        UserError: A file cannot be read or has bad rows, or there are no rows at all.
    """
    result = FilterResult(
        _read(kept, voting.from_row),
        [] if dropped is None else _read(dropped, _dropped_pair),
    )
    if not (result.kept or result.dropped):
        raise UserError(f"{kept}: holds no rows")
    return result


def _read(
    path: str | os.PathLike[str], read_row: Callable[[Mapping[str, Any]], T]
) -> list[T]:
    path = pathlib.Path(path)
    empty = path.is_file() and not path.stat().st_size
    return [] if empty else voting.read(path, read_row)


def _dropped_pair(row: Mapping[str, Any]) -> tuple[VotedExample, str]:
    check_text("reason", row.get("reason"))
    return voting.from_row(row), row["reason"]
