"""The result of an extraction, and the text that it prints at its end."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from dsbs_jax.rationales import filters
from dsbs_jax.rationales.verdicts import JudgeFigures
from dsbs_jax.reports.proportion import Proportion

# Exit statuses.
DONE = 0
CAPPED = 3
SOME_FAILED = 4

# Labels outside the label set that the printout names.
_SHOWN_LABELS = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExtractionResult:
    """The result of an extraction.

    A path is None if its file was not written: a run that stops early writes no rows,
    and a dry run writes nothing.

    Attributes:
        status: Exit status: 0 done, 3 stopped by a cap, 4 inputs without a usable
            reply or rows that the judge did not answer, 128 + number after a signal.
        folder: The output folder.
        inputs: Number of inputs.
        rationales: Path of the kept rows, which are a dataset to train on.
        filtered: Path of the dropped rows with their reasons.
        failed: Path of the inputs without a usable reply.
        report: Path of counts, settings, tokens and cost as JSON.
        card: Path of the quality card, a page that needs no other file; None without a
            reply.
        kept_count: Number of kept rows.
        dropped_counts: Number of dropped rows by reason.
        problem_counts: Number of unparsable rows by problem.
        failed_count: Number of failed inputs.
        failed_label_count: Number of failed inputs with a human label.
        labels: The label set, or None if every label counts.
        other_labels: Number of samples by label, for labels outside the label set.
        answer_given: Inputs with a rationale for the given human label, among those
            that were requested again with GIVE_ANSWERS.
        judge: The figures of the judge, or None without JUDGE.
        teacher_accuracy: The teacher's accuracy on the rows with a human label, without
            help.
        majority_label: The most frequent human label, or None without human labels.
        majority_accuracy: The accuracy of always answering `majority_label`.
        cost: Everything spent on the folder, in the currency of the prices; None
            without prices.
    """

    status: int
    folder: pathlib.Path
    inputs: int
    rationales: pathlib.Path | None = None
    filtered: pathlib.Path | None = None
    failed: pathlib.Path | None = None
    report: pathlib.Path | None = None
    card: pathlib.Path | None = None
    kept_count: int = 0
    dropped_counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    problem_counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    failed_count: int = 0
    failed_label_count: int = 0
    labels: tuple[str, ...] | None = None
    other_labels: Mapping[str, int] = dataclasses.field(default_factory=dict)
    answer_given: Proportion = Proportion(0, 0)
    judge: JudgeFigures | None = None
    teacher_accuracy: Proportion = Proportion(0, 0)
    majority_label: str | None = None
    majority_accuracy: Proportion = Proportion(0, 0)
    cost: float | None = None

    @property
    def beats_majority(self) -> bool | None:
        """Whether the 95 % interval of the teacher's accuracy excludes the majority's.

        None without human labels.
        """
        if not self.teacher_accuracy.total:
            return None
        return self.teacher_accuracy.interval[0] > self.majority_accuracy.value

    def summary(self) -> str:
        """Returns the printout: accuracy, shares of kept and dropped rows, the card."""
        lines = [self._accuracy_line()]
        if self.answer_given.total:
            given = self.answer_given
            lines.append(
                f"answer given: {given.count:,} of {given.total:,} rows that the "
                f"teacher got wrong ({given.percent}) have a rationale for it"
            )
        if self.judge:
            lines.append(self.judge.describe())
        kept = Proportion(self.kept_count, self.inputs)
        lines.append(f"kept: {_share(kept)} in {self.rationales}")
        for reason, count in self.dropped_counts.items():
            lines.append(f"dropped: {_share(Proportion(count, self.inputs))}, {reason}")
            if reason == filters.UNPARSABLE:
                lines += [
                    f"  {n:,} {problem}" for problem, n in self.problem_counts.items()
                ]
        if self.other_labels:
            shown = list(self.other_labels.items())[:_SHOWN_LABELS]
            names = ", ".join(f"{label!r:.40} ({count:,})" for label, count in shown)
            more = len(self.other_labels) - len(shown)
            names += f" and {more:,} more" if more else ""
            lines.append(f"labels outside the label set, by samples: {names}")
        if self.failed_count:
            failed = Proportion(self.failed_count, self.inputs)
            lines.append(f"failed: {_share(failed)}, reasons in {self.failed}")
        if self.failed_label_count:
            lines.append(
                f"  {self.failed_label_count:,} of them have a human label; to train "
                f"on it, give both files: dsbs-jax fit {self.rationales} {self.failed}"
            )
        if self.card:
            lines.append(f"card: {self.card}")
        return "\n".join(lines)

    def _accuracy_line(self) -> str:
        right = self.teacher_accuracy
        if not right.total:
            return "teacher accuracy: not known, because no row has a human label"
        return (
            f"teacher accuracy: {right.percent} of the {right.total:,} rows with a "
            f"human label (95 % interval {right.percent_interval}); always answering "
            f"{self.majority_label!r:.40}: {self.majority_accuracy.percent}"
        )

    def warning(self) -> str | None:
        """Returns the warning that the teacher may not beat the majority class."""
        if self.beats_majority is not False:
            return None
        return (
            "the teacher may be no better than always answering "
            f"{self.majority_label!r:.40}: the interval of its accuracy, "
            f"{self.teacher_accuracy.percent_interval} %, does not exclude "
            f"{self.majority_accuracy.percent}; try another model or a clearer prompt, "
            "or measure with more rows"
        )

    def report_fields(self) -> dict[str, Any]:
        """Returns the fields of `report.json` that describe the result."""
        fields: dict[str, Any] = {
            "inputs": self.inputs,
            "kept": self.kept_count,
            "filtered": dict(self.dropped_counts),
            "problems": dict(self.problem_counts),
            "failed": self.failed_count,
            "labels": self.labels,
            "other_labels": dict(self.other_labels),
            "cost": self.cost,
        }
        if self.answer_given.total:
            fields["answer_given"] = {
                "rows": self.answer_given.count,
                "requested": self.answer_given.total,
            }
        if self.judge:
            fields["judge"] = self.judge.to_json()
        if self.teacher_accuracy.total:
            fields["teacher_accuracy"] = _accuracy_fields(self.teacher_accuracy)
            majority = _accuracy_fields(self.majority_accuracy)
            fields["majority_class"] = {"label": self.majority_label, **majority}
        return fields


def _share(rows: Proportion) -> str:
    return f"{rows.count:,} of {rows.total:,} rows ({100 * rows.value:.1f} %)"


def _accuracy_fields(right: Proportion) -> dict[str, Any]:
    return {
        "right": right.count,
        "rows": right.total,
        "accuracy": right.value,
        "interval": list(right.interval),
    }
