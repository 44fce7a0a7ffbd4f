"""Reads records, or rows to predict on, from the tables of a source."""

import contextlib
import dataclasses
import math
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from dsbs_jax.data.records import Record, check_text
from dsbs_jax.data.tables import columns as column_maps
from dsbs_jax.data.tables import locations, rows
from dsbs_jax.data.tables.columns import ColumnMap
from dsbs_jax.data.tables.faults import Faults, Place
from dsbs_jax.data.tables.ids import Ids, generated_id
from dsbs_jax.data.tables.locations import Source
from dsbs_jax.data.tables.table import Table, TableError, Types
from dsbs_jax.data.tables.values import (
    LabelColumn,
    canonical_label,
    number_list,
    optional_text,
    scalar_text,
    text_list,
    type_name,
)

# The name of a split, or None.
S = TypeVar("S")


def read_examples(
    source: Source | Mapping[str, Source],
    columns: ColumnMap = column_maps.DEFAULT,
    *,
    unlabeled: bool = False,
) -> list[Record] | dict[str, list[Record]]:
    """Reads training examples from files of any format.

    With `ColumnMap(input="text", label="category")`, the first row of `tickets.csv`
    {"text": "no signal", "category": "line"} ->
    `Record(id="tickets-1", input="no signal", label="line")`

    Args:
        source: A file (JSON lines, JSON list, CSV, TSV or Parquet; also compressed by
            gzip or zstd), a glob, a folder that `datasets` has saved, `hub:<id>` (a
            dataset of Hugging Face), or a list of these; or a mapping from each split
            to one of these.
        columns: The columns that hold the fields of a record.
        unlabeled: Whether the rows are inputs for a teacher, which need no label. Their
            rationales and teacher labels are not read.

    Returns:
        The records in the order of the files; for a mapping or a dataset with several
        splits, a dictionary from each split to its records.

    Raises:
        UserError: A path cannot be read, a column is missing, or a row is wrong; the
            message describes the first 20 different faults of all files and gives the
            number of all faults.
    """
    faults = Faults()
    if isinstance(source, Mapping):
        tables: dict[str | None, list[Table]] = {
            split: locations.tables_of(part, faults, split)
            for split, part in source.items()
        }
    else:
        tables = locations.splits_of(source, faults)
    records = _read_tables(tables, columns, unlabeled, faults)
    if list(records) == [None]:
        return records[None]
    return {str(split): part for split, part in records.items()}


def read_split(
    source: Source,
    columns: ColumnMap = column_maps.DEFAULT,
    *,
    unlabeled: bool = False,
) -> list[Record]:
    """Reads the examples of one split, as `read_examples`.

    Raises:
        UserError: As `read_examples`; or the source has several splits.
    """
    faults = Faults()
    tables = {None: locations.tables_of(source, faults)}
    return _read_tables(tables, columns, unlabeled, faults)[None]


def _read_tables(
    tables: Mapping[S, list[Table]],
    columns: ColumnMap,
    unlabeled: bool,
    faults: Faults,
) -> dict[S, list[Record]]:
    """Reads the records of each split; raises the faults of all."""
    labels = LabelColumn(columns.label), LabelColumn(columns.teacher_label)
    readers = {
        split: _read_records(part, columns, labels, unlabeled, faults)
        for split, part in tables.items()
    }
    for column in labels:
        column.check(faults)
    faults.raise_if_any()
    return {split: reader.finish() for split, reader in readers.items()}


@dataclasses.dataclass(frozen=True, slots=True)
class InputRow:
    """A row to predict on.

    Attributes:
        values: All columns of the row, with the types of the file's format.
        input: The text that the student reads.
        types: Type system of `values`: "json", "arrow", or "none" if every value is
            text.
        place: File and number of the row.
        stem: First part of a generated id.
        id: The id that the row has, or None.
    """

    values: Mapping[str, Any]
    input: str
    types: Types
    place: Place
    stem: str
    id: str | None

    @property
    def generated_id(self) -> str:
        """The generated id, for a row that has no id: `<stem>-<number>`."""
        return generated_id(self.stem, self.place)


def iter_inputs(
    source: Source, columns: ColumnMap, faults: Faults
) -> Iterator[InputRow]:
    """Yields rows to predict on, one after another, in bounded memory.

    Ids may occur several times. A list of JSON objects and a compressed Parquet file
    are in memory as a whole.

    Args:
        source: As for `read_examples`, without splits.
        columns: The columns of the input and of the id. Rows need no other columns.
        faults: Gets the faults of rows; a row with a fault is skipped. It is also a
            fault if other columns are read as input and id, and the row has a column
            `input` or `id`, which would be lost.
    """
    used = {*columns.input_columns, columns.id}
    for table in locations.tables_of(source, faults):
        for place, row in rows.input_rows(table, columns, faults):
            try:
                _check_kept(row, used)
                text = input_text(row, columns, table.types != "none")
                id = _id_text(row, columns.id)
            except ValueError as error:
                faults.add(place, str(error))
                continue
            yield InputRow(row, text, table.types, place, table.stem, id)


