"""Names of a student's parameters in Hugging Face's `T5ForConditionalGeneration`.

The student's config alone determines which tensors a model has, so one table serves
reading and writing. Hugging Face stores the kernels of linear layers as [out, in]; the
student's are [in, out], as in T5X.
"""

from collections.abc import Iterator
from typing import NamedTuple

from dsbs_jax.student.config import T5Config
from dsbs_jax.weights.reader import Shape

EMBEDDING = "token_embedder/embedding"
OUTPUT = "decoder/logits_dense/kernel"
SHARED = "shared.weight"
LM_HEAD = "lm_head.weight"
# Copies of the embedding that some files also hold.
EMBEDDING_COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
# A bias in the first published files of T5 v1.0 that no model reads.
UNUSED = ("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",)


class Tensor(NamedTuple):
    """A parameter in a state dict.

    Attributes:
        name: Its key.
        transposed: Whether its two axes are in the other order than the student's.
    """

    name: str
    transposed: bool

    def shape(self, parameter: Shape) -> Shape:
        """Returns the tensor's shape for the shape of the student's parameter."""
        return parameter[::-1] if self.transposed else parameter


def tensors(config: T5Config) -> dict[str, Tensor]:
    """Returns the tensor of each of the student's parameters, by parameter name."""
    table = {EMBEDDING: Tensor(SHARED, transposed=False)}
    table.update(_stack("encoder", config.num_encoder_layers, config))
    table.update(_stack("decoder", config.num_decoder_layers, config))
    if not config.logits_via_embedding:
        table[OUTPUT] = Tensor(LM_HEAD, transposed=True)
    return table


class _Attention(NamedTuple):
    """Names of an attention block and of the norm before it."""

    name: str
    norm: str
    tensor: str


_ATTENTIONS = {
    "encoder": (_Attention("attention", "pre_attention_layer_norm", "SelfAttention"),),
    "decoder": (
        _Attention("self_attention", "pre_self_attention_layer_norm", "SelfAttention"),
        _Attention(
            "encoder_decoder_attention",
            "pre_cross_attention_layer_norm",
            "EncDecAttention",
        ),
    ),
}


def _stack(stack: str, layers: int, config: T5Config) -> Iterator[tuple[str, Tensor]]:
    # A bias that the layers of a stack share is in the first one at Hugging Face.
    if not config.relative_bias_in_layers:
        yield f"{stack}/relpos_bias/rel_embedding", _relative_bias(stack, 0)
    for number in range(layers):
        yield from _layer(stack, number, config)
    norm = f"{stack}.final_layer_norm.weight"
    yield f"{stack}/{stack}_norm/scale", Tensor(norm, transposed=False)


def _relative_bias(stack: str, layer: int) -> Tensor:
    attention = f"{stack}.block.{layer}.layer.0.SelfAttention"
    return Tensor(f"{attention}.relative_attention_bias.weight", transposed=True)


def _layer(stack: str, number: int, config: T5Config) -> Iterator[tuple[str, Tensor]]:
    """Yields a layer's parameters; Hugging Face numbers its blocks and their norms."""
    ours = f"{stack}/layers_{number}"
    if config.relative_bias_in_layers:
        yield f"{ours}/relpos_bias/rel_embedding", _relative_bias(stack, number)
    attentions = _ATTENTIONS[stack]
    for block, attention in enumerate(attentions):
        theirs = f"{stack}.block.{number}.layer.{block}"
        for kernel in ("query", "key", "value", "out"):
            name = f"{theirs}.{attention.tensor}.{kernel[0]}.weight"
            yield f"{ours}/{attention.name}/{kernel}/kernel", Tensor(name, True)
        norm = Tensor(f"{theirs}.layer_norm.weight", transposed=False)
        yield f"{ours}/{attention.norm}/scale", norm
    theirs = f"{stack}.block.{number}.layer.{len(attentions)}"
    gated = len(config.mlp_activations) > 1
    for kernel in (*(("wi_0", "wi_1") if gated else ("wi",)), "wo"):
        name = f"{theirs}.DenseReluDense.{kernel}.weight"
        yield f"{ours}/mlp/{kernel}/kernel", Tensor(name, transposed=True)
    norm = Tensor(f"{theirs}.layer_norm.weight", transposed=False)
    yield f"{ours}/pre_mlp_layer_norm/scale", norm


def from_flax_name(path: tuple[str, ...]) -> Tensor:
    """Translates a path in a `flax_model.msgpack` to the state dict's tensor.

        ("lm_head", "kernel") -> Tensor("lm_head.weight", transposed=True)

    Args:
        path: The keys that lead to the array.

    Returns:
        The tensor; `transposed` compares the Flax file with the state dict, because
        Flax stores kernels as [in, out].
    """
    *modules, leaf = path
    renamed = "weight" if leaf in ("kernel", "embedding") else leaf
    return Tensor(".".join([*modules, renamed]), leaf == "kernel")
