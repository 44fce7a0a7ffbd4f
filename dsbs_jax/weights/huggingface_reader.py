"""A student's parameters from and to Hugging Face's model folders."""

import dataclasses
import pathlib
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from dsbs_jax.errors import UserError
from dsbs_jax.student.config import T5Config
from dsbs_jax.student.network import parameter_shapes
from dsbs_jax.weights import huggingface_files
from dsbs_jax.weights import huggingface_names as huggingface
from dsbs_jax.weights.huggingface_files import Index
from dsbs_jax.weights.huggingface_names import EMBEDDING, OUTPUT, Tensor

_SHARED = "shared.weight"
_LM_HEAD = "lm_head.weight"


class HuggingFaceSource:
    """The weights in a Hugging Face folder.

    Whether the output embedding is the input's is decided by the tensors: Transformers
    5 writes the same configuration for both. A tied output whose logits are not scaled
    has no counterpart in T5X, and becomes an untied one of the same values.

    Attributes:
        where: The folder, for errors.
        config: The student.
    """

    def __init__(self, folder: pathlib.Path, where: str | None = None) -> None:
        """Reads the configuration and all names and shapes.

        Args:
            folder: With `config.json` and weights.
            where: What to call it in errors, where that is not the folder.

        Raises:
            UserError: The folder is of another architecture, or a tensor is missing, of
                a wrong shape or none of the student's.
        """
        self.where = where or str(folder)
        path = folder / huggingface_files.CONFIG
        config, scaled = huggingface.read_config(
            huggingface_files.read_json(path), str(path)
        )
        self._container = huggingface_files.open_container(folder)
        found = self._container.shapes()
        self._embedding = next(
            (n for n in (_SHARED, *huggingface.EMBEDDING_COPIES) if n in found), _SHARED
        )
        tied = _LM_HEAD not in found or self._same(_LM_HEAD, self._embedding, found)
        self.config = dataclasses.replace(config, logits_via_embedding=tied and scaled)
        self._tensors = huggingface.tensors(self.config)
        self._tensors[EMBEDDING] = Tensor(self._embedding, False)
        if tied and not scaled:
            self._tensors[OUTPUT] = Tensor(self._embedding, True)
        # Where an untied output is scaled, its kernel takes the factor in.
        self._factor = config.emb_dim**-0.5 if scaled and not tied else 1.0
        self._check(found)

    def _same(self, left: str, right: str, found: Mapping) -> bool:
        return (
            right in found
            and found[left] == found[right]
            and np.array_equal(
                self._container.read(left, ()), self._container.read(right, ())
            )
        )

    def _check(self, found: Mapping[str, tuple[int, ...]]) -> None:
        expected = {}
        for name, shape in parameter_shapes(self.config).items():
            tensor = self._tensors[name]
            expected[tensor.name] = shape[::-1] if tensor.transposed else shape
        for name, shape in expected.items():
            if name not in found:
                raise UserError(
                    f"{self.where}: tensor {name} is missing, expected shape {shape}"
                )
            if found[name] != shape:
                raise UserError(
                    f"{self.where}: tensor {name} has shape {found[name]}, expected "
                    f"{shape}"
                )
        extra = found.keys() - expected.keys() - {_LM_HEAD, *huggingface.UNUSED}
        for name in sorted(extra):
            copy = name in huggingface.EMBEDDING_COPIES
            if not (copy and self._same(name, self._embedding, found)):
                raise UserError(
                    f"{self.where}: tensor {name} {found[name]} is not expected: a T5 "
                    f"of this config.json has none{' of its own' if copy else ''}"
                )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all parameters; no array is read."""
        return parameter_shapes(self.config)

    def read(self, name: str, index: Index = ()) -> np.ndarray:
        """A parameter or a part of it, float32.

        Raises:
            UserError: It holds no floating point numbers.
        """
        tensor = self._tensors[name]
        index = tuple(index)[::-1] if tensor.transposed else tuple(index)
        part = self._container.read(tensor.name, index)
        if not jnp.issubdtype(part.dtype, jnp.floating):
            raise UserError(
                f"{self.where}: tensor {tensor.name} is of {part.dtype}, expected "
                "floating point numbers"
            )
        part = part.astype(np.float32)
        if name == OUTPUT:
            part = part * np.float32(self._factor)
        return part.T if tensor.transposed else part


def tensors_of(
    params: Mapping[str, np.ndarray], config: T5Config
) -> dict[str, np.ndarray]:
    """The state dict of a student.

    Args:
        params: By path parted by "/".
        config: The student.
    """
    return {
        tensor.name: params[name].T if tensor.transposed else params[name]
        for name, tensor in huggingface.tensors(config).items()
    }


def write(
    folder: pathlib.Path, params: Mapping[str, np.ndarray], config: T5Config
) -> None:
    """Writes a student's configuration and weights into an empty folder."""
    huggingface_files.write(
        folder, huggingface.write_config(config), tensors_of(params, config)
    )
