"""Parameters of T5X's scalable network, under a student's names and shapes.

T5X's examples/scalable_t5, in which the public umT5 checkpoints are stored, computes
the same as a student with a position bias in every layer. It stores it differently:

    scan_layers       The L layers of a stack are in one array, on its second axis:
                      encoder/encoder/mlp/wo/kernel [F, L, D]
                      -> encoder/layers_0/mlp/wo/kernel [F, D], encoder/layers_1/…
    attention         The heads have an axis of their own:
                      query, key, value [D, H, K] -> [D, H * K]
                      out [H, K, D] -> [H * K, D]
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from dsbs_jax.errors import UserError
from dsbs_jax.student.config import T5Config
from dsbs_jax.student.network import parameter_shapes
from dsbs_jax.weights.reader import Index, ParameterReader, Shape
from dsbs_jax.weights.stacked_arrays import StackedArrays

_STACKED = re.compile(r"(encoder/encoder|decoder/decoder)/(.+)")
_OF_LAYER = re.compile(r"(encoder|decoder)/layers_\d+/(.+)")
_SHARED_BIAS = re.compile(r"(encoder|decoder)/(relpos_bias/rel_embedding)")
_KERNEL = re.compile(r".*attention/(query|key|value|out)/kernel")


class _Stored(NamedTuple):
    """Where a parameter of a student is stored.

    Attributes:
        name: Name of the stored array.
        shape: Shape of the stored array, without the axis of the layers.
        layer: The index on the axis of the layers; None for an array without one.
    """

    name: str
    shape: Shape
    layer: int | None

    @property
    def heads(self) -> int | None:
        """The axis of the heads, which the axis of their width follows; else None."""
        if len(self.shape) != 3 or not _KERNEL.fullmatch(self.name):
            return None
        return 0 if self.name.endswith("/out/kernel") else 1


def adapt(reader: ParameterReader) -> ParameterReader:
    """Returns a reader of the student's parameters for any checkpoint of T5X.

    Raises:
        UserError: The arrays of a stack have different numbers of layers.
    """
    is_scalable = any(
        _STACKED.fullmatch(name) or _Stored(name, shape, None).heads is not None
        for name, shape in reader.shapes().items()
    )
    return ScalableReader(reader) if is_scalable else reader


class ScalableReader:
    """Reads a checkpoint of T5X's scalable network.

    Attributes:
        location: The checkpoint, for error messages.
    """

    def __init__(self, reader: ParameterReader) -> None:
        """Finds the parameters; reads no array.

        Args:
            reader: The arrays as they are stored.

        Raises:
            UserError: The arrays of a stack have different numbers of layers.
        """
        self.location = reader.location
        self._reader = reader
        self._stored = dict(_find(reader.location, reader.shapes()))
        self._stacked = StackedArrays(reader, axis=1)

    def shapes(self) -> dict[str, Shape]:
        """Returns the shapes of all parameters; reads no array."""
        return {name: _merged(stored) for name, stored in self._stored.items()}

    def read(self, name: str, index: Index = ()) -> np.ndarray:
        """Reads a parameter, or the part of it at `index`, as float32.

        Raises:
            UserError: As `ArrayReader.read`.
        """
        stored = self._stored[name]
        index = tuple(index) or (slice(None),) * len(_merged(stored))
        axis = stored.heads
        if axis is None:
            return self._read_layer(stored, index)
        # Complete heads are read, and cut to the part.
        width = stored.shape[axis + 1]
        start, stop, _ = index[axis].indices(stored.shape[axis] * width)
        heads = slice(start // width, -(-stop // width))
        part = self._read_layer(
            stored, (*index[:axis], heads, slice(None), *index[axis + 1 :])
        )
        part = part.reshape(*part.shape[:axis], -1, *part.shape[axis + 2 :])
        first = heads.start * width
        cut = slice(start - first, stop - first)
        return part[(slice(None),) * axis + (cut,)]

    def _read_layer(self, stored: _Stored, index: Index) -> np.ndarray:
        if stored.layer is None:
            return self._reader.read(stored.name, index)
        return self._stacked.read(stored.name, stored.shape, stored.layer, index)


def _find(location: str, shapes: Mapping[str, Shape]) -> Iterator[tuple[str, _Stored]]:
    """Yields the student's parameters in the stored arrays, by name."""
    first: dict[str, tuple[str, int]] = {}
    for name, shape in shapes.items():
        match = _STACKED.fullmatch(name)
        if match is None:
            yield name, _Stored(name, shape, None)
            continue
        stack = name.partition("/")[0]
        layers = shape[1] if len(shape) > 1 else 0
        other, expected = first.setdefault(stack, (name, layers))
        if layers != expected or not layers:
            raise UserError(
                f"{location}: parameter {name} has shape {shape}, expected "
                f"{expected or 'all'} layers on the second axis, as in {other}; T5X's "
                "param_scan_axis must be 1"
            )
        for layer in range(layers):
            of_layer = _Stored(name, (shape[0], *shape[2:]), layer)
            yield f"{stack}/layers_{layer}/{match[2]}", of_layer


def _merged(stored: _Stored) -> Shape:
    """Returns the shape of a student's parameter, with heads and width in one axis."""
    axis, shape = stored.heads, stored.shape
    if axis is None:
        return shape
    return (*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :])


class ScalableParameters(Mapping[str, np.ndarray]):
    """A student's parameters as those of T5X's scalable network with scan_layers.

    Each array is made when it is used. A position bias that the layers of a stack share
    is repeated for every layer, because this network has one in each.
    """

    def __init__(self, params: Mapping[str, np.ndarray], student: T5Config) -> None:
        """Finds the names; reads no array.

        Args:
            params: Float32 arrays by the student's names.
            student: The student.
        """
        self._params, self._student = params, student
        self._shapes = parameter_shapes(student)
        self._layers = {
            "encoder": student.num_encoder_layers,
            "decoder": student.num_decoder_layers,
        }
        self._names = dict.fromkeys(map(_stacked_name, params))

    def __iter__(self) -> Iterator[str]:
        """Iterates over the names of the network's parameters."""
        return iter(self._names)

    def __len__(self) -> int:
        """Returns the number of the network's parameters."""
        return len(self._names)

    def __getitem__(self, name: str) -> np.ndarray:
        """Makes one array, float32."""
        if name not in self._names:
            raise KeyError(name)
        match = _STACKED.fullmatch(name)
        if match is None:
            return self._params[name]
        stack = name.partition("/")[0]
        layers = self._layers[stack]
        sources = [f"{stack}/layers_{i}/{match[2]}" for i in range(layers)]
        if sources[0] not in self._shapes:
            sources = [f"{stack}/{match[2]}"] * layers
        shape = self._split(name, self._shapes[sources[0]])
        stacked = np.empty((shape[0], layers, *shape[1:]), np.float32)
        for layer, source in enumerate(sources):
            stacked[:, layer] = self._params[source].reshape(shape)
        return stacked

    def _split(self, name: str, shape: Shape) -> Shape:
        """Returns the shape of a layer's parameter, with an axis for the heads."""
        if not _KERNEL.fullmatch(name):
            return shape
        heads = (self._student.num_heads, self._student.head_dim)
        is_output = name.endswith("/out/kernel")
        return (*heads, shape[1]) if is_output else (shape[0], *heads)


def _stacked_name(name: str) -> str:
    match = _OF_LAYER.fullmatch(name) or _SHARED_BIAS.fullmatch(name)
    return f"{match[1]}/{match[1]}/{match[2]}" if match else name
