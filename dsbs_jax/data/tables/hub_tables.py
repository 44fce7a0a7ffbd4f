"""Tables of the library `datasets`: a folder of `save_to_disk`, or a hub repository."""

import contextlib
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dsbs_jax import hub
from dsbs_jax.data.tables import arrow_tables
from dsbs_jax.data.tables.table import TableError, Types
from dsbs_jax.errors import first_line

_BATCH_ROWS = 2_000
# Files that `save_to_disk` writes for one split and for several.
_MARKERS = ("state.json", "dataset_dict.json")
# hub:<owner>/<name>[/<configuration>]
_ADDRESS = re.compile(r"([\w.-]+(?:/[\w.-]+)?)(?:/([\w.-]+))?")


def is_saved_dataset(folder: pathlib.Path) -> bool:
    """Returns whether a folder was written by `save_to_disk` of `datasets`."""
    return any((folder / name).is_file() for name in _MARKERS)


class DatasetTable:
    """One split of a dataset. Labels of type `ClassLabel` are read as their names."""

    unit = "row"
    types: Types = "arrow"

    def __init__(self, dataset: Any, name: str, stem: str) -> None:
        """Keeps a `datasets.Dataset`, whose rows are on disk."""
        self.name, self.stem, self._dataset = name, stem, dataset

    def columns(self) -> Sequence[str]:
        """Returns the names of the columns."""
        names: list[str] = self._dataset.column_names
        return names

    def rows(self, wanted: Sequence[str] | None) -> arrow_tables.Rows:
        """Yields the values of each row as Python objects."""
        dataset = self._dataset
        if wanted is not None:
            dataset = dataset.select_columns(list(wanted))
        batches = dataset.with_format("arrow").iter(_BATCH_ROWS)
        rows = arrow_tables.numbered(batch.to_pylist() for batch in batches)
        names = {
            column: feature.names
            for column, feature in dataset.features.items()
            if hasattr(feature, "names")
        }
        return _with_names(rows, names) if names else rows

    def arrow_types(self) -> Mapping[str, Any]:
        """Returns the types of the columns, except for those read as names."""
        features = self._dataset.features
        schema = features.arrow_schema
        return {
            name: schema.field(name).type
            for name, feature in features.items()
            if not hasattr(feature, "names")
        }


def _with_names(
    rows: arrow_tables.Rows, names: Mapping[str, Sequence[str]]
) -> arrow_tables.Rows:
    for number, row in rows:
        assert isinstance(row, dict)  # Arrow has no bad rows
        for column, texts in names.items():
            index = row[column]
            # -1 is a missing label.
            missing = index is None or index < 0
            row[column] = None if missing else texts[index]
        yield number, row


def open_folder(folder: pathlib.Path) -> dict[str | None, DatasetTable]:
    """Opens a folder that `save_to_disk` has written.

    Returns:
        A table for each split, or one table without a split's name.

    Raises:
        TableError: `datasets` is not installed, or the folder cannot be read.
    """
    with _errors():
        dataset = _library().load_from_disk(str(folder))
    return _tables(dataset, str(folder), folder.name)


def open_hub(address: str) -> dict[str | None, DatasetTable]:
    """Opens a dataset of the Hugging Face hub, downloaded or from the local cache.

    Args:
        address: `hub:<owner>/<name>` or `hub:<owner>/<name>/<configuration>`.

    Returns:
        A table for each split.

    Raises:
        TableError: `datasets` is not installed, or the dataset cannot be downloaded.
    """
    match = _ADDRESS.fullmatch(address.removeprefix(hub.PREFIX))
    if match is None:
        raise TableError(
            "expected hub:<owner>/<name> or hub:<owner>/<name>/<configuration>"
        )
    library = _library()
    with _errors():
        dataset = library.load_dataset(match[1], match[2])
    return _tables(dataset, address, match[1].rpartition("/")[2])


def _tables(dataset: Any, name: str, stem: str) -> dict[str | None, DatasetTable]:
    if not isinstance(dataset, Mapping):
        return {None: DatasetTable(dataset, name, stem)}
    return {
        split: DatasetTable(part, f"{name}[{split}]", f"{stem}-{split}")
        for split, part in dataset.items()
    }


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise TableError(
            "reading it needs the package datasets: pip install 'dsbs-jax[datasets]'"
        ) from error
    return datasets


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    # OSError: no network, an unknown repository, or a missing file. ValueError: an
    # unknown configuration or damaged metadata. RuntimeError: a dataset script.
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        if isinstance(error, TableError):
            raise
        raise TableError(f"cannot be read by datasets: {first_line(error)}") from error
