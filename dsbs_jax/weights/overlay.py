"""A checkpoint of a part of the weights, or of adapters, over one with all weights."""

import re
from collections.abc import Mapping

import numpy as np

from dsbs_jax.errors import UserError
from dsbs_jax.student import lora
from dsbs_jax.weights.reader import Index, ParameterReader, Shape

_ALL = (slice(None), slice(None))


class Arrays:
    """Parameters in memory.

    Attributes:
        location: Where they are from, for error messages.
    """

    def __init__(self, location: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Keeps float32 arrays, by parameter name."""
        self.location = location
        self._arrays = dict(arrays)

    def shapes(self) -> dict[str, Shape]:
        """Returns the shapes of all parameters."""
        return {name: array.shape for name, array in self._arrays.items()}

    def read(self, name: str, index: Index = ()) -> np.ndarray:
        """Returns a parameter, or the part of it at `index`."""
        return self._arrays[name][index or ...]


class OverlayReader:
    """Reads complete weights: each weight that was trained, and the others of a base.

    Adapters are merged into their kernels, one part at a time.

    Attributes:
        location: The checkpoint of the trained parameters, for error messages.
        base: All weights before the training.
        trained: The weights that were trained, or adapters.
        scale: The factor of the adapters' term.
        origin: Path or address from which the training started; None for random
            weights.
    """

    def __init__(
        self,
        base: ParameterReader,
        trained: ParameterReader,
        scale: float,
        origin: str | None = None,
    ) -> None:
        """Checks that the trained parameters belong to the base.

        Raises:
            UserError: A parameter is not in the base, or has another shape.
        """
        self.location = trained.location
        self.base, self.trained = base, trained
        self.scale, self.origin = scale, origin
        self._shapes = base.shapes()
        self._trained = trained.shapes()
        for name, shape in self._trained.items():
            expected = self._expected(name)
            if expected is None or len(shape) != len(expected):
                raise UserError(
                    f"{self.location}: parameter {name} {shape} does not belong to the "
                    f"weights of {base.location}"
                )
            if any(e not in (None, s) for e, s in zip(expected, shape, strict=True)):
                raise UserError(
                    f"{self.location}: parameter {name} has shape {shape}, expected "
                    f"{expected} for the weights of {base.location}"
                )

    def _expected(self, name: str) -> tuple[int | None, ...] | None:
        """Returns the shape of a parameter, with None for the rank; None if unknown."""
        if not lora.is_adapter(name):
            return self._shapes.get(name)
        module, _, factor = name.rpartition("/")
        other = lora.B if factor == lora.A else lora.A
        kernel = self._shapes.get(f"{module}/kernel")
        pair = self._trained.get(f"{module}/{other}")
        if kernel is None or pair is None or len(pair) != 2:
            return None
        return (kernel[0], pair[0]) if factor == lora.A else (pair[1], kernel[1])

    @property
    def has_only_adapters(self) -> bool:
        """Whether all trained parameters are adapters."""
        return all(map(lora.is_adapter, self._trained))

    def shapes(self) -> dict[str, Shape]:
        """Returns the shapes of all weights; reads no array."""
        return dict(self._shapes)

    def read(self, name: str, index: Index = ()) -> np.ndarray:
        """Reads a weight, or the part of it at `index`, as float32."""
        if name in self._trained:
            return self.trained.read(name, index)
        part = self.base.read(name, index)
        module = re.sub("/kernel$", "", name)
        if f"{module}/{lora.A}" not in self._trained:
            return part
        rows, columns = index or _ALL
        a = self.trained.read(f"{module}/{lora.A}", (rows, slice(None)))
        b = self.trained.read(f"{module}/{lora.B}", (slice(None), columns))
        return lora.merge(part, a, b, self.scale)
