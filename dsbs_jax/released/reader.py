"""Strict reader of the authors' released files: a folder or `datasets.zip`.

`layout` names the files. `specs` describes their rows, and from which raw splits (those
of the files) the splits (those of the paper) are made.
"""

import hashlib
import os
from collections.abc import Sequence

from dsbs_jax import json_input
from dsbs_jax.data import completions
from dsbs_jax.data.records import Record
from dsbs_jax.errors import UserError
from dsbs_jax.released import archives
from dsbs_jax.released.layout import Layout
from dsbs_jax.released.raw_split import RawSplit, SplitRead, select
from dsbs_jax.released.specs import ReleasedSpec, Row, released_spec


class Release:
    """The released files; each file is read only when a method needs it."""

    def __init__(self, tree: archives.Tree) -> None:
        """Finds the datasets in a tree of files.

        Raises:
            UserError: The tree holds none of the datasets.
        """
        self._tree = tree
        self._layout = Layout(tree)

    def missing(
        self, dataset: str, teacher: str | None, wanted: Sequence[str]
    ) -> list[str]:
        """Returns the places of the missing files of some splits.

        Args:
            dataset: Name of the dataset.
            teacher: Name of the teacher whose completions are needed, or None.
            wanted: Names of splits.
        """
        raw_split_of = released_spec(dataset).raw_split_of
        places = []
        for raw_split in dict.fromkeys(map(raw_split_of, wanted)):
            places += self._layout.missing(dataset, raw_split, teacher)
        return places

    def splits(self, dataset: str) -> list[str]:
        """Returns the splits whose row files exist, in the order of the spec."""
        wanted = released_spec(dataset).splits
        return [split for split in wanted if not self.missing(dataset, None, [split])]

    def require(self, dataset: str, teacher: str | None, wanted: Sequence[str]) -> None:
        """Checks that the files of some splits exist.

        Raises:
            UserError: Files are missing, or the teacher is unknown.
        """
        teachers = released_spec(dataset).spec.teachers
        if teacher and teacher not in teachers:
            raise UserError(
                f"{dataset} has no completions of {teacher!r}, expected one of "
                f"{', '.join(teachers)}"
            )
        places = self.missing(dataset, teacher, wanted)
        if places:
            raise UserError(f"{dataset}: missing {', '.join(places)}")

    def read(
        self,
        dataset: str,
        teacher: str | None = None,
        wanted: Sequence[str] | None = None,
    ) -> dict[str, SplitRead]:
        """Reads splits as the paper uses them.

        Args:
            dataset: Name of the dataset.
            teacher: Name of the teacher whose completions are parsed, or None.
            wanted: Names of the splits to read, whose files must exist. None reads all
                splits of the dataset, optional ones only if they exist.

        Raises:
            UserError: A name is unknown, or a file is missing, truncated, misaligned
                or has wrong values.
        """
        released = released_spec(dataset)
        if wanted is None:
            optional = set(self.splits(dataset)) & released.optional
            wanted = [
                split
                for split in released.splits
                if split in released.required or split in optional
            ]
        self.require(dataset, teacher, wanted)
        raws = {
            raw_split: self.read_raw(dataset, raw_split, teacher)
            for raw_split in dict.fromkeys(map(released.raw_split_of, wanted))
        }
        return {split: select(raws[released.splits[split]], split) for split in wanted}

    def read_raw(
        self, dataset: str, raw_split: str, teacher: str | None = None
    ) -> RawSplit:
        """Reads all rows of a raw split ("train", "valid" or "test").

        Raises:
            UserError: As `read`.
        """
        released = released_spec(dataset)
        wanted = [split for split, raw in released.splits.items() if raw == raw_split]
        if not wanted:
            raise UserError(
                f"{dataset} has no raw split {raw_split!r}, expected one of "
                f"{', '.join(released.raw_splits)}"
            )
        self.require(dataset, teacher, wanted[:1])
        rows = self._rows(released, raw_split)
        raw = RawSplit.from_rows(released, raw_split, rows)
        return self.add_teacher(raw, raw_split, teacher) if teacher else raw

    def add_teacher(self, raw: RawSplit, raw_split: str, teacher: str) -> RawSplit:
        """Reads a teacher's completions of rows that have been read.

        Raises:
            UserError: As `read`.
        """
        dataset = raw.released.name
        texts = self._completions(dataset, raw_split, teacher, len(raw.records))
        return raw.with_teacher(teacher, texts)

    def fingerprint(self, dataset: str) -> str:
        """Returns a hash of all files of a dataset.

        A folder and a zip file with the same files have the same hash. The hash
        includes the version of the parsers.
        """
        released = released_spec(dataset)
        names: list[str] = []
        for raw_split in released.raw_splits:
            rows = self._layout.rows_file(dataset, raw_split)
            names += [rows] if self._tree.is_file(rows) else []
            for teacher in released.spec.teachers:
                names += self._layout.completion_files(dataset, raw_split, teacher)
        digest = hashlib.sha256(f"parser {completions.PARSER_VERSION}".encode())
        for name in names:
            content = hashlib.sha256(self._tree.read(name)).hexdigest()
            digest.update(f"{name.removeprefix(self._layout.root)} {content}".encode())
        return digest.hexdigest()

    def _rows(self, released: ReleasedSpec, raw_split: str) -> list[Row]:
        name = self._layout.rows_file(released.name, raw_split)
        where = self._tree.where(name)
        # A blank line within the file is an error: completions are matched to rows by
        # their number.
        lines = self._tree.read(name).removeprefix(b"\xef\xbb\xbf").split(b"\n")
        while lines and not lines[-1].strip():
            lines.pop()
        if not lines:
            raise UserError(f"{where}: holds no rows")
        return [
            _read_row(released, line, f"{where}, row {number}")
            for number, line in enumerate(lines, start=1)
        ]

    def _completions(
        self, dataset: str, raw_split: str, teacher: str, rows: int
    ) -> list[str]:
        """Returns a teacher's completions of a raw split, one for each row."""
        texts: list[str] = []
        counts = {}
        for name in self._layout.completion_files(dataset, raw_split, teacher):
            try:
                part = json_input.parse(self._tree.read(name), list[str])
            except json_input.JsonError as error:
                raise UserError(f"{self._tree.where(name)}: {error}") from error
            counts[name.rpartition("/")[2]] = len(part)
            texts += part
        if len(texts) != rows:
            each = ", ".join(f"{name} {count}" for name, count in counts.items())
            place = self._tree.where(self._layout.rows_file(dataset, raw_split))
            raise UserError(
                f"{dataset}: {place} has {rows} rows but {teacher} has {len(texts)} "
                f"completions ({each})"
            )
        return texts


def open_release(path: str | os.PathLike[str]) -> Release:
    """Opens the released data.

    Args:
        path: The folder or zip file.

    Raises:
        UserError: The path is neither, is unsafe, or holds none of the datasets.
    """
    return Release(archives.open_tree(path))


def _read_row(released: ReleasedSpec, line: bytes, where: str) -> Row:
    try:
        row = released.read_row(json_input.parse(line, released.row_type))
        Record(where, row.input, row.label)  # checks the texts
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error
    return row