def arrow_types(source: Source) -> dict[str, Any]:
    """Returns the Arrow type of each column that has the same one in all tables.

    Args:
        source: As for `read_examples`, without splits.
    """
    tables = locations.tables_of(source, Faults())
    types: dict[str, set[Any]] = {}
    for table in tables:
        # A table that cannot be read is a fault when its rows are read.
        with contextlib.suppress(TableError):
            for name, type in table.arrow_types().items():
                types.setdefault(name, set()).add(type)
    return {name: found.pop() for name, found in types.items() if len(found) == 1}


def read_inputs(
    source: Source, columns: ColumnMap = column_maps.DEFAULT
) -> list[dict[str, Any]]:
    """Reads rows with a text, from files of any format.

    Args:
        source: As for `read_examples`, without splits.
        columns: The columns of the input and of the id. Rows need no other columns.

    Returns:
        The rows with all their columns, and with the texts `input` and `id`. Values
        that JSON does not have are texts; NaN is None.

    Raises:
        UserError: As `read_examples`; or the input or the id comes from other columns,
            and the rows also have a column `input` or `id`, which would be lost.
    """
    faults = Faults()
    read = (
        (row.place, row.stem, row.id, _json_row(row.values, row.types, row.input))
        for row in iter_inputs(source, columns, faults)
    )
    return _with_ids(read, faults)


def read_rows(source: Source) -> list[dict[str, Any]]:
    """Reads rows without a text, from files of any format.

    Args:
        source: As for `read_examples`, without splits. Rows need no column.

    Returns:
        The rows with all their columns, and with the text `id`. Values as for
        `read_inputs`.

    Raises:
        UserError: A path cannot be read, or a row or an id is wrong.
    """
    faults = Faults()

    def read() -> Iterator[tuple[Place, str, str | None, dict[str, Any]]]:
        for table in locations.tables_of(source, faults):
            for place, row in rows.all_rows(table, faults):
                try:
                    id = _id_text(row, column_maps.DEFAULT.id)
                except ValueError as error:
                    faults.add(place, str(error))
                    continue
                yield place, table.stem, id, _json_row(row, table.types)

    return _with_ids(read(), faults)


def _json_row(
    values: Mapping[str, Any], types: Types, text: str | None = None
) -> dict[str, Any]:
    """Returns the values of a row that JSON has, with the text as `input`, if any."""
    row = dict(values)
    if types == "arrow":
        row = {name: json_value(value) for name, value in row.items()}
    return row if text is None else row | {"input": text}


def _with_ids(
    read: Iterable[tuple[Place, str, str | None, dict[str, Any]]], faults: Faults
) -> list[dict[str, Any]]:
    """Gives rows their ids, and raises the faults.

    Args:
        read: Place, first part of a generated id, given id, and values of each row.
        faults: The faults of the rows before, when `read` ends.
    """
    ids, result = Ids(), list[dict[str, Any]]()
    for place, stem, given, row in read:
        try:
            row["id"] = ids.add(given, place, stem)
        except ValueError as error:
            faults.add(place, str(error))
            continue
        result.append(row)
    faults.raise_if_any()
    for index, unique in ids.replacements(row["id"] for row in result):
        result[index]["id"] = unique
    return result


def _check_kept(row: Mapping[str, Any], used: Collection[str]) -> None:
    """Checks that no other column of a row has the name of a text that is added.

    Raises:
        ValueError: The row has such a column.
    """
    for name in ("input", "id"):
        if name in row and name not in used:
            raise ValueError(
                f"column {name!r} would be replaced; rename it, or use it as {name}"
            )


def _read_records(
    tables: Iterable[Table],
    columns: ColumnMap,
    labels: tuple[LabelColumn, LabelColumn],
    unlabeled: bool,
    faults: Faults,
) -> "_RecordReader":
    """Reads the rows of one split, and collects their faults."""
    reader = _RecordReader(columns, labels)
    for table in tables:
        before, without = len(reader.records), 0
        for place, row in rows.example_rows(table, columns, faults, unlabeled):
            try:
                record = reader.add(row, place, table)
            except ValueError as error:
                faults.add(place, str(error))
                continue
            without += record.label is record.teacher_label is record.rationale is None
        count = len(reader.records) - before
        if without and not unlabeled:
            text = (
                f"{without:,} of {count:,} rows have no {columns.label}, "
                f"{columns.teacher_label} or {columns.rationale}"
            )
            if without == count:
                faults.add(table.name, text)
            else:
                rows.note(f"{table.name}: {text} and are not trained on")
    return reader


