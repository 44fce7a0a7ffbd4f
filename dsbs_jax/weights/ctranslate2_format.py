"""Writes a student as a model of CTranslate2, an engine that decodes T5 fast on CPUs.

The student's parameters fill the model's specification. CTranslate2's own converter is
not used: it reads a transformers model, and scales the outputs of T5 v1.1 wrongly,
because transformers 5 reports that these models have tied embeddings.
"""

import importlib.util
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import seqio

from dsbs_jax.data import vocabulary
from dsbs_jax.errors import UserError
from dsbs_jax.student.config import T5Config
from dsbs_jax.weights import huggingface_names

Quantization = Literal["float32", "bfloat16", "int8", "int8_float32", "int8_bfloat16"]
# The model, in the folder of an exported student.
MODEL_FOLDER = "ctranslate2"


def write_model(
    folder: pathlib.Path,
    params: Mapping[str, np.ndarray],
    student: T5Config,
    tokens: Sequence[str],
    quantization: Quantization = "float32",
) -> None:
    """Creates a folder with a CTranslate2 model.

    Args:
        folder: The folder; it must not exist.
        params: Float32 arrays by parameter name.
        student: The student.
        tokens: The text of each row of the embedding (`tokens_of`).
        quantization: How the weights are stored. Float16 is not offered, because T5
            overflows in it.

    Raises:
        UserError: CTranslate2 is not installed; the student is a umT5; or the
            quantization has bfloat16, and torch, with which CTranslate2 converts to it,
            is not installed.
    """
    if "bfloat16" in quantization and importlib.util.find_spec("torch") is None:
        raise UserError(
            f"quantization {quantization} needs the package torch, which converts the "
            "weights to bfloat16: pip install torch, or use int8 or float32"
        )
    if student.relative_bias_in_layers:
        raise UserError(
            "format ctranslate2 is for students whose layers share a position bias; "
            "this student is a umT5, expected format hf, t5x, t5x_orbax or stablehlo"
        )
    weights = {
        # Copies in C order: CTranslate2 writes the memory, and quantizes it in place.
        tensor.name: np.array(
            params[name].T if tensor.transposed else params[name], order="C"
        )
        for name, tensor in huggingface_names.tensors(student).items()
    }
    spec = _specification(weights, student)
    spec.register_source_vocabulary(list(tokens))
    spec.register_target_vocabulary(list(tokens))
    padding, end, unknown = tokens[:3]
    spec.config.bos_token = spec.config.decoder_start_token = padding
    spec.config.eos_token, spec.config.unk_token = end, unknown
    spec.validate()
    spec.optimize(quantization=quantization)
    folder.mkdir()
    spec.save(str(folder))


def tokens_of(words: vocabulary.Vocabulary, rows: int) -> list[str]:
    """Returns a text for each row of the embedding, without repetition.

    Args:
        words: The vocabulary.
        rows: V, rows of the embedding. A row without an id gets a made-up text, and so
            does a byte.
    """
    if isinstance(words, seqio.ByteVocabulary):
        special = ["<pad>", "</s>", "<unk>"]
        return [*special, *(f"<row_{row}>" for row in range(len(special), rows))]
    pieces = [words.tokenizer.id_to_piece(number) for number in range(words.vocab_size)]
    return [*pieces, *(f"<row_{row}>" for row in range(len(pieces), rows))]


def _specification(weights: Mapping[str, np.ndarray], student: T5Config) -> Any:
    """Returns the filled specification; weights have Hugging Face's names."""
    try:
        from ctranslate2.specs import common_spec, transformer_spec
    except ImportError as error:
        raise UserError(
            "format ctranslate2 needs the package ctranslate2: pip install "
            "'dsbs-jax[serve]'"
        ) from error
    is_gated = len(student.mlp_activations) == 2
    spec = transformer_spec.TransformerSpec.from_config(
        (student.num_encoder_layers, student.num_decoder_layers),
        student.num_heads,
        pre_norm=True,
        # The tanh approximation of GELU, which T5 v1.1 was trained with.
        activation=(
            common_spec.Activation.GELUTanh if is_gated else common_spec.Activation.RELU
        ),
        ffn_glu=is_gated,
        relative_attention_bias=True,
        rms_norm=True,
    )
    _fill_stack(spec.encoder, "encoder", weights, student)
    _fill_stack(spec.decoder, "decoder", weights, student)
    embedding = weights[huggingface_names.SHARED]
    spec.encoder.embeddings[0].weight = embedding
    spec.decoder.embeddings.weight = embedding
    if student.logits_via_embedding:
        spec.decoder.projection.weight = embedding
        spec.decoder.scale_outputs = np.float32(student.emb_dim**-0.5)
    else:
        spec.decoder.projection.weight = weights[huggingface_names.LM_HEAD]
    return spec


def _fill_stack(
    spec: Any, stack: str, weights: Mapping[str, np.ndarray], student: T5Config
) -> None:
    spec.scale_embeddings = False
    spec.layer_norm.gamma = weights[f"{stack}.final_layer_norm.weight"]
    # All layers use the bias of the first layer.
    bias = weights[
        f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    ]
    for number, layer in enumerate(spec.layer):
        block = f"{stack}.block.{number}.layer"
        layer.self_attention.relative_attention_bias = bias
        layer.self_attention.relative_attention_max_distance = np.int32(
            student.relative_max_distance
        )
        _fill_attention(
            layer.self_attention, weights, f"{block}.0", "SelfAttention", ("qkv",)
        )
        if stack == "decoder":
            _fill_attention(
                layer.attention, weights, f"{block}.1", "EncDecAttention", ("q", "kv")
            )
        _fill_mlp(layer.ffn, weights, f"{block}.{2 if stack == 'decoder' else 1}")


def _fill_attention(
    spec: Any,
    weights: Mapping[str, np.ndarray],
    block: str,
    name: str,
    products: tuple[str, ...],
) -> None:
    """Fills an attention block; `products` are the projections in each product."""
    spec.queries_scale = 1.0  # T5 does not scale by the width of a head
    spec.layer_norm.gamma = weights[f"{block}.layer_norm.weight"]
    for linear, projections in zip(spec.linear, products, strict=False):
        parts = [weights[f"{block}.{name}.{letter}.weight"] for letter in projections]
        linear.weight = np.concatenate(parts)
    spec.linear[-1].weight = weights[f"{block}.{name}.o.weight"]


def _fill_mlp(spec: Any, weights: Mapping[str, np.ndarray], block: str) -> None:
    spec.layer_norm.gamma = weights[f"{block}.layer_norm.weight"]
    mlp = f"{block}.DenseReluDense"
    if f"{mlp}.wi.weight" in weights:
        spec.linear_0.weight = weights[f"{mlp}.wi.weight"]
    else:
        spec.linear_0.weight = weights[f"{mlp}.wi_0.weight"]
        spec.linear_0_noact.weight = weights[f"{mlp}.wi_1.weight"]
    spec.linear_1.weight = weights[f"{mlp}.wo.weight"]
