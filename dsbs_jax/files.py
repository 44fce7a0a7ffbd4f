"""Paths of this machine, and atomic writes: a reader sees the old or new content."""

import contextlib
import json
import math
import os
import pathlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

from dsbs_jax import interruption
from dsbs_jax.errors import UserError, reason


def write(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Writes a file, and replaces an existing one.

    Args:
        path: The file; missing folders are created.
        content: Bytes, or text to write as UTF-8.

    Raises:
        OSError: The file cannot be written; an existing file is unchanged.
    """
    content = content.encode() if isinstance(content, str) else content
    # A short write is completed before a signal ends the process.
    with interruption.complete_write(), replaced(path) as file:
        file.write(content)


@contextlib.contextmanager
def replaced(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Yields a new file, which replaces that of the path at the end of the block.

    Args:
        path: The file; missing folders are created. If the block fails, or a signal
            ends the process in it, the file is unchanged.

    Raises:
        OSError: The file cannot be written.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, because replacing a file is atomic only within a file system.
    with (
        tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file,
        interruption.removed(file.name),
    ):
        try:
            yield file
            file.flush()
            # Temporary files are readable by their owner only; use the default mode.
            os.chmod(file.name, default_mode())
            with interruption.complete_write():
                os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def local_path(path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns a path on this machine; a leading "~" is the home folder.

    Raises:
        UserError: The path is an address such as gs://bucket/run, or begins with
            "~" and the name of a user who does not exist.
    """
    text = os.fspath(path)
    if not text:
        raise UserError("a path is empty, expected the path of a file or folder")
    if "://" in text:
        raise UserError(
            f"{text} is an address, expected a path on this machine; copy the files to "
            "or from the address"
        )
    try:
        return pathlib.Path(text).expanduser()
    except RuntimeError as error:
        raise UserError(f"{text}: this user has no home folder") from error


def check_output_file(path: str | os.PathLike[str]) -> pathlib.Path:
    """Checks before long work that a file can be written at its end.

    Returns:
        The file's path, as `local_path`.

    Raises:
        UserError: The path is a folder, or its folder cannot be written.
    """
    file = local_path(path)
    if file.is_dir():
        raise UserError(f"{file} is a folder, expected the path of a file")
    _check_writable(file.parent)
    return file


def check_output_folder(path: str | os.PathLike[str]) -> pathlib.Path:
    """Checks before long work that files can be written to a folder at its end.

    Returns:
        The folder's path, as `local_path`.

    Raises:
        UserError: The path is a file, or the folder cannot be written.
    """
    folder = local_path(path)
    _check_writable(folder)
    return folder


def _check_writable(folder: pathlib.Path) -> None:
    """Checks that files can be created in a folder, or the folder in its parent."""
    absolute = folder.absolute()
    existing = next(p for p in (absolute, *absolute.parents) if os.path.lexists(p))
    if not existing.is_dir():
        raise UserError(f"{existing} is a file, expected a folder")
    try:
        # The only test that is right on every file system and for every user.
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise UserError(f"{existing}: cannot be written: {reason(error)}") from error


def default_mode() -> int:
    """Returns the permissions that a new file gets by default."""
    # The process's mask can only be read by setting it.
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def write_jsonl(
    path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]
) -> None:
    """Writes rows as JSON lines.

    Args:
        path: The file, as for `write`.
        rows: Rows with values that `json_text` takes.

    Raises:
        OSError: The file cannot be written; an existing file is unchanged.
    """
    write(path, "".join(f"{json_text(row)}\n" for row in rows))


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes one JSON value, indented.

    Args:
        path: The file, as for `write`.
        value: A value that `json_text` takes.

    Raises:
        OSError: The file cannot be written; an existing file is unchanged.
    """
    write(path, json_text(value, indent=2) + "\n")


def json_text(value: Any, indent: int | None = None) -> str:
    """Formats a value as JSON that every reader accepts and UTF-8 can encode.

    NaN and infinite numbers, which JSON does not have, become null. Half of a surrogate
    pair is written as an escape.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    except ValueError:
        value = _without_nan(value)
        text = json.dumps(value, ensure_ascii=False, indent=indent)
    # Half of a surrogate pair is possible in text only, where JSON has escapes.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value
