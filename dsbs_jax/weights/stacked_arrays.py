"""Arrays with all layers of a stack, read layer by layer."""

import numpy as np

from dsbs_jax.weights.reader import Index, ParameterReader, Shape


class StackedArrays:
    """Reads layers of stacked arrays.

    The layers of the array that is read last are kept, because a chunk of a checkpoint
    usually holds all layers: reading each layer by itself would read the file L times.
    """

    def __init__(self, reader: ParameterReader, axis: int) -> None:
        """Reads no array.

        Args:
            reader: The arrays as they are stored.
            axis: The axis of the layers.
        """
        self._reader, self._axis = reader, axis
        self._name = ""
        self._kept: dict[tuple[tuple[int, int], ...], np.ndarray] = {}

    def read(self, name: str, shape: Shape, layer: int, index: Index) -> np.ndarray:
        """Reads a part of a layer, as float32.

        Args:
            name: Name of the stacked array.
            shape: Shape of a layer's part of it.
            layer: The layer.
            index: The part of the layer, one slice for each axis; () is all of it.
        """
        if name != self._name:
            self._name, self._kept = name, {}
        index = tuple(index) or (slice(None),) * len(shape)
        bounds = [part.indices(n) for part, n in zip(index, shape, strict=True)]
        key = tuple((start, stop) for start, stop, _ in bounds)
        if key not in self._kept:
            all_layers = (*index[: self._axis], slice(None), *index[self._axis :])
            self._kept[key] = self._reader.read(name, all_layers)
        return self._kept[key].take(layer, self._axis)
