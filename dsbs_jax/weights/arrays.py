"""Parameters that are TensorStore arrays, one for each parameter.

T5X's native format, T5X's Orbax format and the checkpoints of this project's runs all
store parameters like this. Any part of an array is read without the rest, from a local
folder or a bucket. T5X itself is not needed.
"""

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

# Parameters of T5X's scalable_t5 with stacked layers.
_STACKED = re.compile(r"(encoder/encoder|decoder/decoder)/")
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
            UserError: An array is missing or damaged, a name is not a parameter's, or
                the parameters belong to T5X's scalable_t5.
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
        if _STACKED.match(name):
            raise UserError(
                f"{location}: {name} is a parameter of T5X's scalable_t5 that holds "
                "all layers of a stack; expected one parameter for each layer, as in "
                "T5X's examples/t5"
            )
        # A name becomes part of a path: ".." would lead out of the checkpoint.
        if not _NAME.fullmatch(name):
            raise UserError(f"{location}: {name!r} is not the name of a parameter")


def _open(spec: Mapping[str, Any]) -> Any:
    # By default TensorStore reads a missing chunk as zeros. A chunk that was lost would
    # then give wrong weights without an error.
    return tensorstore.open(
        {**spec, "fill_missing_data_reads": False}, open=True, read=True
    )


def reason(error: Exception) -> str:
    """Returns TensorStore's message without the spec and source lines it appends."""
    text = re.split(r" \[(tensorstore_spec|source locations)=", str(error))[0]
    return " ".join(text.split())


def url(path: epath.Path) -> str:
    """Returns a folder's URL for TensorStore, which reads "%20" in it as a space."""
    text = os.fspath(path)
    text = text if "://" in text else f"file://{os.path.abspath(text)}"
    return urllib.parse.quote(text, safe=":/")
