"""Tests of the mapping of columns and of templates."""

import pytest

from dsbs_jax.data import tables
from dsbs_jax.data.column_config import ColumnConfig, TrainingColumnConfig
from dsbs_jax.data.tables.columns import ColumnMap, nearest_column
from dsbs_jax.errors import UserError


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("no column", "names no column"),
        ("{}", "found {}, expected the name of a column"),
        ("{a.b}", "found {a.b}, expected"),
        ("{a[0]}", r"found {a\[0\]}, expected"),
        ("{a!r}", "found {a!r}, expected"),
        ("{a:>9}", "found {a:>9}, expected"),
        ("{a:{b}}", "found {a:{b}}, expected"),
        ("{a", "expected '}'"),
        ("a}", "Single '}'"),
    ],
)
def test_template_names_plain_columns_only(template, message):
    with pytest.raises(UserError, match=message):
        ColumnMap(template=template)


def test_columns_that_are_read_and_that_a_table_must_have():
    columns = ColumnMap(template="{a} {b} {a}", label="kind")
    assert columns.all == (
        *("a", "b", "kind", "rationale", "teacher_label", "id", "rationales"),
        *("rationale_weights", "rationale_teachers"),
        *("counterfactual_rationale", "counterfactual_label"),
    )
    assert columns.required == ("a", "b", "kind")
    with pytest.raises(
        UserError, match="column 'text' is mapped to two fields, input and l"
    ):
        ColumnMap(input="text", label="text")
    with pytest.raises(UserError, match="a column name is empty"):
        ColumnMap(label="")


@pytest.mark.parametrize(
    ("columns", "advice"),
    [
        # Gin files and the card have no setting for the columns.
        (ColumnMap(), "rename a column to 'input'"),
        (ColumnConfig().columns, "input_column names another column"),
        (TrainingColumnConfig().columns, "input_column names another column"),
        (
            ColumnConfig().columns.with_default_input("input", None),
            "input_column names another column",
        ),
    ],
)
def test_a_missing_column_names_its_setting_where_there_is_one(
    tmp_path, columns, advice
):
    path = tmp_path / "rows.csv"
    path.write_text("text,label\na,x\n")
    for read in (tables.read_examples, tables.read_inputs):
        with pytest.raises(UserError) as caught:
            read(str(path), columns)
        assert str(caught.value).endswith(f"found 'text', 'label'; {advice}")


def test_names_of_stored_jobs_have_no_other_fields():
    names = ColumnConfig(input_column="text").columns.names
    assert names == ColumnMap(input="text").names
    assert names["input"] == "text" and "has_settings" not in names
    assert ColumnMap(**names) == ColumnMap(input="text")


def test_nearest_column():
    assert nearest_column("label", ["Text", "LABEL"]) == (
        "; did you mean 'LABEL'? found 'Text', 'LABEL'"
    )
    names = [f"c{i}" for i in range(22)]
    assert nearest_column("input", names).endswith("'c19' and 2 more")
