"""The figures of a judge: its verdicts, and their agreement with the human labels."""

import dataclasses
from typing import Any

from dsbs_jax.counts import counted
from dsbs_jax.data.metrics import Metric
from dsbs_jax.rationales.filters import FilterResult
from dsbs_jax.reports import kappa
from dsbs_jax.reports.kappa import Kappa
from dsbs_jax.reports.proportion import Proportion


@dataclasses.dataclass(frozen=True, slots=True)
class JudgeFigures:
    """The figures of a judge.

    Rows whose label the teacher was given (`answer_given`) do not count in the last
    four figures: their label is right by construction.

    Attributes:
        not_judged: Kept rows with a rationale and without a verdict.
        rejected: Rows whose rationale the judge rejects, among the judged ones.
        unreadable: Rows whose verdict cannot be read, among the judged ones.
        accepted_right: Rows with a right teacher label, among the accepted ones with a
            human label.
        rejected_right: The same among the rejected ones.
        agreement: Rows that are accepted and right or rejected and wrong, among the
            rows with a verdict and a human label.
        kappa: Cohen's kappa of the verdict and the correctness of the teacher label;
            None if all of the rows have the same verdict, or are all right or wrong.
    """

    not_judged: int
    rejected: Proportion
    unreadable: Proportion
    accepted_right: Proportion
    rejected_right: Proportion
    agreement: Proportion
    kappa: Kappa | None

    def describe(self) -> str:
        """Returns the line that an extraction prints."""
        line = (
            f"judge: {self.rejected.count:,} of {self.rejected.total:,} rationales are "
            f"rejected ({self.rejected.percent})"
        )
        if self.unreadable.count:
            verdicts = counted(self.unreadable.count, "verdict")
            line += f", {verdicts} cannot be read"
        if self.not_judged:
            rows = counted(self.not_judged, "kept row is", "kept rows are")
            line += f", {rows} not judged"
        if self.agreement.total:
            line += f"; agreement with the human labels: {self.agreement.percent}"
        if self.kappa:
            line += f", Cohen's kappa {self.kappa.value:.2f}"
        return line

    def to_json(self) -> dict[str, Any]:
        """Returns JSON values."""
        return {
            "not_judged": self.not_judged,
            "rejected": self.rejected.to_json(),
            "unreadable": self.unreadable.to_json(),
            "accepted_right": self.accepted_right.to_json(),
            "rejected_right": self.rejected_right.to_json(),
            "agreement": self.agreement.to_json(),
            "kappa": dataclasses.asdict(self.kappa) if self.kappa else None,
        }


def measure(result: FilterResult, metric: Metric) -> JudgeFigures | None:
    """Computes the figures of a judge; None without a verdict.

    Args:
        result: The kept and the dropped rows.
        metric: Compares labels.
    """
    examples = [*result.kept, *(example for example, _ in result.dropped)]
    rows = [example for example in examples if example.judge_verdict]
    if not rows:
        return None
    given = [row.judge_verdict for row in rows]
    readable = [row for row in rows if row.judge_verdict != "unreadable"]
    pairs = [
        (row.judge_verdict == "yes", metric.accepts(row.target, row.teacher_label))
        for row in readable
        if row.target is not None
        and row.teacher_label is not None
        and not row.answer_given
    ]
    accepted = [right for is_accepted, right in pairs if is_accepted]
    rejected = [right for is_accepted, right in pairs if not is_accepted]
    return JudgeFigures(
        not_judged=sum(
            bool(row.rationale) and row.judge_verdict is None for row in result.kept
        ),
        rejected=Proportion(given.count("no"), len(rows)),
        unreadable=Proportion(given.count("unreadable"), len(rows)),
        accepted_right=Proportion(sum(accepted), len(accepted)),
        rejected_right=Proportion(sum(rejected), len(rejected)),
        agreement=Proportion(sum(one == other for one, other in pairs), len(pairs)),
        kappa=kappa.cohens_kappa([v for v, _ in pairs], [right for _, right in pairs]),
    )
