"""Parameters that are TensorStore arrays, one for each parameter.

T5X's native format, T5X's Orbax format and the checkpoints of this project's runs all
store parameters like this. Any part of an array is read without the rest, from a local
folder or a bucket. T5X itself is not needed.
"""

import math
import os
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorstore
from etils import epath

from dsbs_jax.errors import UserError
from dsbs_jax.weights.reader import Index, Shape, to_float32

# The largest chunk of an array that is written. A reader that needs a part of an array
# reads complete chunks.
_CHUNK_BYTES = 64 * 2**20
_NAME = re.compile(r"\w+(/\w+)*")


class ArrayReader:
    """Reads parameters that are TensorStore arrays.

    Attributes:
        location: The checkpoint, for error messages.
    """

    def __init__(self, location: str, specs: Mapping[str, dict[str, Any]]) -> None:
        """Opens the arrays; only their metadata is read.

        Args:
            location: The checkpoint.
            specs: TensorStore's description of each array, by parameter name.

        Raises:
            UserError: An array is missing or damaged, or a name is not a parameter's.
        """
        self.location = location
        _check_names(location, specs)
        # All arrays are opened at once: in a bucket, each takes a round trip.
        futures = {name: _open(spec) for name, spec in specs.items()}
        self._arrays = {name: self._wait(name, f) for name, f in futures.items()}

    def _wait(self, name: str, future: Any) -> Any:
        try:
            return future.result()
        # TensorStore raises ValueError for everything that is wrong with an array.
        except ValueError as error:
            raise UserError(
                f"{self.location}: parameter {name} cannot be read: {reason(error)}"
            ) from error

    def shapes(self) -> dict[str, Shape]:
        """Returns the shapes of all parameters; reads no array."""
        return {name: tuple(array.shape) for name, array in self._arrays.items()}

    def read(self, name: str, index: Index = ()) -> np.ndarray:
        """Reads a parameter, or the part of it at `index`, as float32.

        Raises:
            UserError: A part of the array is missing or damaged, or the array does not
                hold floating point numbers.
        """
        part = self._wait(name, self._arrays[name][tuple(index) or ...].read())
        return to_float32(part, f"{self.location}: parameter {name}")


def _check_names(location: str, names: Mapping[str, Any]) -> None:
    for name in names:
        # A name becomes part of a path: ".." would lead out of the checkpoint.
        if not _NAME.fullmatch(name):
            raise UserError(f"{location}: {name!r} is not the name of a parameter")


def _open(spec: Mapping[str, Any]) -> Any:
    # By default TensorStore reads a missing chunk as zeros. A chunk that was lost would
    # then give wrong weights without an error.
    return tensorstore.open(
        {**spec, "fill_missing_data_reads": False}, open=True, read=True
    )


def chunks(shape: Shape, itemsize: int = 4) -> list[int]:
    """Returns the shape of the chunks in which an array is written.

    (32128, 4096) -> [4016, 4096]

    Args:
        shape: The array's shape.
        itemsize: Bytes of one number.
    """
    parts = list(shape)
    while math.prod(parts) * itemsize > _CHUNK_BYTES:
        longest = parts.index(max(parts))
        parts[longest] = -(-parts[longest] // 2)
    return parts


def write(
    store: str | Mapping[str, str], array: np.ndarray, compressor: Mapping[str, Any]
) -> None:
    """Writes a zarr array, in place of an array that is there.

    Args:
        store: TensorStore's address of the array.
        array: The array.
        compressor: How its chunks are compressed, as in the array's metadata.
    """
    spec = {
        "driver": "zarr",
        "kvstore": store,
        "metadata": {
            "shape": list(array.shape),
            "chunks": chunks(array.shape, array.itemsize),
            "compressor": compressor,
            "dtype": array.dtype.str,
        },
        # Otherwise a chunk of zeros is not written, and reads as a missing one.
        "store_data_equal_to_fill_value": True,
    }
    opened = tensorstore.open(spec, create=True, delete_existing=True).result()
    # The array is not copied: it is not changed before the write ends.
    opened.write(array, can_reference_source_data_indefinitely=True).result()


def reason(error: Exception) -> str:
    """Returns TensorStore's message without the spec and source lines it appends."""
    text = re.split(r" \[(tensorstore_spec|source locations)=", str(error))[0]
    return " ".join(text.split())


def url(path: epath.Path) -> str:
    """Returns a folder's URL for TensorStore, which reads "%20" in it as a space."""
    text = os.fspath(path)
    text = text if "://" in text else f"file://{os.path.abspath(text)}"
    return urllib.parse.quote(text, safe=":/")
