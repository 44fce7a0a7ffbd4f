"""The numbers behind a quality card: how good a set of rationales is.

Everything is counted on outcomes; nothing here draws or writes. Samples are chosen by
what they are and then by a hash of their id, so the same set shows the same ones.
"""

import collections
import dataclasses
import hashlib
import heapq
import math
import re
from collections.abc import Callable, Iterable, Sequence

from dsbs_jax.data import arithmetic, metrics
from dsbs_jax.rationales import filters
from dsbs_jax.rationales.lengths import Lengths
from dsbs_jax.rationales.voting import VotedExample

MAX_CLASSES = 10  # with more different human labels they are free text
SHOWN_ANSWERS = 3  # most frequent wrong answers named for a label
SHOWN_SAMPLES = 4
LEAK_WORDS = (1, 3, 5, 10, 20)
NO_LABEL = "(no label)"
OTHER = "(other)"
NO_ARITHMETIC = "(no arithmetic)"

_Z = 1.959963984540054  # of the normal distribution's middle 95 %
_PREFIX = "predict: "  # as long as "explain: "


@dataclasses.dataclass(frozen=True, slots=True)
class Proportion:
    """Some of a number of rows."""

    count: int
    total: int

    @property
    def value(self) -> float:
        """The share, 0 to 1; not a number where there are no rows."""
        return self.count / self.total if self.total else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval (1927), as of independent rows."""
        if not self.total:
            return 0.0, 1.0
        n, p = self.total, self.value
        middle = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
        half = _Z * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2)) / (1 + _Z**2 / n)
        return max(0.0, middle - half), min(1.0, middle + half)


@dataclasses.dataclass(frozen=True, slots=True)
class ClassScore:
    """How the teacher did on the rows of one human label.

    Attributes:
        name: The label, or the class that it was pooled into.
        right: How many of its rows the teacher got right.
        answers: How often the teacher gave each class, right ones included.
        wrong: Its most frequent wrong labels.
    """

    name: str
    right: Proportion
    answers: dict[str, int]
    wrong: list[tuple[str, int]]


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """Lengths of one kind of text.

    Attributes:
        limit: The student's feature length in tokens, the end token included.
        sizes: Units of each text without an end token, sorted.
    """

    limit: int
    sizes: list[int]

    @property
    def cut(self) -> Proportion:
        """Texts that lose something, for want of a place for the end token at least."""
        return Proportion(
            sum(size >= self.limit for size in self.sizes), len(self.sizes)
        )

    def quantile(self, share: float) -> int:
        """The smallest size that at least `share` of the texts do not exceed."""
        return self.sizes[max(0, math.ceil(share * len(self.sizes)) - 1)]


@dataclasses.dataclass(frozen=True, slots=True)
class MarginBin:
    """Outcomes of similar vote margin: from `low`, 0.0 to 0.9, to a tenth above."""

    low: float
    rows: int
    right: Proportion


@dataclasses.dataclass(frozen=True, slots=True)
class Quality:
    """What a quality card says.

    Attributes:
        stages: What is counted of inputs and how many there are of it, down to kept.
        sampled: Completions with a label, of all; None with one an input, and where
            rows were read back, which name the winner only.
        problems: Why inputs have no label or rationale, and how many.
        agreement: Teacher labels that are right, of all rows with a human label that a
            teacher was asked about.
        kept_agreement: The same of the rows that were kept.
        classes: One a human label, frequent ones first.
        columns: The classes of the confusion matrix; none for free text.
        class_kind: What the classes are, in words.
        lengths: Of "input", "rationale" and "label" of the kept rows.
        unit: What lengths are counted in.
        leakage: Kept rows whose rationale states the label within that many first
            words; infinity is anywhere.
        margins: Empty when every input has one sample.
        samples: Under a title that says how they were chosen.
    """

    stages: list[tuple[str, int]]
    sampled: Proportion | None
    problems: dict[str, int]
    agreement: Proportion
    kept_agreement: Proportion
    classes: list[ClassScore]
    columns: list[str]
    class_kind: str
    lengths: dict[str, Measured]
    unit: str
    leakage: dict[float, Proportion]
    margins: list[MarginBin]
    samples: dict[str, list[VotedExample]]


def measure(
    found: Sequence[VotedExample],
    result: filters.FilterResult,
    dataset: str = "default",
    lengths: Lengths | None = None,
    failed: int = 0,
) -> Quality:
    """Counts all that a card shows.

    Args:
        found: Every outcome.
        result: Which of them were kept.
        dataset: Whose way of comparing labels counts.
        lengths: The student's feature lengths; by default those of one's own data.
        failed: Inputs that have no outcome, because no reply came.
    """
    lengths = lengths or Lengths()
    correct = metrics.correct_fn(dataset)
    classes, columns, kind = _classes(found, correct)
    return Quality(
        stages=_stages(found, result, failed),
        sampled=_sampled(found),
        problems=_problems(found),
        agreement=_agreement(found, correct),
        kept_agreement=_agreement(result.kept, correct),
        classes=classes,
        columns=columns,
        class_kind=kind,
        lengths=_lengths(result.kept, lengths),
        unit=lengths.unit,
        leakage=_leakage(result.kept),
        margins=_margins(found, correct),
        samples=_samples(result, correct),
    )


def _stages(
    found: Sequence[VotedExample], result: filters.FilterResult, failed: int
) -> list[tuple[str, int]]:
    stages = [("inputs", len(found) + failed)]
    if failed:
        stages.append(("with a reply", len(found)))
    stages.append(("with a teacher label", _have(found, "teacher_label")))
    stages.append(("with a rationale", _have(found, "rationale")))
    stages.append(("kept", len(result.kept)))
    return stages


def _sampled(found: Sequence[VotedExample]) -> Proportion | None:
    voted = any(outcome.samples > 1 for outcome in found)
    if not voted or any(len(o.parsed) != o.samples for o in found):
        return None
    labels = [sample.label is not None for o in found for sample in o.parsed]
    return Proportion(sum(labels), len(labels))


def _have(found: Iterable[VotedExample], field: str) -> int:
    return sum(getattr(outcome, field) is not None for outcome in found)


def _problems(found: Sequence[VotedExample]) -> dict[str, int]:
    counted = collections.Counter(o.problem for o in found if o.problem)
    return dict(counted.most_common())


def _agreement(
    found: Iterable[VotedExample], correct: Callable[[str, str], bool]
) -> Proportion:
    """Right rows of those judged; one without a teacher label is wrong."""
    judged = [_right(outcome, correct) for outcome in _judged(found)]
    return Proportion(sum(judged), len(judged))


def _judged(found: Iterable[VotedExample]) -> list[VotedExample]:
    return [o for o in found if o.label is not None and o.samples]


def _right(outcome: VotedExample, correct: Callable[[str, str], bool]) -> bool:
    return outcome.teacher_label is not None and correct(
        outcome.label, outcome.teacher_label
    )


def _classes(
    found: Sequence[VotedExample], correct: Callable[[str, str], bool]
) -> tuple[list[ClassScore], list[str], str]:
    """Scores by human label: (scores, columns of the confusion matrix, their kind).

    Equations are classed by their operators, since hardly any occurs twice. A few
    different texts are classes. With more of them they are free text: the most frequent
    ones are shown, the rest is pooled, and a confusion matrix would say nothing.
    """
    judged = _judged(found)
    frequent = [
        x for x, _ in collections.Counter(o.label for o in judged).most_common()
    ]
    if correct is metrics.same_value:
        class_of, kind = operators, "operators of the equation"
    else:
        few = len(frequent) <= MAX_CLASSES
        kind = "label" if few else "most frequent labels, the rest pooled"
        shown = frozenset(frequent[:MAX_CLASSES])

        def class_of(label: str) -> str:
            return label if label in shown else OTHER

    groups: dict[str, list[VotedExample]] = collections.defaultdict(list)
    for outcome in judged:
        groups[class_of(outcome.label)].append(outcome)
    # Those that pool something stand last.
    order = sorted(groups, key=lambda n: (n in (OTHER, NO_ARITHMETIC), -len(groups[n])))
    scores = [_class_score(name, groups[name], class_of, correct) for name in order]
    if kind.startswith("most frequent"):
        return scores, [], kind
    given = {answer for score in scores for answer in score.answers}
    last = [x for x in (OTHER, NO_ARITHMETIC, NO_LABEL) if x in given - set(order)]
    return scores, [*order, *sorted(given - {*order, *last}), *last], kind


def _class_score(
    name: str,
    rows: Sequence[VotedExample],
    class_of: Callable[[str], str],
    correct: Callable[[str, str], bool],
) -> ClassScore:
    answers: collections.Counter[str] = collections.Counter()
    wrong: collections.Counter[str] = collections.Counter()
    for outcome in rows:
        label = outcome.teacher_label
        answers[NO_LABEL if label is None else class_of(label)] += 1
        if label is not None and not correct(outcome.label, label):
            wrong[label] += 1
    return ClassScore(
        name,
        _agreement(rows, correct),
        dict(answers.most_common()),
        wrong.most_common(SHOWN_ANSWERS),
    )


def operators(equation: str) -> str:
    """Names an equation's operator: "(8 - 2)" -> "-"; "3" -> "number"; or "several"."""
    if arithmetic.value(equation) is None:
        return NO_ARITHMETIC
    # A minus is binary where a number or a bracket ends before it.
    found = set(re.findall(r"(?<=[\d).])\s*([-+*/])", equation))
    return "several" if len(found) > 1 else next(iter(found), "number")


