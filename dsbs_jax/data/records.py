"""The one record that every source of examples is read into."""

import dataclasses

# Stands in an input where the end-of-sequence token (id 1) separates two segments,
# as between an NLI premise and its hypothesis.
SEGMENT_SEPARATOR = "</s>"


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One example. What is missing is None, never blank text.

    Attributes:
        id: Unique among the records of its source.
        input: The text that the student reads, without a task prefix;
            `SEGMENT_SEPARATOR` stands where a segment ends.
        label: The answer a person gave.
        teacher_label: The answer the teacher gave.
        rationale: The teacher's reasoning that led to `teacher_label`.

    Raises:
        ValueError: When a field is not text, is blank, or cannot be written as UTF-8;
            the message names the field.
    """

    id: str
    input: str
    label: str | None = None
    teacher_label: str | None = None
    rationale: str | None = None

    def __post_init__(self) -> None:
        """Checks every field."""
        check_text("id", self.id)
        check_text("input", self.input)
        for name in ("label", "teacher_label", "rationale"):
            value = getattr(self, name)
            if value is not None:
                check_text(name, value)


def check_text(name: str, value: object) -> None:
    """Raises ValueError, naming the field, unless `value` is usable, non-blank text."""
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text, found {type(value).__name__}")
    if not value.strip():
        raise ValueError(f"{name} is blank")
    if not is_encodable(value):
        raise ValueError(f"{name} holds a lone surrogate, which UTF-8 cannot encode")


def is_encodable(text: str) -> bool:
    """Whether `text` can be written as UTF-8 (JSON escapes can smuggle in more)."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
