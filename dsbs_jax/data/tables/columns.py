"""Which columns of a table hold the fields of a record."""

import dataclasses
import difflib
import functools
import string
from collections.abc import Iterable

from dsbs_jax.errors import UserError

# Names that a message lists.
_LISTED = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColumnMap:
    """The columns of a table that hold the fields of a record.

    A table needs the input's columns. The other columns are optional, unless their
    name here is not the default.

    Attributes:
        input: Column of the text that the student reads.
        label: Column of the human label.
        rationale: Column of the teacher's reasoning.
        teacher_label: Column of the teacher's label.
        id: Column of the row's id.
        rationales: Column of all rationales of a row, a list.
        rationale_weights: Column of their weights, a list.
        rationale_teachers: Column of the names of their teachers, a list.
        counterfactual_rationale: Column of the reasoning for another answer.
        counterfactual_label: Column of this answer.
        template: Text with column names in braces, which builds the input from several
            columns: "premise: {premise} hypothesis: {hypothesis}". "{{" and "}}" are
            literal braces. None reads the column `input`.
        has_settings: Whether the settings of `ColumnConfig` give the names, so that a
            message about a missing column can name its setting.

    Raises:
        UserError: The template is not valid, or two fields have the same column.
    """

    input: str = "input"
    label: str = "label"
    rationale: str = "rationale"
    teacher_label: str = "teacher_label"
    id: str = "id"
    rationales: str = "rationales"
    rationale_weights: str = "rationale_weights"
    rationale_teachers: str = "rationale_teachers"
    counterfactual_rationale: str = "counterfactual_rationale"
    counterfactual_label: str = "counterfactual_label"
    template: str | None = None
    has_settings: bool = dataclasses.field(default=False, compare=False)

    def __post_init__(self) -> None:
        """Checks the template and the names."""
        names = [*self.input_columns, *(getattr(self, f) for f in OPTIONAL)]
        for name in names:
            if not name:
                raise UserError("a column name is empty, expected a text")
        twice = {name for name in names if names.count(name) > 1}
        if self.template is None and twice:
            column = min(twice)
            fields = [f for f in ("input", *OPTIONAL) if getattr(self, f) == column]
            raise UserError(
                f"column {column!r} is mapped to two fields, {' and '.join(fields)}"
            )

    @functools.cached_property
    def template_parts(self) -> tuple[tuple[str, str | None], ...]:
        """The template as pairs of a text and the column after it, if any."""
        return _parse_template(self.template or "")

    @property
    def input_columns(self) -> tuple[str, ...]:
        """The columns that the input is built from, in the template's order."""
        if self.template is None:
            return (self.input,)
        names = (column for _, column in self.template_parts if column is not None)
        return tuple(dict.fromkeys(names))

    def with_default_input(
        self, input: str | None, template: str | None
    ) -> "ColumnMap":
        """Returns the columns with another default for the input.

        Args:
            input: Column of the input if no column and no template is named here.
            template: Template that builds the input in this case.
        """
        if self.template is not None or self.input != DEFAULT.input:
            return self
        return dataclasses.replace(
            self, input=input or DEFAULT.input, template=template
        )

    @property
    def names(self) -> dict[str, str | None]:
        """The name of each field's column, and the template."""
        fields = ("input", *OPTIONAL, "template")
        return {field: getattr(self, field) for field in fields}

    @property
    def all(self) -> tuple[str, ...]:
        """The names of all columns that are read."""
        optional = (getattr(self, field) for field in OPTIONAL)
        return tuple(dict.fromkeys([*self.input_columns, *optional]))

    @property
    def required(self) -> tuple[str, ...]:
        """The names of the columns that a table must have."""
        default = ColumnMap.__dataclass_fields__
        chosen = (
            getattr(self, field)
            for field in OPTIONAL
            if getattr(self, field) != default[field].default
        )
        return (*self.input_columns, *chosen)


OPTIONAL = (
    "label",
    "rationale",
    "teacher_label",
    "id",
    "rationales",
    "rationale_weights",
    "rationale_teachers",
    "counterfactual_rationale",
    "counterfactual_label",
)
DEFAULT = ColumnMap()


def nearest_column(name: str, found: Iterable[str]) -> str:
    """Returns advice for a missing column.

    ("label", ["text", "lable"]) -> "; did you mean 'lable'? found 'text', 'lable'"
    """
    found = list(found)
    by_case = {other.casefold(): other for other in found}
    nearest = difflib.get_close_matches(name.casefold(), by_case, 1)
    advice = f"did you mean {by_case[nearest[0]]!r}? " if nearest else ""
    listed = ", ".join(map(repr, found[:_LISTED])) or "no columns"
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    return f"; {advice}found {listed}{more}"


def _parse_template(template: str) -> tuple[tuple[str, str | None], ...]:
    """Splits a template at its columns.

    "a: {a} b" -> (("a: ", "a"), (" b", None))

    Raises:
        UserError: A brace is not closed, or a name has an index, an attribute, a
            conversion or a format.
    """
    try:
        parts = [*string.Formatter().parse(template)]
    except ValueError as error:
        raise UserError(f"template {template!r}: {error}") from error
    for _, column, format_spec, conversion in parts:
        if column is None:
            continue
        if not column or set(column) & set(".[]{}") or format_spec or conversion:
            shown = column + (f"!{conversion}" if conversion else "")
            shown += f":{format_spec}" if format_spec else ""
            raise UserError(
                f"template {template!r}: found {{{shown}}}, expected the name of a "
                "column in braces, for example {input}"
            )
    if not any(column for _, column, _, _ in parts):
        raise UserError(
            f"template {template!r} names no column, expected for example {{input}}"
        )
    return tuple((text, column) for text, column, _, _ in parts)
