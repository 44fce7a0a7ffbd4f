"""Weights of a student, wherever they come from.

`open_weights` takes the path of a run of this project (its best checkpoint) or one
checkpoint of it, of a T5X checkpoint in its native format or in Orbax's, or of a
Hugging Face folder; "hub:" and an id stands for a repository on the hub. Parameters are
known by their path in T5X's tree, parted by "/".
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import gin
import jax
import numpy as np
from etils import epath
from flax import traverse_util

from dsbs_jax.errors import UserError
from dsbs_jax.student.config import T5Config
from dsbs_jax.weights import huggingface_files
from dsbs_jax.weights import t5x_checkpoints as checkpoint_files
from dsbs_jax.weights.huggingface_files import HUB, Index
from dsbs_jax.weights.huggingface_names import EMBEDDING, OUTPUT
from dsbs_jax.weights.huggingface_reader import HuggingFaceSource


class Source(Protocol):
    """Weights that can be read.

    Attributes:
        where: Path, for errors.
    """

    where: str

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all parameters; no array is read."""

    def read(self, name: str, index: Index = ()) -> np.ndarray:
        """A parameter or a part of it, float32."""


def open_weights(path: str) -> Source:
    """Opens weights, of which no more than names and shapes is read yet.

    Raises:
        UserError: Nothing of a known format stands there, or it is damaged.
    """
    if path.startswith(HUB):
        repository = path.removeprefix(HUB)
        return HuggingFaceSource(huggingface_files.download(repository), path)
    folder = epath.Path(path)
    if huggingface_files.is_folder(folder):
        return HuggingFaceSource(folder)
    found = checkpoint_files.find(path)
    if found is not None:
        return found
    hint = ""
    if not folder.exists() and re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", path):
        hint = f" (of a Hugging Face repository, write {HUB}{path})"
    raise UserError(
        f"weights {path}: expected a run, a T5X checkpoint or a Hugging Face folder, "
        f"found {'none of them' if folder.exists() else 'nothing'}{hint}"
    )


def config_of(source: Source) -> T5Config:
    """The student that weights are of, as far as shapes tell.

    Distances of the relative position bias are T5's, which no published T5 changes.

    Raises:
        UserError: They are not the weights of a T5.
    """
    if isinstance(source, HuggingFaceSource):
        return source.config
    shapes = source.shapes()

    def shape(path: str, axes: int) -> tuple[int, ...]:
        found = shapes.get(path)
        if found is None or len(found) != axes:
            raise UserError(
                f"{source.where}: parameter {path} "
                + (f"has shape {found}" if found else "is missing")
                + f", expected one of {axes} axes"
            )
        return found

    gated = "encoder/layers_0/mlp/wi_0/kernel" in shapes
    heads, buckets = shape("encoder/relpos_bias/rel_embedding", 2)
    vocab_size, emb_dim = shape(EMBEDDING, 2)
    return T5Config(
        vocab_size=vocab_size,
        emb_dim=emb_dim,
        num_heads=heads,
        head_dim=shape("encoder/layers_0/attention/query/kernel", 2)[1] // heads,
        num_encoder_layers=_layers(shapes, "encoder"),
        num_decoder_layers=_layers(shapes, "decoder"),
        mlp_dim=shape("encoder/layers_0/mlp/wo/kernel", 2)[0],
        mlp_activations=("gelu", "linear") if gated else ("relu",),
        logits_via_embedding=OUTPUT not in shapes,
        relative_buckets=buckets,
    )


@gin.configurable
def student_config(
    *,
    checkpoint: str | None = None,
    vocab_size: int | None = None,
    emb_dim: int | None = None,
    num_heads: int | None = None,
    head_dim: int | None = None,
    num_encoder_layers: int | None = None,
    num_decoder_layers: int | None = None,
    mlp_dim: int | None = None,
    mlp_activations: Sequence[str] | None = None,
    logits_via_embedding: bool | None = None,
    dropout_rate: float = 0.1,
    dtype: str = "float32",
    remat: bool = False,
    scan: bool = False,
) -> T5Config:
    """The student that the settings describe; what they leave out, a checkpoint says.

    What was read takes the settings' place, so that those saved with a run are whole.

    Args:
        checkpoint: Weights, as `open_weights` takes them; not looked at where no field is
            left out.
        vocab_size: As in `T5Config`, and so are the others.
        emb_dim: None is "left out".
        num_heads: The same.
        head_dim: The same.
        num_encoder_layers: The same.
        num_decoder_layers: The same.
        mlp_dim: The same.
        mlp_activations: The same.
        logits_via_embedding: The same.
        dropout_rate: Of training; no checkpoint says it.
        dtype: Of activations.
        remat: Less memory for more work.
        scan: One layer is compiled for all.

    Raises:
        UserError: A field is left out and there is no checkpoint, the checkpoint is
            damaged, or it differs in a field that is set.
    """
    fields = {
        "vocab_size": vocab_size,
        "emb_dim": emb_dim,
        "num_heads": num_heads,
        "head_dim": head_dim,
        "num_encoder_layers": num_encoder_layers,
        "num_decoder_layers": num_decoder_layers,
        "mlp_dim": mlp_dim,
        "mlp_activations": mlp_activations and tuple(mlp_activations),
        "logits_via_embedding": logits_via_embedding,
    }
    left_out = [name for name, value in fields.items() if value is None]
    if left_out and not checkpoint:
        raise UserError(
            f"the student's {left_out[0]} is not set: give a gin file of sizes/, or "
            "INITIAL_CHECKPOINT_PATH with sizes/pretrained.gin"
        )
    if left_out:
        found = dataclasses.asdict(config_of(open_weights(checkpoint)))
        for name, value in fields.items():
            if value not in (None, found[name]):
                raise UserError(
                    f"{checkpoint}: {name} is {found[name]}, the settings say {value}"
                )
            fields[name] = found[name]
        with gin.unlock_config():
            for name in left_out:
                gin.bind_parameter(f"student_config.{name}", found[name])
    return T5Config(
        **fields, dropout_rate=dropout_rate, dtype=dtype, remat=remat, scan=scan
    )


def _layers(shapes: Mapping[str, tuple[int, ...]], stack: str) -> int:
    pattern = re.compile(rf"{stack}/layers_(\d+)/")
    return 1 + max((int(m[1]) for m in map(pattern.match, shapes) if m), default=-1)


def check_shapes(where: str, found: Mapping, expected: Mapping) -> None:
    """Compares weights with the student's.

    Raises:
        UserError: Names the first parameter that differs, and both shapes.
    """
    for path in sorted(found.keys() | expected.keys()):
        there, here = found.get(path, "none"), expected.get(path, "none")
        if there != here:
            raise UserError(
                f"{where}: parameter {path} has shape {there}, expected {here}; these "
                "are the weights of a student of another size"
            )


def load(source: Source, abstract_params: Any) -> Any:
    """Reads a student's parameters, each device its own part of them.

    Args:
        source: The weights.
        abstract_params: Shapes and shardings, as `jax.ShapeDtypeStruct`s.

    Raises:
        UserError: They are of another student, or damaged.
    """
    flat = traverse_util.flatten_dict(abstract_params, sep="/")
    check_shapes(
        source.where, source.shapes(), {path: leaf.shape for path, leaf in flat.items()}
    )
    read = {
        path: jax.make_array_from_callback(
            leaf.shape, leaf.sharding, lambda index, path=path: source.read(path, index)
        )
        for path, leaf in flat.items()
    }
    return traverse_util.unflatten_dict(read, sep="/")
