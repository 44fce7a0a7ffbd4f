"""Writes files atomically: a reader sees the old or the complete new content."""

import json
import os
import pathlib
import tempfile
from collections.abc import Iterable, Mapping
from typing import Any


def write(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Writes a file, and replaces an existing one.

    Args:
        path: The file; missing folders are created.
        content: Bytes, or text to write as UTF-8.

    Raises:
        OSError: The file cannot be written; an existing file is unchanged.
    """
    path = pathlib.Path(path)
    content = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, because replacing a file is atomic only within a file system.
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as file:
        try:
            file.write(content)
            file.flush()
            # Temporary files are readable by their owner only; use the default mode.
            os.chmod(file.name, default_mode())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


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
        rows: Rows with JSON values.

    Raises:
        OSError: The file cannot be written; an existing file is unchanged.
    """
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write(path, "".join(lines))
