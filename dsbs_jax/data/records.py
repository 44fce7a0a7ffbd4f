"""The record that every source of examples is read into."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from typing import Any, Self

from dsbs_jax.task_ids import MAX_WEIGHT

# Marks the end-of-sequence token (id 1) between two segments of an input, as between
# the premise and the hypothesis of an NLI example.
SEGMENT_SEPARATOR = "</s>"


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One example. A missing text is None, never blank.

    Attributes:
        id: Id, unique among the records of a source.
        input: The text that the student reads, without a task prefix. Segments are
            separated by `SEGMENT_SEPARATOR`.
        label: The human label.
        teacher_label: The teacher's label.
        rationale: The teacher's reasoning that led to `teacher_label`.
        answers: All acceptable human labels, `label` first, where a row has several;
            otherwise empty. A student is trained on `label`; a score accepts any of the
            answers.
        rationales: All rationales, `rationale` first, where a row has several or has
            weights; otherwise empty. Only step_by_step_multi is trained on the others.
        rationale_weights: The weight of each of `rationales`, 0 to
            `task_ids.MAX_WEIGHT`; empty if each has weight 1.
        counterfactual_rationale: The teacher's reasoning for another answer than the
            right one.
        counterfactual_label: The answer to which `counterfactual_rationale` leads.
        rationale_teachers: The teacher of each of `rationales`; empty if not known.

    Raises:
        ValueError: A text is not text, is blank, or cannot be written as UTF-8, or the
            rationales or their weights do not fit together; the message names the
            field.
    """

    id: str
    input: str
    label: str | None = None
    teacher_label: str | None = None
    rationale: str | None = None
    answers: tuple[str, ...] = ()
    rationales: tuple[str, ...] = ()
    rationale_weights: tuple[float, ...] = ()
    counterfactual_rationale: str | None = None
    counterfactual_label: str | None = None
    rationale_teachers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Checks every field."""
        check_text("id", self.id)
        check_text("input", self.input)
        for name in (
            "label",
            "teacher_label",
            "rationale",
            "counterfactual_rationale",
            "counterfactual_label",
        ):
            value = getattr(self, name)
            if value is not None:
                check_text(name, value)
        for answer in self.answers:
            check_text("label", answer)
        if self.answers and self.answers[0] != self.label:
            raise ValueError("label is not the first of the answers")
        if self.rationales or self.rationale_weights or self.rationale_teachers:
            self._check_rationales()

    def _check_rationales(self) -> None:
        for rationale in self.rationales:
            check_text("rationales", rationale)
        if self.rationales[:1] != (self.rationale,):
            raise ValueError(
                "rationale is not the first of rationales, expected the same text or "
                "no rationale"
            )
        expected = len(self.rationales)
        for name in ("rationale_weights", "rationale_teachers"):
            found = len(getattr(self, name))
            if found not in (0, expected):
                raise ValueError(
                    f"{name} has {found} values, expected {expected}, one for each of "
                    "rationales"
                )
        for teacher in self.rationale_teachers:
            check_text("rationale_teachers", teacher)
        for weight in self.rationale_weights:
            if not 0 <= weight <= MAX_WEIGHT:
                raise ValueError(
                    f"rationale_weights holds {weight}, expected 0 to {MAX_WEIGHT}"
                )

    @property
    def weighted_rationales(self) -> tuple[tuple[str, float], ...]:
        """Each rationale with its weight; () without a rationale."""
        texts = self.rationales or ((self.rationale,) if self.rationale else ())
        return tuple(
            zip(texts, self.rationale_weights or [1.0] * len(texts), strict=True)
        )

    def without_teacher(self) -> Self:
        """Returns the record without the teacher's label and rationales."""
        return dataclasses.replace(
            self,
            teacher_label=None,
            rationale=None,
            rationales=(),
            rationale_weights=(),
            rationale_teachers=(),
            counterfactual_rationale=None,
            counterfactual_label=None,
        )


def as_row(record: Record) -> dict[str, Any]:
    """Returns the fields of a record that have a value, as a user's row has them.

    Record("a", "2 + 2", "4", answers=("4", "four"))
    -> {"id": "a", "input": "2 + 2", "label": ["4", "four"]}
    """
    label = list(record.answers) or record.label
    fields = dataclasses.asdict(record) | {"label": label}
    del fields["answers"]
    return {name: value for name, value in fields.items() if value not in (None, ())}


def fingerprint(records: Iterable[Record]) -> str:
    """Returns the SHA-256 of a student's training rows, in hexadecimal digits.

    The ids do not count, because they depend on the name of the file. The order counts,
    because it decides the order of training.
    """
    digest = hashlib.sha256()
    for record in records:
        label = record.answers or record.label
        fields: tuple[object, ...] = (
            record.input,
            label,
            record.teacher_label,
            record.rationale,
        )
        # Records without them have the fingerprint that earlier versions computed.
        if record.rationales:
            fields += record.rationales, record.rationale_weights
        if record.counterfactual_rationale:
            fields += record.counterfactual_rationale, record.counterfactual_label
        digest.update(json.dumps(fields).encode() + b"\n")
    return digest.hexdigest()


def check_text(name: str, value: object) -> None:
    """Checks that a value is text, is not blank and can be written as UTF-8.

    Raises:
        ValueError: The value fails a check; the message names the field.
    """
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text, found {type(value).__name__}")
    if not value.strip():
        raise ValueError(f"{name} is blank")
    if not is_encodable(value):
        raise ValueError(f"{name} holds a lone surrogate, which UTF-8 cannot encode")


def is_encodable(text: str) -> bool:
    r"""Returns whether a text can be written as UTF-8.

    A JSON escape such as "\ud800" alone gives a text that cannot.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
