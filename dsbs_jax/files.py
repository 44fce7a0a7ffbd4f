"""Files that are written as a whole or not at all."""

import json
import os
import pathlib
import tempfile
from collections.abc import Iterable, Mapping


def write(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Writes a file, replacing one that is there; text is UTF-8.

    Raises:
        OSError: It cannot be written; what was there before still is.
    """
    path = pathlib.Path(path)
    content = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as file:
        try:
            file.write(content)
            file.flush()
            # Temporary files are for their owner alone; this one is to be like others.
            os.chmod(file.name, 0o666 & ~_umask())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_jsonl(path: str | os.PathLike[str], rows: Iterable[Mapping]) -> None:
    """Writes rows as JSON lines.

    Raises:
        OSError: As `write`.
    """
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write(path, "".join(lines))
