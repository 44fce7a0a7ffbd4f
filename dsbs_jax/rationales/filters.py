"""Filters that decide which voted examples become training rows.

The filters run in the order of `FilterConfig`, and the first one that applies gives the
reason. Dropped rows are kept in a file of their own, with the reason. By default only
rows that the method cannot use are dropped: without a label or a rationale a row does
not train both tasks, and an exact duplicate would count twice.
"""

import collections
import dataclasses
import math
import os
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from dsbs_jax import files
from dsbs_jax.data import completions, dataset_spec
from dsbs_jax.data.dataset_spec import DatasetSpec
from dsbs_jax.data.metrics import Metric
from dsbs_jax.data.records import check_text
from dsbs_jax.errors import UserError
from dsbs_jax.rationales import voting
from dsbs_jax.rationales.voting import VotedExample
from dsbs_jax.settings import Fraction, NonNegativeInt, Settings, setting

T = TypeVar("T")
_WORD = re.compile(r"\w+")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FilterConfig(Settings):
    """Which rows are dropped; the filters run in this order."""

    drop_unparsable: bool = setting(
        True,
        help="Drop rows without a label or a rationale to train on. Rows without a "
        "label, a teacher label and a rationale are always dropped.",
    )
    drop_disagreement: bool = setting(
        False, help="Drop rows whose teacher label differs from the human label."
    )
    min_margin: Fraction = setting(
        0.0,
        help="Smallest vote margin that is kept, 0 to 1: votes of the winner minus "
        "votes of the runner-up, divided by the samples of the input. 0 is off.",
    )
    min_words: NonNegativeInt = setting(
        0, help="Fewest words of a rationale that is kept. 0 is off."
    )
    max_words: NonNegativeInt = setting(
        0, help="Most words of a rationale that is kept. 0 is off."
    )
    leak_words: NonNegativeInt = setting(
        0,
        help="Drop rows whose rationale states the teacher label within its first "
        "LEAK_WORDS words. 0 is off.",
    )
    drop_duplicate_inputs: bool = setting(
        False, help="Drop rows whose input is also the input of an earlier kept row."
    )
    drop_duplicate_rows: bool = setting(
        True,
        help="Drop rows whose input and rationale are those of an earlier kept row.",
    )
    drop_unsupported: bool = setting(
        True,
        help="Drop rows whose rationale the judge (JUDGE) rejects.",
    )

    def __post_init__(self) -> None:
        """Checks that the bounds on the words of a rationale do not cross."""
        super().__post_init__()
        if 0 < self.max_words < self.min_words:
            raise UserError(
                f"MAX_WORDS is {self.max_words}, expected at least MIN_WORDS, "
                f"{self.min_words}"
            )


# Reasons, as written to files and reports. One for each field of
# `FilterConfig`, in the same order.
UNPARSABLE = "unparsable"
DISAGREES = "disagrees with the human label"
NARROW = "vote margin too small"
SHORT = "rationale too short"
LONG = "rationale too long"
LEAKS = "label in the rationale's first words"
SAME_INPUT = "duplicate input"
SAME_ROW = "duplicate input and rationale"
UNSUPPORTED = "rationale does not support the label"
REASON_OF_SETTING = {
    "drop_unparsable": UNPARSABLE,
    "drop_disagreement": DISAGREES,
    "min_margin": NARROW,
    "min_words": SHORT,
    "max_words": LONG,
    "leak_words": LEAKS,
    "drop_duplicate_inputs": SAME_INPUT,
    "drop_duplicate_rows": SAME_ROW,
    "drop_unsupported": UNSUPPORTED,
}
REASONS = tuple(REASON_OF_SETTING.values())
# The reason of `drop_unparsable` for a label that is not in the label set.
OTHER_LABEL = completions.NOT_IN_LABEL_SET


