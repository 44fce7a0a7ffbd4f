"""Reads a folder or a zip file in place, and never reads outside it.

Names are relative, with "/" between their parts. Nothing is unpacked. The header of a
zip file is not trusted: it is checked when the file is opened, and sizes are checked
again while entries are read.
"""

import abc
import os
import pathlib
import re
import stat
import zipfile
import zlib

from dsbs_jax.errors import UserError, reason

MAX_ENTRIES = 100_000
MAX_FILE_BYTES = 1 << 30
MAX_TOTAL_BYTES = 8 << 30


class Tree(abc.ABC):
    """A read-only tree of files.

    Attributes:
        path: The folder or archive.
    """

    def __init__(self, path: pathlib.Path) -> None:
        """Keeps the path of the folder or archive."""
        self.path = path

    def where(self, name: str) -> str:
        """Returns a file's place for messages."""
        return f"{self.path}/{name}"

    @abc.abstractmethod
    def is_file(self, name: str) -> bool:
        """Returns whether a file of this name exists."""

    @abc.abstractmethod
    def list(self, folder: str) -> list[str]:
        """Returns the sorted names in a folder ("" is the root), or [] without it."""

    @abc.abstractmethod
    def read(self, name: str) -> bytes:
        """Returns a file's content.

        Raises:
            UserError: The file cannot be read, is too large or is outside the tree.
        """


class Folder(Tree):
    """The files of a folder. Symbolic links are followed if they stay inside it."""

    def _resolve(self, name: str) -> pathlib.Path:
        resolved = (self.path / name).resolve()
        if not resolved.is_relative_to(self.path.resolve()):
            raise UserError(f"{self.where(name)}: a link leads out of {self.path}")
        return resolved

    def is_file(self, name: str) -> bool:
        """See `Tree`. Raises UserError for a link that leads out."""
        return self._resolve(name).is_file()

    def list(self, folder: str) -> list[str]:
        """See `Tree`. Raises UserError for a link that leads out."""
        path = self._resolve(folder)
        return sorted(os.listdir(path)) if path.is_dir() else []

    def read(self, name: str) -> bytes:
        """See `Tree`."""
        path = self._resolve(name)
        try:
            with path.open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise UserError(f"{self.where(name)}: {reason(error)}") from error
        return _check_size(content, self.where(name))


class Zip(Tree):
    """A zip file. Every entry is checked before any is read."""

    def __init__(self, path: pathlib.Path) -> None:
        """Opens the archive.

        Raises:
            UserError: The file is damaged or not a zip file, has too many or too large
                entries, or an entry could be outside the archive.
        """
        super().__init__(path)
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise UserError(
                f"{path}: not a readable zip file ({reason(error)})"
            ) from error
        entries = self._zip.infolist()
        if len(entries) > MAX_ENTRIES:
            raise UserError(f"{path}: {len(entries)} entries, over {MAX_ENTRIES}")
        self._files: dict[str, zipfile.ZipInfo] = {}
        for entry in entries:
            _check_entry(path, entry)
            if entry.is_dir():
                continue
            if entry.filename in self._files:
                raise UserError(f"{path}: entry {entry.filename!r} occurs twice")
            self._files[entry.filename] = entry
        total = sum(entry.file_size for entry in entries)
        if total > MAX_TOTAL_BYTES:
            raise UserError(f"{path}: {total} bytes unpacked, over {MAX_TOTAL_BYTES}")

    def is_file(self, name: str) -> bool:
        """See `Tree`."""
        return name in self._files

    def list(self, folder: str) -> list[str]:
        """See `Tree`."""
        start = f"{folder}/" if folder else ""
        inside = (f[len(start) :] for f in self._files if f.startswith(start))
        return sorted({name.partition("/")[0] for name in inside})

    def read(self, name: str) -> bytes:
        """See `Tree`."""
        where = self.where(name)
        try:
            with self._zip.open(self._files[name]) as file:
                # An entry may unpack to more than the size that it declares.
                content = file.read(MAX_FILE_BYTES + 1)
        except KeyError as error:
            raise UserError(f"{where}: no such entry") from error
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            OSError,
            RuntimeError,  # an encrypted entry
            NotImplementedError,  # an unknown compression method
        ) as error:
            raise UserError(f"{where}: {reason(error)}") from error
        return _check_size(content, where)


def _check_size(content: bytes, where: str) -> bytes:
    if len(content) > MAX_FILE_BYTES:
        raise UserError(f"{where}: larger than {MAX_FILE_BYTES} bytes")
    return content


def _check_entry(path: pathlib.Path, entry: zipfile.ZipInfo) -> None:
    """Raises UserError for an entry that leads out of the archive or is too large."""
    # zipfile shortens `filename` at a NUL character; the original name is checked.
    name = entry.orig_filename
    problem = None
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
        problem = "has an absolute path"
    elif ".." in re.split(r"[/\\]", name):
        problem = "leads out of the archive"
    elif "\0" in name:
        problem = "has a name with a NUL character"
    elif stat.S_ISLNK(entry.external_attr >> 16):
        problem = "is a symbolic link"
    elif entry.file_size > MAX_FILE_BYTES:
        problem = f"is larger than {MAX_FILE_BYTES} bytes"
    if problem:
        raise UserError(f"{path}: entry {name!r} {problem}")


def open_tree(path: str | os.PathLike[str]) -> Tree:
    """Opens a folder or a zip file.

    Raises:
        UserError: The path is neither, or the zip file is damaged or unsafe.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        return Folder(path)
    if path.is_file():
        return Zip(path)
    raise UserError(f"{path}: no such folder or zip file")
