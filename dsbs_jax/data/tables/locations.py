"""Finds the tables of a source: files, globs, folders and hub datasets."""

import glob
import os
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence

from dsbs_jax import hub
from dsbs_jax.data.tables import hub_tables, streams
from dsbs_jax.data.tables.arrow_tables import CsvTable, ParquetTable
from dsbs_jax.data.tables.faults import Faults
from dsbs_jax.data.tables.json_tables import JsonArray, JsonLines
from dsbs_jax.data.tables.table import FileTable, Table, TableError

Path = str | os.PathLike[str]
# A path, a glob, a folder of `datasets`, "hub:<id>", or several of them.
Source = Path | Sequence[Path]

_FORMATS: dict[str, Callable[[pathlib.Path, str], Table]] = {
    ".jsonl": JsonLines,
    ".ndjson": JsonLines,
    ".csv": CsvTable,
    ".tsv": CsvTable,
    ".parquet": ParquetTable,
}
SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
# hub:<id>[<split>]
_WITH_SPLIT = re.compile(r"(.+)\[([\w.-]+)\]")
# Names of a dataset's splits, and ours.
_SPLITS = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}


def tables_of(source: Source, faults: Faults, split: str | None = None) -> list[Table]:
    """Returns the tables of one list of rows.

    Args:
        source: The source. Of a dataset with splits, one split is read.
        faults: Gets a fault for each path that cannot be opened.
        split: The split to take of a dataset with splits.
    """
    found = splits_of(source, faults)
    if list(found) == [None]:
        return found[None]
    if split in found:
        return found[split]
    names = ", ".join(str(name) for name in found)
    if split is None:
        advice = "name the folder of one, such as saved/test, or hub:<id>[<split>]"
    else:
        advice = f"expected one of them to be {split}"
    faults.add(_name(source), f"has the splits {names}; {advice}")
    return []


def splits_of(source: Source, faults: Faults) -> dict[str | None, list[Table]]:
    """Returns the tables of each split of a source.

    Args:
        source: The source.
        faults: Gets a fault for each path that cannot be opened.

    Returns:
        The tables by split. A source without splits has one entry, with the key None.
    """
    if isinstance(source, str | os.PathLike):
        try:
            return _open(os.fspath(source))
        except TableError as error:
            faults.add(os.fspath(source), str(error))
            return {None: []}
    tables: list[Table] = []
    for path in source:
        tables += tables_of(path, faults)
    return {None: _with_own_stems(tables)}


def split_names(source: Source) -> list[str]:
    """Returns the splits of a dataset with splits of ours; [] for other sources."""
    return [name for name in splits_of(source, Faults()) if name is not None]


def files_of(source: Source) -> list[pathlib.Path]:
    """Returns the files of a source; paths that cannot be opened have none."""
    splits = splits_of(source, Faults())
    return [
        table.path
        for tables in splits.values()
        for table in tables
        if isinstance(table, FileTable)
    ]


def _name(source: Source) -> str:
    return os.fspath(source) if isinstance(source, str | os.PathLike) else str(source)


def _open(path: str) -> dict[str | None, list[Table]]:
    if not path:
        raise TableError("the path is empty, expected a file")
    if hub.is_address(path):
        match = _WITH_SPLIT.fullmatch(path)
        splits = hub_tables.open_hub(match[1] if match else path)
        if match and match[2] not in splits:
            names = ", ".join(map(str, splits))
            raise TableError(f"has no split {match[2]!r}, only {names}")
        return {None: [splits[match[2]]]} if match else _known(splits)
    place = pathlib.Path(path).expanduser()
    if place.is_dir():
        if not hub_tables.is_saved_dataset(place):
            raise TableError(
                "is a folder; expected a file, a glob such as "
                f"'{path.rstrip('/')}/*.jsonl', or a folder that datasets has saved"
            )
        return _known(hub_tables.open_folder(place))
    if not place.exists() and glob.has_magic(path):
        matches = [*map(pathlib.Path, sorted(glob.glob(str(place), recursive=True)))]
        matches = [match for match in matches if match.is_file()]
        if not matches:
            raise TableError("no file matches")
        return {None: _with_own_stems([_open_file(match) for match in matches])}
    if not place.exists():
        raise TableError(f"No such file or directory{hub.hint(path)}")
    return {None: [_open_file(place)]}


def _known(
    splits: Mapping[str | None, Table],
) -> dict[str | None, list[Table]]:
    """Returns the splits by their names here: train, validation and test."""
    if list(splits) == [None]:
        return {None: [splits[None]]}
    known: dict[str | None, list[Table]] = {
        _SPLITS[name]: [table]
        for name, table in splits.items()
        if name is not None and name in _SPLITS
    }
    if len(splits) == 1:
        return {None: [*splits.values()]}
    if not known:
        raise TableError(
            f"has the splits {', '.join(map(str, splits))}, expected train, validation "
            "and test"
        )
    return known


def _open_file(path: pathlib.Path) -> Table:
    plain = streams.uncompressed(path)
    kind = _FORMATS.get(plain.suffix.lower())
    if kind is None:
        # The suffix .json has both formats. Other suffixes may be JSON lines.
        first = streams.first_character(path)
        if first == b"[":
            kind = JsonArray
        elif first in (b"{", b"") or plain.suffix.lower() == ".json":
            kind = JsonLines
        else:
            raise TableError(
                f"has the unknown suffix {plain.suffix!r}; expected "
                f"{', '.join(SUFFIXES)}, also with .gz or .zst"
            )
    return kind(path, plain.stem)


def _with_own_stems(tables: list[Table]) -> list[Table]:
    """Gives tables of the same stem different stems: rows, rows.2, rows.3."""
    taken: set[str] = set()
    for table in tables:
        stem, copy = table.stem, 1
        while table.stem in taken:
            copy += 1
            table.stem = f"{stem}.{copy}"
        taken.add(table.stem)
    return tables
