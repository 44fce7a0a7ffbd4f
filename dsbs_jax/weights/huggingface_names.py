"""How Hugging Face's `T5ForConditionalGeneration` names and configures a student.

Its linear layers keep kernels as [out, in], ours are [in, out] as in T5X. Which
tensors a model has follows from the student's shape alone, so one table serves reading
and writing.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from dsbs_jax.errors import UserError
from dsbs_jax.student.config import T5Config

EMBEDDING = "token_embedder/embedding"
OUTPUT = "decoder/logits_dense/kernel"
# What our MLP is called there.
_ACTIVATIONS = {"gated-gelu": ("gelu", "linear"), "relu": ("relu",)}
_LAYER_NORM_EPSILON = 1e-6
# What every T5 has, and where left out has.
_FIXED = {
    "model_type": "t5",
    "layer_norm_epsilon": _LAYER_NORM_EPSILON,
    "decoder_start_token_id": 0,
    "pad_token_id": 0,
    "eos_token_id": 1,
}
# Our field: theirs, and what it is where left out.
_NUMBERS = {
    "vocab_size": ("vocab_size", None),
    "emb_dim": ("d_model", None),
    "num_heads": ("num_heads", None),
    "head_dim": ("d_kv", None),
    "num_encoder_layers": ("num_layers", None),
    "mlp_dim": ("d_ff", None),
    "relative_buckets": ("relative_attention_num_buckets", 32),
    "relative_max_distance": ("relative_attention_max_distance", 128),
}
# Copies that some files hold: of the embedding, and (in the first published files of
# v1.0) of a bias that no model ever read.
EMBEDDING_COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
UNUSED = ("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",)


class Tensor(NamedTuple):
    """A parameter as Hugging Face has it.

    Attributes:
        name: In the state dict.
        transposed: Whether its two axes are in the other order.
    """

    name: str
    transposed: bool


def tensors(config: T5Config) -> dict[str, Tensor]:
    """Each of the student's parameters, by its path parted by "/"."""
    found = {EMBEDDING: Tensor("shared.weight", False)}
    found.update(_stack("encoder", config.num_encoder_layers, config))
    found.update(_stack("decoder", config.num_decoder_layers, config))
    if not config.logits_via_embedding:
        found[OUTPUT] = Tensor("lm_head.weight", True)
    return found


def _stack(stack: str, layers: int, config: T5Config) -> Iterator[tuple[str, Tensor]]:
    attentions = [("attention", "attention", "SelfAttention")]
    if stack == "decoder":
        attentions = [
            ("self_attention", "self_attention", "SelfAttention"),
            ("encoder_decoder_attention", "cross_attention", "EncDecAttention"),
        ]
    gates = len(config.mlp_activations)
    kernels = ["wi"] if gates == 1 else [f"wi_{number}" for number in range(gates)]
    first = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    yield f"{stack}/relpos_bias/rel_embedding", Tensor(first, True)
    for number in range(layers):
        ours, theirs = f"{stack}/layers_{number}", f"{stack}.block.{number}.layer"
        for part, (name, norm, their_name) in enumerate(attentions):
            for kernel in ("query", "key", "value", "out"):
                their_kernel = f"{theirs}.{part}.{their_name}.{kernel[0]}.weight"
                yield f"{ours}/{name}/{kernel}/kernel", Tensor(their_kernel, True)
            their_norm = f"{theirs}.{part}.layer_norm.weight"
            yield f"{ours}/pre_{norm}_layer_norm/scale", Tensor(their_norm, False)
        part = len(attentions)
        for kernel in (*kernels, "wo"):
            their_kernel = f"{theirs}.{part}.DenseReluDense.{kernel}.weight"
            yield f"{ours}/mlp/{kernel}/kernel", Tensor(their_kernel, True)
        their_norm = f"{theirs}.{part}.layer_norm.weight"
        yield f"{ours}/pre_mlp_layer_norm/scale", Tensor(their_norm, False)
    final = Tensor(f"{stack}.final_layer_norm.weight", False)
    yield f"{stack}/{stack}_norm/scale", final


def from_flax_name(path: tuple[str, ...]) -> Tensor:
    """The tensor that a path in a `flax_model.msgpack` stands for.

    Returns:
        Its name in the state dict; `transposed` compares the file with the state dict.
    """
    *rest, leaf = path
    renamed = "weight" if leaf in ("kernel", "embedding") else leaf
    return Tensor(".".join([*rest, renamed]), leaf == "kernel")


def read_config(values: Mapping[str, Any], where: str) -> tuple[T5Config, bool]:
    """Reads a `config.json`.

    Args:
        values: The file's object.
        where: The file's name, for errors.

    Returns:
        The student, tied or not as far as the file says (the tensors decide) and with
        the default dropout, which is a setting of training and not of weights; and
        whether logits are scaled by D ** -0.5. The second is `scale_decoder_outputs`
        where it stands (Transformers 5), else `tie_word_embeddings` (Transformers 4).

    Raises:
        UserError: It is of another architecture, or a field is missing or wrong.
    """
    for name, expected in _FIXED.items():
        if values.get(name, None if name == "model_type" else expected) != expected:
            raise UserError(
                f"{where}: {name} is {values.get(name)!r}, expected {expected!r}"
            )
    projection = values.get("feed_forward_proj", "relu")
    if not isinstance(projection, str) or projection not in _ACTIVATIONS:
        raise UserError(
            f"{where}: feed_forward_proj is {projection!r}, expected one of "
            f"{', '.join(map(repr, _ACTIVATIONS))}"
        )
    fields = {
        ours: _number(values, name, where, default)
        for ours, (name, default) in _NUMBERS.items()
    }
    layers = values.get("num_decoder_layers")
    if layers is None:
        layers = values["num_layers"]
    fields["num_decoder_layers"] = _number(
        {"num_decoder_layers": layers}, "num_decoder_layers", where
    )
    tied = _flag(values, "tie_word_embeddings", where, True)
    scaled = _flag(values, "scale_decoder_outputs", where, tied)
    config = T5Config(
        **fields,
        mlp_activations=_ACTIVATIONS[projection],
        logits_via_embedding=tied,
    )
    return config, scaled


def _number(
    values: Mapping[str, Any], name: str, where: str, default: int | None = None
) -> int:
    value = values.get(name, default)
    if value is None:
        raise UserError(f"{where}: field {name!r} is missing")
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{where}: {name} is {value!r}, expected an integer from 1")
    if name == "relative_attention_num_buckets" and value % 4:
        raise UserError(f"{where}: {name} is {value!r}, expected a multiple of 4")
    buckets = values.get("relative_attention_num_buckets", 32)
    if name == "relative_attention_max_distance" and value <= buckets:
        raise UserError(f"{where}: {name} is {value!r}, expected more than {buckets}")
    return value


def _flag(values: Mapping[str, Any], name: str, where: str, default: bool) -> bool:
    value = values.get(name, default)
    if not isinstance(value, bool):
        raise UserError(f"{where}: {name} is {value!r}, expected true or false")
    return value


def write_config(config: T5Config) -> dict[str, Any]:
    """A `config.json` by which Transformers 4 and 5 give the student's logits."""
    projections = {activations: name for name, activations in _ACTIVATIONS.items()}
    return {
        "architectures": ["T5ForConditionalGeneration"],
        "model_type": "t5",
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
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
        "use_cache": True,
        "torch_dtype": "float32",
    }


def generation_config() -> dict[str, Any]:
    """A `generation_config.json` for greedy decoding."""
    return {"decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
