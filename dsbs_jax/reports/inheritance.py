"""Whether a student inherits the skew of its teacher, by label and by group of rows."""

import dataclasses
from collections.abc import Mapping, Sequence

from dsbs_jax.reports import label_skew, paired, subgroups, tables
from dsbs_jax.reports.label_skew import LabelSkew
from dsbs_jax.reports.page import Block, Column, Heading, Paragraph, Row, Table
from dsbs_jax.reports.paired import PairedComparison

# What the intervals show about a label.
AMPLIFIED = "amplified"
INHERITED = "inherited"
REDUCED = "reduced"
NOT_INHERITED = "not inherited"
NEW = "only the student"
UNSKEWED = "no skew shown"


@dataclasses.dataclass(frozen=True, slots=True)
class Inheritance:
    """The label skew of teacher and student on the same rows.

    Attributes:
        teacher: Shares of the teacher's labels, compared with those of the human
            labels.
        student: The same for the student's labels.
        changes: For each label, its share of the teacher's labels (`first`) and of the
            student's labels (`second`).
        groups: For each column and each group of its values, the accuracy of the
            teacher (`first`) and of the student (`second`).
    """

    teacher: LabelSkew
    student: LabelSkew
    changes: Mapping[str, PairedComparison]
    groups: Mapping[str, Mapping[str, PairedComparison]]

    def verdict(self, label: str) -> str:
        """Returns what the 95 % intervals show about the skew of a label."""
        return verdict(
            _direction(self.teacher.classes.get(label)),
            _direction(self.student.classes.get(label)),
            _direction(self.changes[label]),
        )

    def blocks(self) -> list[Block]:
        """Returns the sections of the page."""
        note = (
            "Share of each label among the labels of teacher and student minus its "
            "share among the human labels of the same rows, in percentage points with "
            "95 % intervals, and the student's share minus the teacher's. A skew is "
            f"{INHERITED} if the intervals of both exclude 0 on the same side, and "
            f"{AMPLIFIED} or {REDUCED} if the interval of the change also excludes 0. "
            f"Teacher: {tables.homogeneity(self.teacher)} "
            f"Student: {tables.homogeneity(self.student)}"
        )
        columns = [Column(t) for t in ("label", "teacher", "student", "change")]
        rows: list[Row] = [
            [
                label,
                _points(self.teacher.classes.get(label)),
                _points(self.student.classes.get(label)),
                _points(change),
                self.verdict(label),
            ]
            for label, change in self.changes.items()
        ]
        table = Table([*columns, Column("the teacher's skew is")], rows)
        return [
            Heading("Skew of teacher and student"),
            Paragraph(note),
            table,
            *self._group_blocks(),
        ]

    def _group_blocks(self) -> list[Block]:
        blocks: list[Block] = []
        titles = ("rows", "teacher", "student", "difference", "95 % interval")
        for column, groups in self.groups.items():
            rows: list[Row] = [
                [
                    name,
                    pair.first.total,
                    pair.first.percent,
                    pair.second.percent,
                    *tables.points(pair),
                ]
                for name, pair in groups.items()
            ]
            numeric = [Column(title, numeric=True) for title in titles]
            blocks.append(Table([Column(column), *numeric], rows))
        heading = Heading("Accuracy of teacher and student by group")
        return [heading, *blocks] if blocks else []


def verdict(teacher: int, student: int, change: int) -> str:
    """Compares the directions of three differences: 1, -1, or 0 if none is shown."""
    if not teacher:
        return NEW if student else UNSKEWED
    if student != teacher:
        return NOT_INHERITED
    if not change:
        return INHERITED
    return AMPLIFIED if change == teacher else REDUCED


def _direction(pair: PairedComparison | None) -> int:
    """Returns 1 or -1 if the interval of a difference is above or below 0, else 0."""
    if pair is None:
        return 0
    low, high = pair.interval
    return 1 if low > 0 else -1 if high < 0 else 0


def _points(pair: PairedComparison | None) -> str:
    if pair is None:
        return "+0.00"
    difference, interval = tables.points(pair)
    return f"{difference} ({interval})"


def compare(
    targets: Sequence[str],
    teacher: Sequence[str | None],
    student: Sequence[str | None],
    columns: Mapping[str, Sequence[str | None]] | None = None,
) -> Inheritance:
    """Compares the labels of teacher and student with the human labels.

    Args:
        targets: The human label of each row.
        teacher: The teacher's label of each row; None is a row without a label.
        student: The student's label of each row, or None.
        columns: For each column the group of each row; None is a row without a group.

    Raises:
        UserError: There are no rows.
    """
    of_teacher = label_skew.label_skew(targets, teacher)
    of_student = label_skew.label_skew(targets, student)
    known = set(targets)
    classes = [
        [label_skew.answer_class(x, known) for x in xs] for xs in (teacher, student)
    ]
    correct = [
        [x == target for x, target in zip(xs, targets, strict=True)]
        for xs in (teacher, student)
    ]
    return Inheritance(
        teacher=of_teacher,
        student=of_student,
        changes={
            label: paired.compare(*([x == label for x in xs] for xs in classes))
            for label in dict.fromkeys([*of_teacher.classes, *of_student.classes])
        },
        groups={
            column: _by_group(values, *correct)
            for column, values in (columns or {}).items()
        },
    )


def _by_group(
    values: Sequence[str | None], teacher: Sequence[bool], student: Sequence[bool]
) -> dict[str, PairedComparison]:
    names = subgroups.group_names(values)
    return {
        group: paired.compare(
            *(
                [right for name, right in zip(names, xs, strict=True) if name == group]
                for xs in (teacher, student)
            )
        )
        for group in subgroups.by_group(values, teacher).accuracy
    }
