"""The interface of every checkpoint format: parameters by name, read in parts."""

from collections.abc import Iterator, Mapping
from typing import Protocol

import jax.numpy as jnp
import numpy as np

from dsbs_jax.errors import UserError

Shape = tuple[int, ...]
# The part of an array to read, one slice for each axis; () is all of it.
Index = tuple[slice, ...]


class ParameterReader(Protocol):
    """Reads the parameters of one checkpoint.

    A parameter's name is its path in T5X's tree, joined by "/":
    "encoder/layers_0/mlp/wo/kernel".

    Attributes:
        location: Path or address of the checkpoint, for error messages.
    """

    location: str

    def shapes(self) -> dict[str, Shape]:
        """Returns the shapes of all parameters; reads no array.

        Reading in this order is the fastest: parameters that are parts of the same
        stored array follow each other.
        """
        ...

    def read(self, name: str, index: Index = ()) -> np.ndarray:
        """Reads a parameter, or the part of it at `index`, as float32."""
        ...


class Parameters(Mapping[str, np.ndarray]):
    """The parameters of a checkpoint by name, each read when it is used.

    A writer that uses one after the other never has all of them in memory.
    """

    def __init__(self, reader: ParameterReader) -> None:
        """Reads no array."""
        self._reader = reader
        self._names = reader.shapes().keys()

    def __getitem__(self, name: str) -> np.ndarray:
        """Reads a parameter, as float32."""
        if name not in self._names:
            raise KeyError(name)
        return self._reader.read(name)

    def __contains__(self, name: object) -> bool:
        """Whether the checkpoint has a parameter; reads no array."""
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        """Iterates over the names, in the reader's order."""
        return iter(self._names)

    def __len__(self) -> int:
        """Returns the number of parameters."""
        return len(self._names)


def to_float32(array: np.ndarray, description: str) -> np.ndarray:
    """Converts a parameter to float32, the type of all parameters of a student.

    Args:
        array: A part of a parameter, of any shape, as the checkpoint stores it.
        description: Where the array is from, for the error message.

    Raises:
        UserError: The array does not hold floating point numbers.
    """
    # NumPy's own `issubdtype` does not know bfloat16.
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise UserError(
            f"{description} has type {array.dtype}, expected floating point numbers"
        )
    return np.asarray(array, np.float32)
