"""The figures of the quality card: counts, accuracy, lengths, leakage and margins.

Nothing here draws or writes. The shown examples are chosen by their vote margin, then
by a hash of their id, so the same set of rationales always shows the same examples.
"""

import collections
import dataclasses
import hashlib
import heapq
import math
from collections.abc import Iterable, Sequence

from dsbs_jax.data import dataset_spec
from dsbs_jax.data.dataset_spec import DatasetSpec
from dsbs_jax.data.metrics import Metric
from dsbs_jax.rationales import accuracy, filters, lengths
from dsbs_jax.rationales.accuracy import ClassTable
from dsbs_jax.rationales.lengths import TokenLimits
from dsbs_jax.rationales.voting import VotedExample
from dsbs_jax.reports import quantiles
from dsbs_jax.reports.proportion import Proportion

# Numbers of first words of a rationale that are searched for the label.
LEAK_WORDS = (1, 3, 5, 10, 20)
# Examples under each title of the card.
SHOWN_EXAMPLES = 4
MARGIN_BINS = 10


@dataclasses.dataclass(frozen=True, slots=True)
class TextLengths:
    """Lengths of the texts of one field.

    Attributes:
        limit: The student's limit in tokens, end token included.
        lengths: Length of each text without an end token, in tokens or words, sorted.
    """

    limit: int
    lengths: list[int]

    @property
    def truncated(self) -> Proportion:
        """Proportion of texts that are truncated for the student.

        The end token needs a place, so a text of `limit` tokens loses its last token.
        """
        too_long = sum(length >= self.limit for length in self.lengths)
        return Proportion(too_long, len(self.lengths))

    def quantile(self, fraction: float) -> int:
        """The smallest length that at least `fraction` of the texts do not exceed."""
        return quantiles.quantile(self.lengths, fraction)


@dataclasses.dataclass(frozen=True, slots=True)
class MarginBin:
    """Inputs with a similar vote margin.

    Attributes:
        low: Smallest margin of the bin, 0.0 to 0.9; the bin is 0.1 wide.
        inputs: Number of inputs in the bin.
        correct: Inputs whose teacher label is right.
    """

    low: float
    inputs: int
    correct: Proportion


@dataclasses.dataclass(frozen=True, slots=True)
class Quality:
    """The figures of a set of rationales.

    Attributes:
        stages: Name and number of rows of each stage, from all inputs to kept rows.
        samples_with_label: Proportion of samples with a label. None if each input has
            one sample, or if rows come from a file, because a file holds only the
            winning label.
        problems: Inputs without a label or rationale, by reason.
        accuracy: The teacher's accuracy over all comparable rows.
        kept_accuracy: The teacher's accuracy over the kept rows.
        classes: The teacher's answers by class of the human label.
        lengths: Lengths of the kept rows, by field: "input", "rationale", "label".
        unit: What lengths are counted in, "tokens" or "words".
        leakage: Maps n to the proportion of kept rows whose rationale states the
            teacher label within its first n words; infinity means anywhere.
        margins: Inputs by vote margin; empty when every input has one sample.
        answer_given: Proportion of kept rows whose rationale the teacher wrote after it
            was given the human label.
        shown: Examples by title; the title says how they were chosen.
    """

    stages: list[tuple[str, int]]
    samples_with_label: Proportion | None
    problems: dict[str, int]
    accuracy: Proportion
    kept_accuracy: Proportion
    classes: ClassTable
    lengths: dict[str, TextLengths]
    unit: str
    leakage: dict[float, Proportion]
    margins: list[MarginBin]
    answer_given: Proportion
    shown: dict[str, list[VotedExample]]


def measure(
    examples: Sequence[VotedExample],
    result: filters.FilterResult,
    spec: DatasetSpec = dataset_spec.DEFAULT,
    limits: TokenLimits | None = None,
    failed: int = 0,
) -> Quality:
    """Computes the figures of the card.

    Args:
        examples: All voted examples.
        result: The examples that the filters kept and dropped.
        spec: The dataset, whose metric compares labels.
        limits: The student's limits; by default those of the dataset, in words.
        failed: Inputs without a voted example, because no reply came.
    """
    limits = limits or lengths.in_words(spec.feature_lengths)
    metric = spec.metric
    return Quality(
        stages=_stages(examples, result, failed),
        samples_with_label=_samples_with_label(examples),
        problems=_problems(examples),
        accuracy=accuracy.accuracy(examples, metric),
        kept_accuracy=accuracy.accuracy(result.kept, metric),
        classes=accuracy.by_class(examples, metric),
        lengths=_lengths(result.kept, limits, spec.predict_prefix),
        unit=limits.unit,
        leakage=_leakage(result.kept),
        margins=_margins(examples, metric),
        answer_given=Proportion(
            sum(e.answer_given for e in result.kept), len(result.kept)
        ),
        shown=_shown_examples(result, metric),
    )