def _lengths(kept: Sequence[VotedExample], lengths: Lengths) -> dict[str, Measured]:
    texts = {
        "input": [_PREFIX + o.input for o in kept],
        "rationale": [o.rationale for o in kept if o.rationale is not None],
        "label": [x for o in kept if (x := o.label or o.teacher_label) is not None],
    }
    limits = {"input": lengths.inputs}
    return {
        name: Measured(limits.get(name, lengths.targets), sorted(lengths.count(some)))
        for name, some in texts.items()
        if some
    }


def _leakage(kept: Sequence[VotedExample]) -> dict[float, Proportion]:
    within = [
        filters.leaks_within(outcome)
        for outcome in kept
        if outcome.rationale is not None and outcome.teacher_label is not None
    ]
    anywhere = Proportion(sum(n < math.inf for n in within), len(within))
    first = {
        n: Proportion(sum(w <= n for w in within), len(within)) for n in LEAK_WORDS
    }
    return {**first, math.inf: anywhere}


def _margins(
    found: Sequence[VotedExample], correct: Callable[[str, str], bool]
) -> list[MarginBin]:
    if all(outcome.samples <= 1 for outcome in found):
        return []
    bins: list[list[VotedExample]] = [[] for _ in range(10)]
    for outcome in found:
        bins[min(9, math.floor(10 * outcome.margin))].append(outcome)
    return [
        MarginBin(n / 10, len(rows), _agreement(rows, correct))
        for n, rows in enumerate(bins)
    ]


