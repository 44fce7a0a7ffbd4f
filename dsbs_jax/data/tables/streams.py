"""Opens files, compressed or not, as streams of bytes."""

import contextlib
import io
import pathlib
from collections.abc import Iterator
from typing import IO

from dsbs_jax.data.tables.table import TableError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Suffix and pyarrow's name of the compression.
COMPRESSIONS = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd"}


def compression(path: pathlib.Path) -> str | None:
    """Returns the compression of a file: "rows.csv.gz" -> "gzip"."""
    return COMPRESSIONS.get(path.suffix.lower())


def uncompressed(path: pathlib.Path) -> pathlib.Path:
    """Removes the suffix of the compression: "rows.csv.gz" -> "rows.csv"."""
    return path.with_suffix("") if compression(path) else path


@contextlib.contextmanager
def open_bytes(path: pathlib.Path) -> Iterator[IO[bytes]]:
    """Opens a file for reading, decompressed.

    Raises:
        TableError: The file cannot be opened or decompressed.
    """
    packed = compression(path)
    try:
        if packed is None:
            with path.open("rb") as stream:
                yield stream
            return
        # Imported here, because it takes a third of a second.
        import pyarrow

        with pyarrow.input_stream(str(path), compression=packed) as source:
            yield io.BufferedReader(source)
    except OSError as error:
        if error.strerror:
            raise TableError(error.strerror) from error
        raise TableError(f"cannot be decompressed as {packed}: {error}") from error


def first_character(path: pathlib.Path) -> bytes:
    """Returns the first byte that is not a blank, b"" for an empty file."""
    with open_bytes(path) as stream:
        start = stream.read(1 << 16).removeprefix(BYTE_ORDER_MARK)
    return start.lstrip()[:1]
