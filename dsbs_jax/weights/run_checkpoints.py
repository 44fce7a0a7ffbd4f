"""Checkpoints of a run: all weights, or those that it updates over all the others.

A run that does not update all weights writes `checkpoints/frozen.json`. Its checkpoints
then hold only what is updated, and `base/checkpoint_0` next to `checkpoints` holds all
weights before the training.
"""

import pathlib

import msgspec
import numpy as np
from etils import epath

from dsbs_jax import files, json_input
from dsbs_jax.errors import UserError, reason
from dsbs_jax.json_input import JsonError
from dsbs_jax.student import stacked_layers
from dsbs_jax.weights import digests, orbax_format
from dsbs_jax.weights.arrays import ArrayReader
from dsbs_jax.weights.overlay import OverlayReader
from dsbs_jax.weights.reader import Index, ParameterReader, Shape
from dsbs_jax.weights.stacked_arrays import StackedArrays

# The weights before the training, in the run folder.
BASE_FOLDER = "base"
_OVERLAY_FILE = "frozen.json"


class Overlay(msgspec.Struct, frozen=True):
    """The content of `frozen.json`.

    Attributes:
        scale: The factor of the adapters' term.
        origin: Path or address from which the training started; None for random
            weights.
    """

    scale: float
    origin: str | None = None


def write_overlay(folder: pathlib.Path, overlay: Overlay) -> None:
    """Writes `frozen.json` into the folder of a run's checkpoints.

    Raises:
        OSError: The file cannot be written.
    """
    files.write_json(folder / _OVERLAY_FILE, msgspec.to_builtins(overlay))


def open_arrays(checkpoint: epath.Path) -> ArrayReader:
    """Opens the arrays of one checkpoint as a run stores them, stacked or not."""
    return orbax_format.open_item(checkpoint / "params", prefix=())


def open_updated(checkpoint: epath.Path) -> ParameterReader:
    """Opens the parameters of one checkpoint, which are those that a run updates."""
    return _LayerReader(open_arrays(checkpoint))


class _LayerReader:
    """Reads parameters by the names of the layers, from arrays of either layout.

    Attributes:
        location: The checkpoint, for error messages.
    """

    def __init__(self, arrays: ArrayReader) -> None:
        """Reads no array."""
        self.location = arrays.location
        self._arrays = arrays
        self._stored = arrays.shapes()
        self._stacked = StackedArrays(arrays, axis=0)

    def shapes(self) -> dict[str, Shape]:
        """Returns the shapes of all parameters."""
        return stacked_layers.layer_shapes(self._stored)

    def read(self, name: str, index: Index = ()) -> np.ndarray:
        """Reads a parameter, or the part of it at `index`, as float32.

        Raises:
            UserError: As `ArrayReader.read`.
        """
        stored, layer = stacked_layers.place(name, self._stored)
        if layer is None:
            return self._arrays.read(stored, index)
        return self._stacked.read(stored, self._stored[stored][1:], layer, index)


def open_run(checkpoint: epath.Path) -> ParameterReader:
    """Opens all weights of one checkpoint of a run.

    Raises:
        UserError: The weights before the training are missing or damaged.
    """
    updated = open_updated(checkpoint)
    path = checkpoint.parent / _OVERLAY_FILE
    if not path.exists():
        return updated
    try:
        overlay = json_input.parse(path.read_bytes(), Overlay)
    except (OSError, JsonError) as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error
    base = checkpoint.parent.parent / BASE_FOLDER / "checkpoint_0"
    if not base.exists():
        raise UserError(
            f"{base}: no such folder, expected the weights before the training, which "
            f"{checkpoint} does not hold; copy the folder {BASE_FOLDER} of the run too"
        )
    digests.check(base, "params")
    return OverlayReader(open_updated(base), updated, overlay.scale, overlay.origin)