class _RecordReader:
    """Makes the records of one split.

    Attributes:
        records: The records of the rows that have no fault.
    """

    def __init__(
        self, columns: ColumnMap, labels: tuple[LabelColumn, LabelColumn]
    ) -> None:
        self.records: list[Record] = []
        self._columns, self._labels = columns, labels
        self._ids = Ids()
        # For each record 1 if its file has no types.
        self._untyped = bytearray()

    def add(self, row: Mapping[str, Any], place: Place, table: Table) -> Record:
        """Makes the record of a row.

        Raises:
            ValueError: A value is wrong; the message names its column.
        """
        columns = self._columns
        human, teacher = self._labels
        answers = human.add(row.get(columns.label), place, table.types != "none")
        teacher_label = row.get(columns.teacher_label)
        if isinstance(teacher_label, list):
            raise ValueError(
                f"field {columns.teacher_label!r} must be one value, found list"
            )
        teacher_answers = teacher.add(teacher_label, place, table.types != "none")
        rationale = optional_text(columns.rationale, row)
        other_rationale = optional_text(columns.counterfactual_rationale, row)
        other = columns.counterfactual_label
        text = input_text(row, columns, table.types != "none")
        for name, given in (
            (columns.rationale, rationale),
            (columns.counterfactual_rationale, other_rationale),
        ):
            if given is not None:
                check_text(name, given)
        rationales = text_list(columns.rationales, row.get(columns.rationales))
        weights, teachers = columns.rationale_weights, columns.rationale_teachers
        record = Record(
            id=self._ids.add(_id_text(row, columns.id), place, table.stem),
            input=text,
            # A label is one object in memory for all its rows.
            label=sys.intern(answers[0]) if answers else None,
            teacher_label=sys.intern(teacher_answers[0]) if teacher_answers else None,
            rationale=rationale or next(iter(rationales), None),
            answers=answers if len(answers) > 1 else (),
            rationales=rationales,
            rationale_weights=number_list(weights, row.get(weights)),
            rationale_teachers=text_list(teachers, row.get(teachers)),
            counterfactual_rationale=other_rationale,
            counterfactual_label=canonical_label(other, row.get(other)),
        )
        self.records.append(record)
        self._untyped.append(table.types == "none")
        return record

    def finish(self) -> list[Record]:
        """Returns the records with their final ids and labels."""
        records = self.records
        for index, unique in self._ids.replacements(record.id for record in records):
            records[index] = dataclasses.replace(records[index], id=unique)
        human, teacher = self._labels
        if human.changes_untyped or teacher.changes_untyped:
            for index, record in enumerate(records):
                if self._untyped[index]:
                    records[index] = dataclasses.replace(
                        record,
                        label=human.untyped_text(record.label),
                        teacher_label=teacher.untyped_text(record.teacher_label),
                        counterfactual_label=human.untyped_text(
                            record.counterfactual_label
                        ),
                    )
        return records


def input_text(row: Mapping[str, Any], columns: ColumnMap, typed: bool = True) -> str:
    """Returns the input of a row that has its columns.

    Args:
        row: The values by column.
        columns: The columns of the input.
        typed: Whether the row's format has types. In a format without types, a value
            that looks like a number is one, and an empty cell is None.

    Raises:
        ValueError: A value is missing or wrong.
    """
    if columns.template is not None:
        text = "".join(
            text + ("" if name is None else scalar_text(name, row[name], typed))
            for text, name in columns.template_parts
        )
    else:
        text = row[columns.input]
        if not isinstance(text, str):
            empty = text is None and not typed
            found = "an empty cell" if empty else type_name(text)
            raise ValueError(f"field {columns.input!r} must be text, found {found}")
    check_text(columns.input if columns.template is None else "input", text)
    return text


def _id_text(row: Mapping[str, Any], name: str) -> str | None:
    """Returns the id of a row, or None if it has none.

    Raises:
        ValueError: The id is not an integer or a text.
    """
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(
            f"field {name!r} must be integer or text or null, found {type_name(value)}"
        )
    text = str(value)
    check_text(name, text)
    return text


def json_value(value: Any) -> Any:
    """Returns a value that JSON has: NaN -> None, a date -> its text."""
    match value:
        case float() if math.isnan(value):
            return None
        case None | bool() | int() | float() | str():
            return value
        case list():
            return [json_value(item) for item in value]
        case dict():
            return {name: json_value(item) for name, item in value.items()}
    return str(value)