@dataclasses.dataclass(frozen=True)
class FilterResult:
    """The kept and the dropped examples.

    Attributes:
        kept: Examples that become training rows, in their order.
        dropped: The other examples with their reasons, in their order. Each reason
            is `OTHER_LABEL` or begins with one of `REASONS`.
        config: The filters; None where they are not known.
    """

    kept: list[VotedExample]
    dropped: list[tuple[VotedExample, str]]
    config: FilterConfig | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Dropped rows by reason, in the order of the filters.

        Reasons "unparsable: no answer marker", "unparsable: blank rationale"
        -> {"unparsable": 2}
        """
        counted = collections.Counter(
            reason.partition(":")[0] for _, reason in self.dropped
        )
        known = [reason for reason in (OTHER_LABEL, *REASONS) if counted[reason]]
        return {r: counted[r] for r in [*known, *sorted(counted.keys() - set(known))]}

    @property
    def problem_counts(self) -> dict[str, int]:
        """Rows that `drop_unparsable` dropped by problem, the most frequent first.

        Reasons "unparsable: no answer marker", "unparsable: blank rationale"
        -> {"no answer marker": 1, "blank rationale": 1}
        """
        prefix = f"{UNPARSABLE}: "
        reasons = (reason for _, reason in self.dropped if reason.startswith(prefix))
        counted = collections.Counter(reason.removeprefix(prefix) for reason in reasons)
        return dict(counted.most_common())


def apply(
    examples: Sequence[VotedExample],
    config: FilterConfig,
    spec: DatasetSpec = dataset_spec.DEFAULT,
) -> FilterResult:
    """Separates the examples that are kept from those that are dropped.

    Args:
        examples: The examples, in the order of the input file.
        config: The filters.
        spec: The dataset, whose metric compares labels.
    """
    result = FilterResult([], [], config)
    kept_inputs: set[str] = set()
    kept_rows: set[tuple[str, str | None]] = set()
    for example in examples:
        row = (example.input, example.rationale)
        reason = _label_reason(example, config, spec.metric)
        reason = reason or _rationale_reason(example, config)
        # Only kept rows are remembered: a dropped row must not displace another one.
        if reason is None and config.drop_duplicate_inputs and row[0] in kept_inputs:
            reason = SAME_INPUT
        if reason is None and config.drop_duplicate_rows and row in kept_rows:
            reason = SAME_ROW
        reason = reason or _judge_reason(example, config)
        if reason is not None:
            result.dropped.append((example, reason))
        else:
            result.kept.append(example)
            kept_inputs.add(example.input)
            kept_rows.add(row)
    return result


def _label_reason(
    example: VotedExample, config: FilterConfig, metric: Metric
) -> str | None:
    target, teacher_label = example.target, example.teacher_label
    is_empty = target is teacher_label is example.rationale is None
    if is_empty or (config.drop_unparsable and example.problem):
        if example.problem == completions.NOT_IN_LABEL_SET:
            return OTHER_LABEL
        return f"{UNPARSABLE}: {example.problem}"
    both = None if target is None or teacher_label is None else (target, teacher_label)
    if config.drop_disagreement and both and not metric.accepts(*both):
        return DISAGREES
    if example.samples and example.margin < config.min_margin:
        return NARROW
    return None


def _rationale_reason(example: VotedExample, config: FilterConfig) -> str | None:
    if example.rationale is None:
        return None
    words = len(example.rationale.split())
    if words < config.min_words:
        return SHORT
    if 0 < config.max_words < words:
        return LONG
    if config.leak_words and words_until_label(example) <= config.leak_words:
        return LEAKS
    return None


def _judge_reason(example: VotedExample, config: FilterConfig) -> str | None:
    """Returns the reason with the judge's own, if the judge rejects the rationale."""
    if not config.drop_unsupported or example.judge_verdict != "no":
        return None
    return f"{UNSUPPORTED}: {example.judge_reason or 'no reason given'}"


def words_until_label(example: VotedExample) -> float:
    """Counts the rationale's first words that contain the complete teacher label.

    A word is a run of letters and digits. Letter case and punctuation are ignored.

    Label "a Drawer", rationale "Socks go in a drawer." -> 5

    Returns:
        A number of words from 1, or infinity if the rationale does not contain the
        label.
    """
    label = words_of(example.teacher_label or "")
    words = words_of(example.rationale or "")
    # One search in the joined text, because comparing the label at every word takes
    # quadratic time on long texts.
    before, match, _ = f" {' '.join(words)} ".partition(f" {' '.join(label)} ")
    if not label or not match:
        return math.inf
    return len(before.split()) + len(label)


def words_of(text: str) -> list[str]:
    """Returns the words of a text in lower case: "It's a Dog." -> it, s, a, dog."""
    return _WORD.findall(text.casefold())


def dropped_row(example: VotedExample, reason: str) -> dict[str, Any]:
    r"""Returns a row of `filtered.jsonl`: the row's fields, reason and completions.

    Characters that UTF-8 cannot encode are escaped: a lone surrogate becomes "\ud800".
    """
    texts = [
        text.encode("utf-8", "backslashreplace").decode()
        for text in example.completions
    ]
    row = example.to_row() | {"reason": reason, "completions": texts}
    return row | ({"problem": example.problem} if example.problem else {})


def write(
    result: FilterResult,
    kept_file: str | os.PathLike[str],
    dropped_file: str | os.PathLike[str],
) -> None:
    """Writes the kept and the dropped rows to two JSONL files.

    Raises:
        OSError: A file cannot be written.
    """
    files.write_jsonl(dropped_file, (dropped_row(*pair) for pair in result.dropped))
    files.write_jsonl(kept_file, (example.to_row() for example in result.kept))


def read(
    kept_file: str | os.PathLike[str],
    dropped_file: str | os.PathLike[str] | None = None,
) -> FilterResult:
    """Reads the files that `write` wrote. One of them may be empty, but not both.

    Raises:
        UserError: A file cannot be read or has bad rows, or both are empty.
    """
    kept = _read(kept_file, VotedExample.from_row)
    dropped = [] if dropped_file is None else _read(dropped_file, _read_dropped)
    if not (kept or dropped):
        raise UserError(f"{kept_file}: holds no rows")
    return FilterResult(kept, dropped)


def _read(
    path: str | os.PathLike[str], read_row: Callable[[Mapping[str, Any]], T]
) -> list[T]:
    path = pathlib.Path(path)
    is_empty = path.is_file() and not path.stat().st_size
    return [] if is_empty else voting.read_rows(path, read_row)


def _read_dropped(row: Mapping[str, Any]) -> tuple[VotedExample, str]:
    check_text("reason", row.get("reason"))
    return VotedExample.from_row(row), row["reason"]
