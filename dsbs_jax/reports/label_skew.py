"""How often labels are given, compared with how often they are right."""

import collections
import dataclasses
from collections.abc import Container, Sequence

import numpy as np

from dsbs_jax.errors import UserError
from dsbs_jax.reports import paired
from dsbs_jax.reports.class_scores import NO_ANSWER
from dsbs_jax.reports.paired import PairedComparison

OTHER_LABELS = "(other)"


@dataclasses.dataclass(frozen=True, slots=True)
class LabelSkew:
    """The shares of labels among targets and answers to the same rows.

    Attributes:
        classes: By label: the share among the targets (`first`) and among the answers
            (`second`), and their difference. The most frequent targets come first.
        p_value: P-value of the Stuart–Maxwell test that all labels are as frequent
            among the answers as among the targets.
    """

    classes: dict[str, PairedComparison]
    p_value: float


def label_skew(targets: Sequence[str], answers: Sequence[str | None]) -> LabelSkew:
    """Compares the frequencies of labels among targets and answers.

    Targets a, a, b and answers a, b, b: label a has a share of 2/3 and 1/3.

    Args:
        targets: The right labels, one for each row.
        answers: The labels that were given; None is a row without a label. Labels
            that are never a target are one class.

    Raises:
        UserError: `targets` is empty.
    """
    if not targets:
        raise UserError("found no rows, expected rows with labels to compare")
    counts = collections.Counter(targets)
    given = [answer_class(answer, counts) for answer in answers]
    names = sorted(counts, key=lambda name: (-counts[name], name))
    names += [name for name in (OTHER_LABELS, NO_ANSWER) if name in given]
    return LabelSkew(
        {
            name: paired.compare(
                [target == name for target in targets],
                [answer == name for answer in given],
            )
            for name in names
        },
        stuart_maxwell(targets, given),
    )


def answer_class(answer: str | None, targets: Container[str]) -> str:
    """Returns the class of an answer: a target, `OTHER_LABELS` or `NO_ANSWER`."""
    if answer is None:
        return NO_ANSWER
    return answer if answer in targets else OTHER_LABELS


def stuart_maxwell(first: Sequence[str], second: Sequence[str]) -> float:
    """Returns the p-value that the labels of both are equally frequent.

    The test of marginal homogeneity of Stuart (1955) and Maxwell (1970). The inverse is
    the pseudoinverse, so classes that are never confused need not be left out. With two
    classes it is McNemar's test.

    Args:
        first: Labels of each row.
        second: Other labels of the same rows.
    """
    from scipy import stats  # slow to import

    names = sorted({*first, *second})
    place = {name: n for n, name in enumerate(names)}
    table = np.zeros((len(names), len(names)))
    for one, other in zip(first, second, strict=True):
        table[place[one], place[other]] += 1
    rows, columns = table.sum(1), table.sum(0)
    covariance = np.diag(rows + columns) - table - table.T
    degrees = int(np.linalg.matrix_rank(covariance))
    if not degrees:
        return 1.0
    difference = rows - columns
    statistic = difference @ np.linalg.pinv(covariance) @ difference
    return float(stats.chi2.sf(statistic, degrees))