def _stages(
    examples: Sequence[VotedExample], result: filters.FilterResult, failed: int
) -> list[tuple[str, int]]:
    stages = [("inputs", len(examples) + failed)]
    if failed:
        stages.append(("with a reply", len(examples)))
    with_label = sum(e.teacher_label is not None for e in examples)
    with_rationale = sum(e.rationale is not None for e in examples)
    stages.append(("with a teacher label", with_label))
    stages.append(("with a rationale", with_rationale))
    stages.append(("kept", len(result.kept)))
    return stages


def _samples_with_label(examples: Sequence[VotedExample]) -> Proportion | None:
    if not _is_voted(examples) or any(len(e.parsed) != e.samples for e in examples):
        return None
    labels = [sample.label is not None for e in examples for sample in e.parsed]
    return Proportion(sum(labels), len(labels))


def _problems(examples: Sequence[VotedExample]) -> dict[str, int]:
    return dict(
        collections.Counter(e.problem for e in examples if e.problem).most_common()
    )


def _lengths(
    kept: Sequence[VotedExample], limits: TokenLimits, prefix: str
) -> dict[str, TextLengths]:
    texts = {
        # The student reads the task's prefix too.
        "input": [prefix + e.input for e in kept],
        "rationale": [e.rationale for e in kept if e.rationale is not None],
        "label": [x for e in kept if (x := e.label or e.teacher_label) is not None],
    }
    return {
        field: TextLengths(
            limits.inputs if field == "input" else limits.targets,
            sorted(limits.count(some)),
        )
        for field, some in texts.items()
        if some
    }


def _leakage(kept: Sequence[VotedExample]) -> dict[float, Proportion]:
    """Counts rationales that state the teacher label early.

    A rationale that begins with the answer hardly explains it, so the student may learn
    to repeat the label. A label at the end of a rationale is normal.

    The label ends at words 2, 4 and nowhere -> {1: 0/3, 3: 1/3, 5: 2/3, …, inf: 2/3}
    """
    words = [
        filters.words_until_label(e)
        for e in kept
        if e.rationale is not None and e.teacher_label is not None
    ]
    counts: dict[float, Proportion] = {
        n: Proportion(sum(w <= n for w in words), len(words)) for n in LEAK_WORDS
    }
    return counts | {math.inf: Proportion(sum(w < math.inf for w in words), len(words))}


def _margins(examples: Sequence[VotedExample], metric: Metric) -> list[MarginBin]:
    """Groups the inputs by vote margin.

    If the teacher is more often right where the margin is wide, MIN_MARGIN is a useful
    filter; the card shows the accuracy of each bin for that decision.
    """
    if not _is_voted(examples):
        return []
    bins: list[list[VotedExample]] = [[] for _ in range(MARGIN_BINS)]
    for example in examples:
        # A margin of 1.0 belongs to the last bin.
        index = min(MARGIN_BINS - 1, math.floor(MARGIN_BINS * example.margin))
        bins[index].append(example)
    return [
        MarginBin(n / MARGIN_BINS, len(some), accuracy.accuracy(some, metric))
        for n, some in enumerate(bins)
    ]


def _shown_examples(
    result: filters.FilterResult, metric: Metric
) -> dict[str, list[VotedExample]]:
    """Chooses examples of right, wrong and dropped rows.

    With human labels these are right and wrong rows. A wrong row with a wide margin is
    the most instructive one: the teacher is sure and wrong. Without human labels they
    are the rows with the widest and the narrowest margin.
    """
    kept = result.kept
    dropped = [example for example, _ in result.dropped]
    rows = accuracy.comparable(kept)
    shown = {}
    if rows:
        right = [e for e in rows if accuracy.is_correct(e, metric)]
        wrong = [e for e in rows if not accuracy.is_correct(e, metric)]
        shown[f"Kept rows with a right teacher label, {_order(kept)}"] = _widest(right)
        shown[f"Kept rows with a wrong teacher label, {_order(kept)}"] = _widest(wrong)
    elif _is_voted(kept):
        shown["Kept rows with the widest vote margin"] = _widest(kept)
        shown["Kept rows with the narrowest vote margin"] = _widest(kept, narrow=True)
    else:
        shown[f"Kept rows, {_order(kept)}"] = _widest(kept)
    shown[f"Dropped rows, {_order(dropped)}"] = _widest(dropped)
    return {title: some for title, some in shown.items() if some}


def _is_voted(examples: Iterable[VotedExample]) -> bool:
    return any(e.samples > 1 for e in examples)


def _order(examples: Iterable[VotedExample]) -> str:
    return "widest vote margin first" if _is_voted(examples) else "drawn at random"


def _widest(
    examples: Iterable[VotedExample], narrow: bool = False
) -> list[VotedExample]:
    """Chooses the few examples with the widest (or narrowest) vote margin.

    Examples with the same margin are ordered by the SHA-256 of their id. This is as
    good as a random draw, and it does not depend on a seed or the order of the rows.
    """
    sign = 1 if narrow else -1

    def key(example: VotedExample) -> tuple[float, bytes]:
        return sign * example.margin, hashlib.sha256(example.id.encode()).digest()

    return heapq.nsmallest(SHOWN_EXAMPLES, examples, key=key)
