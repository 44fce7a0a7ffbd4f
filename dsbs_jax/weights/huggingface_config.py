"""Reads and writes the configuration files of a Hugging Face T5."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from dsbs_jax.errors import UserError
from dsbs_jax.settings import PositiveInt, type_text
from dsbs_jax.student.config import T5Config

_LAYER_NORM_EPSILON = 1e-6
# The start of the names of Transformers' classes, by model type.
_CLASSES = {"t5": "T5", "umt5": "UMT5"}
# Hugging Face's name of an MLP, and the activations of the student's.
_ACTIVATIONS = {"gated-gelu": ("gelu", "linear"), "relu": ("relu",)}


class _ConfigFile(msgspec.Struct):
    """The fields of `config.json` that are read; a default is T5's own."""

    # These decide that the model is a T5 which the student can compute.
    # mT5 has the tensors of T5 v1.1, and umT5 a position bias in every layer.
    model_type: Literal["t5", "mt5", "umt5"]
    vocab_size: PositiveInt
    d_model: PositiveInt
    num_heads: PositiveInt
    d_kv: PositiveInt
    num_layers: PositiveInt
    d_ff: PositiveInt
    # None: as many as in the encoder.
    num_decoder_layers: PositiveInt | None = None
    feed_forward_proj: Literal["gated-gelu", "relu"] = "relu"
    relative_attention_num_buckets: PositiveInt = 32
    relative_attention_max_distance: PositiveInt = 128
    layer_norm_epsilon: float = _LAYER_NORM_EPSILON
    decoder_start_token_id: Literal[0] = 0
    pad_token_id: Literal[0] = 0
    eos_token_id: Literal[1] = 1
    tie_word_embeddings: bool = True
    # None: the file is from Transformers 4.
    scale_decoder_outputs: bool | None = None


def read_config(values: Mapping[str, Any], location: str) -> tuple[T5Config, bool]:
    """Reads a `config.json`.

    Args:
        values: The file's object.
        location: The file, for error messages.

    Returns:
        The student, and whether its logits are scaled by D ** -0.5.

        The student is tied if `tie_word_embeddings` is true. The caller must check
        this against the tensors, because Transformers 5 writes true for every T5, and
        records the scale as `scale_decoder_outputs`. Transformers 4 does not write this
        key, and scales the logits if and only if the embedding is tied.

        The dropout rate is the default: it belongs to training, not to the weights.

    Raises:
        UserError: The model has another architecture, or a field is missing or wrong.
    """
    config = _decode(values, location)
    _check_values(config, location)
    scaled = config.scale_decoder_outputs
    if config.model_type == "mt5":
        scaled = False  # Transformers 5 writes no scale for mT5, and never scales
    student = T5Config(
        vocab_size=config.vocab_size,
        emb_dim=config.d_model,
        num_heads=config.num_heads,
        head_dim=config.d_kv,
        num_encoder_layers=config.num_layers,
        num_decoder_layers=config.num_decoder_layers or config.num_layers,
        mlp_dim=config.d_ff,
        mlp_activations=_ACTIVATIONS[config.feed_forward_proj],
        logits_via_embedding=config.tie_word_embeddings,
        relative_bias_in_layers=config.model_type == "umt5",
        relative_buckets=config.relative_attention_num_buckets,
        relative_max_distance=config.relative_attention_max_distance,
    )
    return student, config.tie_word_embeddings if scaled is None else scaled


def _decode(values: Mapping[str, Any], location: str) -> _ConfigFile:
    """Checks each field by itself, so that an error shows the field's value."""
    arguments = {}
    for field in msgspec.structs.fields(_ConfigFile):
        value = values.get(field.name, field.default)
        if value is msgspec.NODEFAULT:
            raise UserError(f"{location}: field {field.name!r} is missing")
        try:
            arguments[field.name] = msgspec.convert(value, field.type)
        except msgspec.ValidationError as error:
            raise UserError(
                f"{location}: {field.name} is {value!r:.80}, expected "
                f"{type_text(field.type)}"
            ) from error
    return _ConfigFile(**arguments)


def _check_values(config: _ConfigFile, location: str) -> None:
    epsilon = config.layer_norm_epsilon
    buckets = config.relative_attention_num_buckets
    distance = config.relative_attention_max_distance
    if epsilon != _LAYER_NORM_EPSILON:
        raise UserError(
            f"{location}: layer_norm_epsilon is {epsilon}, expected "
            f"{_LAYER_NORM_EPSILON}"
        )
    if buckets % 4:
        raise UserError(
            f"{location}: relative_attention_num_buckets is {buckets}, expected a "
            "multiple of 4"
        )
    if distance <= buckets:
        raise UserError(
            f"{location}: relative_attention_max_distance is {distance}, expected more "
            f"than relative_attention_num_buckets, {buckets}"
        )


def write_config(config: T5Config) -> dict[str, Any]:
    """Makes a `config.json` that gives the student's logits in Transformers 4 and 5.

    Transformers 4 reads the scale from `tie_word_embeddings`, Transformers 5 from
    `scale_decoder_outputs`; a student is scaled if and only if it is tied.
    """
    projections = {activations: name for name, activations in _ACTIVATIONS.items()}
    kind = "umt5" if config.relative_bias_in_layers else "t5"
    return {
        "architectures": [f"{_CLASSES[kind]}ForConditionalGeneration"],
        "model_type": kind,
        "is_encoder_decoder": True,
        "vocab_size": config.vocab_size,
        "d_model": config.emb_dim,
        "d_kv": config.head_dim,
        "d_ff": config.mlp_dim,
        "num_layers": config.num_encoder_layers,
        "num_decoder_layers": config.num_decoder_layers,
        "num_heads": config.num_heads,
        "feed_forward_proj": projections[config.mlp_activations],
        "relative_attention_num_buckets": config.relative_buckets,
        "relative_attention_max_distance": config.relative_max_distance,
        "layer_norm_epsilon": _LAYER_NORM_EPSILON,
        "dropout_rate": config.dropout_rate,
        "initializer_factor": 1.0,
        "tie_word_embeddings": config.logits_via_embedding,
        "scale_decoder_outputs": config.logits_via_embedding,
        **generation_config(),
        "use_cache": True,
        "torch_dtype": "float32",
    }


def generation_config() -> dict[str, Any]:
    """Makes a `generation_config.json` for greedy decoding."""
    return {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
