"""The interface of every checkpoint format: parameters by name, read in parts."""

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
        """Returns the shapes of all parameters; reads no array."""
        ...

    def read(self, name: str, index: Index = ()) -> np.ndarray:
        """Reads a parameter, or the part of it at `index`, as float32."""
        ...


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
