"""Reads and writes a student's parameters as a Hugging Face model folder."""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np

from dsbs_jax.errors import UserError
from dsbs_jax.student.config import T5Config
from dsbs_jax.student.network import parameter_shapes
from dsbs_jax.weights import huggingface_config, huggingface_files, huggingface_names
from dsbs_jax.weights.huggingface_files import TensorFiles
from dsbs_jax.weights.huggingface_names import (
    EMBEDDING,
    EMBEDDING_COPIES,
    LM_HEAD,
    OUTPUT,
    SHARED,
    UNUSED,
    Tensor,
)
from dsbs_jax.weights.reader import Index, Shape, to_float32

# Rows of two matrices that are compared at a time.
_ROWS = 4096
# Transformers 4 writes files of at most this size.
SHARD_BYTES = 5_000_000_000


class HuggingFaceReader:
    """Reads the parameters of a Hugging Face model folder.

    The tensors decide whether the output layer is tied to the embedding, because
    Transformers 5 writes `tie_word_embeddings: true` for both kinds. The config decides
    whether the logits are scaled by D ** -0.5. The student is scaled if and only if it
    is tied, so the two other combinations become untied students:

        tensors   logits      student
        tied      scaled      tied
        untied    not scaled  untied
        tied      not scaled  untied, the output kernel is the embedding's transpose
        untied    scaled      untied, the output kernel includes the factor

    Attributes:
        location: The folder, for error messages.
        config: The student.
    """

    def __init__(self, folder: pathlib.Path, location: str | None = None) -> None:
        """Reads the configuration, and names and shapes of the tensors.

        Args:
            folder: The model folder.
            location: The name for error messages, if it is not the folder.

        Raises:
            UserError: The model has another architecture, or a tensor is missing, has a
                wrong shape or does not belong to a T5 of this configuration.
        """
        self.location = location or str(folder)
        config, scaled = huggingface_config.read_config(
            huggingface_files.read_config(folder),
            str(folder / huggingface_files.CONFIG),
        )
        self._files = huggingface_files.open_tensors(folder)
        shapes = self._files.shapes()
        # Some files hold the embedding only under another name.
        names = [name for name in (SHARED, *EMBEDDING_COPIES) if name in shapes]
        self._embedding = names[0] if names else SHARED
        tied = LM_HEAD not in shapes or _equal(self._files, LM_HEAD, self._embedding)
        self.config = dataclasses.replace(config, logits_via_embedding=tied and scaled)
        self._tensors = huggingface_names.tensors(self.config)
        self._tensors[EMBEDDING] = Tensor(self._embedding, transposed=False)
        if tied and not scaled:
            self._tensors[OUTPUT] = Tensor(self._embedding, transposed=True)
        self._output_factor = config.emb_dim**-0.5 if scaled and not tied else 1.0
        self._shapes = parameter_shapes(self.config)
        expected = {
            self._tensors[name].name: self._tensors[name].shape(shape)
            for name, shape in self._shapes.items()
        }
        self._check_expected(shapes, expected)
        self._check_others(shapes, expected)

    def _check_expected(
        self, shapes: Mapping[str, Shape], expected: Mapping[str, Shape]
    ) -> None:
        for name, shape in expected.items():
            if name not in shapes:
                place = self._files.listed_place(name)
                hint = f"; the index has it in {place}" if place else ""
                raise UserError(
                    f"{self.location}: tensor {name} is missing, expected shape "
                    f"{shape}{hint}"
                )
            if shapes[name] != shape:
                raise UserError(
                    f"{self._place(name)}: tensor {name} has shape {shapes[name]}, "
                    f"expected {shape}"
                )

    def _place(self, name: str) -> str:
        """Returns the file of a tensor, for error messages."""
        return f"{self.location}/{self._files.place(name)}"

    def _check_others(
        self, shapes: Mapping[str, Shape], expected: Mapping[str, Shape]
    ) -> None:
        """Refuses tensors that the student does not have, such as an adapter's."""
        known = expected.keys() | {LM_HEAD, *UNUSED}
        for name in sorted(shapes.keys() - known):
            if name not in EMBEDDING_COPIES:
                raise UserError(
                    f"{self._place(name)}: tensor {name} {shapes[name]} is not "
                    "expected: a T5 of this config.json does not have it"
                )
            if not _equal(self._files, name, self._embedding):
                raise UserError(
                    f"{self._place(name)}: tensor {name} {shapes[name]} differs from "
                    f"{self._embedding}, expected a copy of it"
                )

    def shapes(self) -> dict[str, Shape]:
        """Returns the shapes of all parameters; reads no array."""
        return dict(self._shapes)

    def read(self, name: str, index: Index = ()) -> np.ndarray:
        """Reads a parameter, or the part of it at `index`, as float32.

        Raises:
            UserError: The tensor does not hold floating point numbers.
        """
        tensor = self._tensors[name]
        # The part of a transposed tensor is at the transposed index.
        index = tuple(index)[::-1] if tensor.transposed else tuple(index)
        part = to_float32(
            self._files.read(tensor.name, index),
            f"{self._place(tensor.name)}: tensor {tensor.name}",
        )
        if name == OUTPUT:
            part = part * np.float32(self._output_factor)
        return part.T if tensor.transposed else part


def _equal(files: TensorFiles, left: str, right: str) -> bool:
    """Whether two matrices exist and are equal; reads some rows at a time."""
    shapes = files.shapes()
    if right not in shapes or shapes[left] != shapes[right] or not shapes[left]:
        return False
    end = shapes[left][0]
    for start in range(0, end, _ROWS):
        # A slice of a safetensors file must not end after its tensor.
        rows = (slice(start, min(start + _ROWS, end)),)
        if not np.array_equal(files.read(left, rows), files.read(right, rows)):
            return False
    return True


def write_model(
    folder: pathlib.Path,
    params: Mapping[str, np.ndarray],
    config: T5Config,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Writes a student into an empty folder, as a Hugging Face model.

    Args:
        folder: The model folder.
        params: Float32 arrays by parameter name, each used once, in their order.
        config: The student.
        shard_bytes: Size from which the weights are written to several files.
    """
    table, shapes = huggingface_names.tensors(config), parameter_shapes(config)
    names = {table[name].name: name for name in params}

    def read(tensor: str) -> np.ndarray:
        name = names[tensor]
        return params[name].T if table[name].transposed else params[name]

    huggingface_files.write(
        folder,
        huggingface_config.write_config(config),
        huggingface_config.generation_config(),
        {table[name].name: table[name].shape(shapes[name]) for name in params},
        read,
        shard_bytes,
    )
