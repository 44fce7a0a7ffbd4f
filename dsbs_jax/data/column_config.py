"""Settings that name the columns of a user's files."""

import dataclasses

from dsbs_jax.data.tables import columns
from dsbs_jax.data.tables.columns import ColumnMap
from dsbs_jax.settings import Settings, Text, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColumnConfig(Settings):
    """The columns of inputs and human labels."""

    input_column: Text = setting(columns.DEFAULT.input, help="Column of the input.")
    label_column: Text = setting(
        columns.DEFAULT.label, help="Column of the human label."
    )
    id_column: Text = setting(columns.DEFAULT.id, help="Column of the row's id.")
    template: Text | None = setting(
        None,
        help="Builds the input from several columns: 'premise: {premise} hypothesis: "
        "{hypothesis}'. Replaces INPUT_COLUMN.",
    )

    @property
    def columns(self) -> ColumnMap:
        """The columns of each field of a record; raises UserError for a wrong name."""
        return ColumnMap(
            input=self.input_column,
            label=self.label_column,
            id=self.id_column,
            template=self.template,
            has_settings=True,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingColumnConfig(ColumnConfig):
    """The columns of training rows."""

    rationale_column: Text = setting(
        columns.DEFAULT.rationale, help="Column of the teacher's rationale."
    )
    teacher_label_column: Text = setting(
        columns.DEFAULT.teacher_label, help="Column of the teacher's label."
    )

    @property
    def columns(self) -> ColumnMap:
        """The columns of each field of a record; raises UserError for a wrong name."""
        return dataclasses.replace(
            super().columns,
            rationale=self.rationale_column,
            teacher_label=self.teacher_label_column,
        )
