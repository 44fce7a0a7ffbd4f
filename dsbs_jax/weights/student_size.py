"""The student that a checkpoint or the settings describe."""

import re
from collections.abc import Mapping
from typing import Any

from dsbs_jax.errors import UserError
from dsbs_jax.settings import settings_of
from dsbs_jax.student.config import SIZE_FIELDS, T5Config
from dsbs_jax.weights.huggingface_names import EMBEDDING, OUTPUT
from dsbs_jax.weights.huggingface_reader import HuggingFaceReader
from dsbs_jax.weights.opening import open_checkpoint
from dsbs_jax.weights.overlay import OverlayReader
from dsbs_jax.weights.reader import ParameterReader, Shape

_RELATIVE_BIAS = "encoder/relpos_bias/rel_embedding"
_LAYER_BIAS = "encoder/layers_0/relpos_bias/rel_embedding"
_QUERY = "encoder/layers_0/attention/query/kernel"
_MLP_OUTPUT = "encoder/layers_0/mlp/wo/kernel"
_GATE = "encoder/layers_0/mlp/wi_0/kernel"
_MACROS = {info.field: info.macro for info in settings_of(T5Config)}


def student_config(
    values: Mapping[str, Any],
    checkpoint: str | None = None,
    vocabulary_size: int | None = None,
) -> T5Config:
    """Builds the student's config from settings, a checkpoint and a vocabulary.

    Values that are set are used unchanged. Sizes that are not set come from the
    checkpoint. Without a checkpoint, VOCAB_SIZE comes from the vocabulary, and the
    other sizes must be set. If all sizes are set, the checkpoint is not read.

    Args:
        values: Settings of `T5Config` by macro name; None means not set.
        checkpoint: A checkpoint, as for `open_checkpoint`.
        vocabulary_size: Rows for the vocabulary, rounded up as for a new student.

    Raises:
        UserError: A size is not set and no checkpoint is given, the checkpoint is
            damaged, or a setting differs from the checkpoint.
    """
    fields = {
        info.field: values[info.macro]
        for info in settings_of(T5Config)
        if values.get(info.macro) is not None
    }
    missing = [
        info.field
        for info in settings_of(T5Config)
        if info.field in SIZE_FIELDS and info.required and info.field not in fields
    ]
    if missing and checkpoint:
        fields |= _checkpoint_sizes(checkpoint, fields)
    elif missing == ["vocab_size"] and vocabulary_size is not None:
        fields["vocab_size"] = vocabulary_size
    elif missing:
        raise UserError(
            f"{_MACROS[missing[0]]} is not set: add a gin file of sizes/, or set "
            "INITIAL_CHECKPOINT_PATH to take the size of its student"
        )
    return T5Config(**fields)


def _checkpoint_sizes(checkpoint: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the sizes of a checkpoint's student.

    Raises:
        UserError: A size in `fields` differs from the checkpoint's.
    """
    stored = config_of(open_checkpoint(checkpoint))
    for field in SIZE_FIELDS:
        value, expected = fields.get(field), getattr(stored, field)
        if field == "mlp_activations" and value is not None:
            value = tuple(value)
        if value is not None and value != expected:
            raise UserError(
                f"{_MACROS[field]} is {value!r}, expected {expected!r} as in "
                f"checkpoint {checkpoint}"
            )
    for field in ("relative_buckets", "relative_max_distance"):
        # These are not settings, and every published T5 has the same.
        value, expected = getattr(stored, field), getattr(T5Config, field)
        if value != expected:
            raise UserError(
                f"checkpoint {checkpoint}: {field} is {value}, expected {expected}"
            )
    return {field: getattr(stored, field) for field in SIZE_FIELDS}


def config_of(reader: ParameterReader) -> T5Config:
    """Derives the student's config from the shapes of a checkpoint's parameters.

    Shapes do not determine the maximum distance of the relative position bias; it is
    128, as in every published T5. A Hugging Face folder states it.

    Raises:
        UserError: The parameters are not from a T5.
    """
    if isinstance(reader, OverlayReader):
        return config_of(reader.base)
    if isinstance(reader, HuggingFaceReader):
        return reader.config
    shapes = reader.shapes()

    def matrix(name: str) -> Shape:
        shape = shapes.get(name)
        if shape is None or len(shape) != 2:
            problem = f"has shape {shape}" if shape else "is missing"
            raise UserError(
                f"{reader.location}: parameter {name} {problem}, expected the matrix "
                "of a T5"
            )
        return shape

    in_layers = _LAYER_BIAS in shapes
    num_heads, relative_buckets = matrix(_LAYER_BIAS if in_layers else _RELATIVE_BIAS)
    vocab_size, emb_dim = matrix(EMBEDDING)
    return T5Config(
        vocab_size=vocab_size,
        emb_dim=emb_dim,
        num_heads=num_heads,
        head_dim=matrix(_QUERY)[1] // num_heads,
        num_encoder_layers=_count_layers(shapes, "encoder"),
        num_decoder_layers=_count_layers(shapes, "decoder"),
        mlp_dim=matrix(_MLP_OUTPUT)[0],
        mlp_activations=("gelu", "linear") if _GATE in shapes else ("relu",),
        logits_via_embedding=OUTPUT not in shapes,
        relative_bias_in_layers=in_layers,
        relative_buckets=relative_buckets,
    )


def _count_layers(shapes: Mapping[str, Shape], stack: str) -> int:
    pattern = re.compile(rf"{stack}/layers_(\d+)/")
    return 1 + max((int(m[1]) for m in map(pattern.match, shapes) if m), default=-1)