def _samples(
    result: filters.FilterResult, correct: Callable[[str, str], bool]
) -> dict[str, list[VotedExample]]:
    """Some of the best kept, of the worst kept and of the dropped voting."""
    kept = result.kept
    judged = _judged(kept)
    voted = any(outcome.samples > 1 for outcome in kept)
    how = "by the widest margin" if voted else "drawn by a hash of the id"
    chosen = {}
    if judged:
        right = [outcome for outcome in judged if _right(outcome, correct)]
        wrong = [outcome for outcome in judged if not _right(outcome, correct)]
        chosen[f"Best: right, {how}"] = _first(right, -1)
        chosen[f"Worst: wrong, {how}"] = _first(wrong, -1)
    elif voted:
        chosen["Best: kept by the widest margin"] = _first(kept, -1)
        chosen["Worst: kept by the narrowest margin"] = _first(kept, 1)
    else:
        chosen[f"Kept, {how}"] = _first(kept, 1)
    chosen["Dropped"] = _first([outcome for outcome, _ in result.dropped], -1)
    return {title: some for title, some in chosen.items() if some}


def _first(some: Iterable[VotedExample], sign: int) -> list[VotedExample]:
    """The first few in the order of `sign` times the margin, then of a hash."""

    def key(outcome: VotedExample) -> tuple[float, bytes]:
        return sign * outcome.margin, hashlib.sha256(outcome.id.encode()).digest()

    return heapq.nsmallest(SHOWN_SAMPLES, some, key=key)
