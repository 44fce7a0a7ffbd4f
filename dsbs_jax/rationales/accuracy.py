"""The teacher's accuracy: over all rows and by human label."""

import collections
import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence

from dsbs_jax.data import arithmetic, metrics, scoring
from dsbs_jax.data.metrics import Metric
from dsbs_jax.rationales.voting import VotedExample
from dsbs_jax.reports.label_skew import OTHER_LABELS
from dsbs_jax.reports.proportion import Proportion

# Human labels with more different values than this are treated as free text.
MAX_CLASSES = 10
# Number of wrong teacher labels that are named for each class.
SHOWN_WRONG_LABELS = 3

# Names of classes that are not labels.
NO_TEACHER_LABEL = "(no label)"
NO_ARITHMETIC = "(no arithmetic)"
_POOLED = (OTHER_LABELS, NO_ARITHMETIC)

# What the classes of a `ClassTable` are.
BY_LABEL = "label"
BY_FREQUENT_LABEL = "label; the most frequent labels, all others pooled"
BY_OPERATOR = "operators of the equation"


@dataclasses.dataclass(frozen=True, slots=True)
class ClassScore:
    """The teacher's answers to the rows of one class of human labels.

    Attributes:
        name: The class: a human label, or the name of several labels.
        correct: Rows whose teacher label is right.
        answers: Number of rows by class of the teacher label, right ones included.
        wrong_labels: The most frequent wrong teacher labels and their rows.
    """

    name: str
    correct: Proportion
    answers: dict[str, int]
    wrong_labels: list[tuple[str, int]]


@dataclasses.dataclass(frozen=True, slots=True)
class ClassTable:
    """The teacher's answers by class of the human label.

    Attributes:
        scores: The score of each class, the most frequent class first, pooled classes
            last.
        columns: Classes of the teacher's labels, the columns of the confusion matrix;
            empty for free text.
        kind: Kind of the classes: `BY_LABEL`, `BY_FREQUENT_LABEL` or `BY_OPERATOR`.
    """

    scores: list[ClassScore]
    columns: list[str]
    kind: str


def comparable(examples: Iterable[VotedExample]) -> list[VotedExample]:
    """Selects the rows that have a human label and were answered by a teacher."""
    return [e for e in examples if e.label is not None and e.samples]


def is_correct(example: VotedExample, metric: Metric) -> bool:
    """Returns whether the teacher's own label is right; without a label it is wrong."""
    target, teacher_label = example.target, example.unaided_label
    if target is None or teacher_label is None:
        return False
    return metric.accepts(target, teacher_label)


def accuracy(examples: Iterable[VotedExample], metric: Metric) -> Proportion:
    """Returns the proportion of right teacher labels among the comparable rows.

    A row without a teacher label counts as wrong. Labels that the teacher gave only
    with help do not count.
    """
    # Comparable rows have a human label; `or` only tells the type checker.
    pairs = ((e.target or "", e.unaided_label) for e in comparable(examples))
    score = scoring.score_teacher(pairs, metric)
    return Proportion(score.correct, score.rows)


def majority_class(examples: Iterable[VotedExample]) -> tuple[str | None, Proportion]:
    """Returns the most frequent human label of the comparable rows, and its share.

    The share is the accuracy of always answering that label. Without comparable rows
    the label is None.
    """
    counts = collections.Counter(e.label for e in comparable(examples))
    label, count = next(iter(counts.most_common(1)), (None, 0))
    return label, Proportion(count, counts.total())


def by_class(examples: Iterable[VotedExample], metric: Metric) -> ClassTable:
    """Scores the teacher by class of the human label.

    An equation's class is its operator, because hardly any equation occurs twice. With
    at most `MAX_CLASSES` different labels, each label is a class. Otherwise the labels
    are free text: the most frequent labels are a class each, the others form one class,
    and the table has no confusion matrix, which would be mostly empty.
    """
    rows = comparable(examples)
    labels = collections.Counter(str(e.label) for e in rows)
    class_of: Callable[[str], str] = operators
    kind = BY_OPERATOR
    if metric.name != metrics.EQUATION_ACCURACY.name:
        class_of = _frequent_labels([name for name, _ in labels.most_common()])
        kind = BY_LABEL if len(labels) <= MAX_CLASSES else BY_FREQUENT_LABEL
    groups: dict[str, list[VotedExample]] = collections.defaultdict(list)
    for example in rows:
        groups[class_of(str(example.label))].append(example)
    order = sorted(groups, key=lambda name: (name in _POOLED, -len(groups[name])))
    scores = [_class_score(name, groups[name], class_of, metric) for name in order]
    columns = [] if kind == BY_FREQUENT_LABEL else _columns(scores)
    return ClassTable(scores, columns, kind)


def _frequent_labels(labels: Sequence[str]) -> Callable[[str], str]:
    shown = frozenset(labels[:MAX_CLASSES])
    return lambda label: label if label in shown else OTHER_LABELS


def _class_score(
    name: str,
    rows: Sequence[VotedExample],
    class_of: Callable[[str], str],
    metric: Metric,
) -> ClassScore:
    answers: collections.Counter[str] = collections.Counter()
    wrong: collections.Counter[str] = collections.Counter()
    for example in rows:
        label = example.unaided_label
        answers[NO_TEACHER_LABEL if label is None else class_of(label)] += 1
        if label is not None and not is_correct(example, metric):
            wrong[label] += 1
    return ClassScore(
        name,
        accuracy(rows, metric),
        dict(answers.most_common()),
        wrong.most_common(SHOWN_WRONG_LABELS),
    )


def _columns(scores: Sequence[ClassScore]) -> list[str]:
    """Orders the teacher's classes: those of the rows first, then others, then pools.

    Rows "b", "a" with answers "b", "a", "(other)", "(no label)"
    -> ["b", "a", "(other)", "(no label)"]
    """
    row_names = [score.name for score in scores]
    others = {answer for score in scores for answer in score.answers} - set(row_names)
    last = [name for name in (*_POOLED, NO_TEACHER_LABEL) if name in others]
    return [*row_names, *sorted(others - set(last)), *last]


def operators(equation: str) -> str:
    """Names the operator of an equation.

    "(8 - 2)" -> "-"; "3" -> "number"; "(8 - 2) * 3" -> "several"; "x" ->
    "(no arithmetic)"
    """
    if arithmetic.value(equation) is None:
        return NO_ARITHMETIC
    # A minus sign is an operator only after a number or a closing bracket: "2 - -3"
    # subtracts once, and "-3" is a number.
    signs = set(re.findall(r"(?<=[\d).])\s*([-+*/])", equation))
    return "several" if len(signs) > 1 else next(iter(signs), "number")
