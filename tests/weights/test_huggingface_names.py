"""Names and configurations of Hugging Face, without files."""

import dataclasses
import json

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import traverse_util

from dsbs_jax.errors import UserError
from dsbs_jax.student.config import T5Config
from dsbs_jax.student.network import Transformer
from dsbs_jax.weights import huggingface_config, huggingface_names

REASON = "needs the extra `hf`"
# The published configurations, without fields that nothing reads.
V1_0_SMALL = {
    "architectures": ["T5WithLMHeadModel"],
    "d_ff": 2048,
    "d_kv": 64,
    "d_model": 512,
    "decoder_start_token_id": 0,
    "dropout_rate": 0.1,
    "eos_token_id": 1,
    "initializer_factor": 1.0,
    "is_encoder_decoder": True,
    "layer_norm_epsilon": 1e-06,
    "model_type": "t5",
    "n_positions": 512,
    "num_heads": 8,
    "num_layers": 6,
    "output_past": True,
    "pad_token_id": 0,
    "relative_attention_num_buckets": 32,
    "task_specific_params": {"summarization": {"num_beams": 4, "prefix": "summarize"}},
    "vocab_size": 32128,
}
V1_1_BASE = {
    "architectures": ["T5ForConditionalGeneration"],
    "d_ff": 2048,
    "d_kv": 64,
    "d_model": 768,
    "decoder_start_token_id": 0,
    "dropout_rate": 0.1,
    "eos_token_id": 1,
    "feed_forward_proj": "gated-gelu",
    "initializer_factor": 1.0,
    "is_encoder_decoder": True,
    "layer_norm_epsilon": 1e-06,
    "model_type": "t5",
    "num_decoder_layers": 12,
    "num_heads": 12,
    "num_layers": 12,
    "output_past": True,
    "pad_token_id": 0,
    "relative_attention_num_buckets": 32,
    "tie_word_embeddings": False,
    "vocab_size": 32128,
}
FLAN_LARGE = {
    **V1_1_BASE,
    "d_ff": 2816,
    "d_model": 1024,
    "n_positions": 512,
    "num_decoder_layers": 24,
    "num_heads": 16,
    "num_layers": 24,
    "relative_attention_max_distance": 128,
}
PUBLISHED = {
    "v1.0 small": (V1_0_SMALL, True, (512, 8, 64, 6, 6, 2048)),
    "v1.1 base": (V1_1_BASE, False, (768, 12, 64, 12, 12, 2048)),
    "flan large": (FLAN_LARGE, False, (1024, 16, 64, 24, 24, 2816)),
}
# The same kinds, small. Encoder and decoder have different depths, so that a test fails
# if they are confused.
SMALL = {"vocab_size": 40, "d_model": 12, "num_heads": 2, "d_kv": 5, "d_ff": 9}
KINDS = {
    "v1.0": {**V1_0_SMALL, **SMALL, "num_layers": 2},
    "v1.1": {**V1_1_BASE, **SMALL, "num_layers": 1, "num_decoder_layers": 2},
    "flan": {**FLAN_LARGE, **SMALL, "num_layers": 2, "num_decoder_layers": 1},
}


@pytest.fixture(params=KINDS)
def kind(request):
    values = KINDS[request.param]
    return huggingface_config.read_config(values, "config.json")[0], values


def shapes(config):
    """Returns the shapes of the student's parameters, by name."""
    tokens = jax.ShapeDtypeStruct((1, 2), np.int32)
    boxed = jax.eval_shape(Transformer(config).init, jax.random.key(0), tokens, tokens)
    flat = traverse_util.flatten_dict(nn.unbox(boxed)["params"], sep="/")
    return {path: leaf.shape for path, leaf in flat.items()}


def test_table_has_every_parameter_once(kind):
    config, _ = kind
    table = huggingface_names.tensors(config)
    assert table.keys() == shapes(config).keys()
    assert len({tensor.name for tensor in table.values()}) == len(table)


@pytest.mark.parametrize(
    ("path", "name", "transposed"),
    [
        ("token_embedder/embedding", "shared.weight", False),
        ("decoder/logits_dense/kernel", "lm_head.weight", True),
        (
            "encoder/relpos_bias/rel_embedding",
            "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
            True,
        ),
        (
            "encoder/layers_1/attention/value/kernel",
            "encoder.block.1.layer.0.SelfAttention.v.weight",
            True,
        ),
        (
            "decoder/layers_0/encoder_decoder_attention/key/kernel",
            "decoder.block.0.layer.1.EncDecAttention.k.weight",
            True,
        ),
        (
            "decoder/layers_0/pre_cross_attention_layer_norm/scale",
            "decoder.block.0.layer.1.layer_norm.weight",
            False,
        ),
        (
            "decoder/layers_0/mlp/wi_1/kernel",
            "decoder.block.0.layer.2.DenseReluDense.wi_1.weight",
            True,
        ),
        ("decoder/decoder_norm/scale", "decoder.final_layer_norm.weight", False),
    ],
)
def test_names_of_single_parameters(path, name, transposed):
    config, _ = huggingface_config.read_config(KINDS["flan"], "config.json")
    assert huggingface_names.tensors(config)[path] == (name, transposed)


@pytest.mark.slow
def test_names_and_shapes_equal_those_of_transformers(kind):
    transformers = pytest.importorskip("transformers", reason=REASON)
    pytest.importorskip("torch", reason=REASON)
    config, values = kind
    model = transformers.T5ForConditionalGeneration(transformers.T5Config(**values))
    theirs = {name: tuple(leaf.shape) for name, leaf in model.state_dict().items()}
    ours = {}
    for path, shape in shapes(config).items():
        name, transposed = huggingface_names.tensors(config)[path]
        ours[name] = shape[::-1] if transposed else shape
    copies = set(huggingface_names.EMBEDDING_COPIES)
    if config.logits_via_embedding:
        copies.add("lm_head.weight")
    assert copies == theirs.keys() - ours.keys()
    assert all(theirs[name] == ours["shared.weight"] for name in copies)
    assert ours == {name: theirs[name] for name in theirs if name not in copies}


def test_transformers_ignores_the_unused_tensor():
    transformers = pytest.importorskip("transformers", reason=REASON)
    pytest.importorskip("torch", reason=REASON)
    model = transformers.T5ForConditionalGeneration
    assert set(huggingface_names.UNUSED) <= set(
        model._keys_to_ignore_on_load_unexpected
    )


def test_names_of_flax_files(kind):
    """Flax files have `kernel` [in, out] for linear layers and `embedding` for tables.

    Norms have `weight`, as in PyTorch.
    """
    config, _ = kind
    for path, (name, transposed) in huggingface_names.tensors(config).items():
        *rest, _ = name.split(".")
        table = rest[-1] in ("shared", "relative_attention_bias")
        leaf = (
            "weight"
            if rest[-1].endswith("layer_norm")
            else ("embedding" if table else "kernel")
        )
        tensor = huggingface_names.from_flax_name((*rest, leaf))
        assert tensor == (name, leaf == "kernel"), path
        # The student's kernels are transposed like Flax's. Of the tables, only its
        # position bias is transposed.
        bias = rest[-1] == "relative_attention_bias"
        assert transposed == (tensor.transposed or bias), path


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configurations_are_read(name):
    values, tied, sizes = PUBLISHED[name]
    config, scaled = huggingface_config.read_config(values, "config.json")
    assert dataclasses.astuple(config)[:7] == (32128, *sizes)
    assert config.mlp_activations == (("relu",) if tied else ("gelu", "linear"))
    assert scaled == config.logits_via_embedding == tied
    assert (config.relative_buckets, config.relative_max_distance) == (32, 128)


@pytest.mark.parametrize(
    ("values", "tied", "scaled"),
    [
        # Transformers 4 scales if and only if it ties, which is the default.
        ({}, True, True),
        ({"tie_word_embeddings": True}, True, True),
        ({"tie_word_embeddings": False}, False, False),
        # Transformers 5 always writes that it ties, and the scale separately.
        ({"tie_word_embeddings": True, "scale_decoder_outputs": False}, True, False),
        ({"tie_word_embeddings": True, "scale_decoder_outputs": True}, True, True),
        ({"tie_word_embeddings": False, "scale_decoder_outputs": False}, False, False),
        ({"scale_decoder_outputs": False}, True, False),
    ],
)
def test_tied_and_scaled_in_both_generations(values, tied, scaled):
    others = {k: v for k, v in V1_1_BASE.items() if k != "tie_word_embeddings"}
    config, is_scaled = huggingface_config.read_config(
        {**others, **values}, "config.json"
    )
    assert (config.logits_via_embedding, is_scaled) == (tied, scaled)


@pytest.mark.parametrize("kind", KINDS, indirect=True)
def test_config_of_transformers_5_is_read(kind, tmp_path):
    transformers = pytest.importorskip("transformers", reason=REASON)
    config, values = kind
    transformers.T5Config(**values).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    student, scaled = huggingface_config.read_config(saved, "config.json")
    # Transformers 5 writes "tied" for every T5.
    assert student == dataclasses.replace(config, logits_via_embedding=True)
    assert scaled == config.logits_via_embedding


def other_student(**changes):
    fields = {
        "vocab_size": 50,
        "emb_dim": 12,
        "num_heads": 3,
        "head_dim": 5,
        "num_encoder_layers": 2,
        "num_decoder_layers": 4,
        "mlp_dim": 7,
        "relative_buckets": 8,
        "relative_max_distance": 20,
        "mlp_activations": ("gelu", "linear"),
        "logits_via_embedding": False,
    }
    return T5Config(**fields | changes)


@pytest.mark.parametrize(
    "config",
    [
        other_student(),
        other_student(mlp_activations=("relu",), logits_via_embedding=True),
        other_student(logits_via_embedding=True),
        other_student(mlp_activations=("relu",)),
    ],
)
def test_written_config_is_read_unchanged(config):
    written = json.loads(json.dumps(huggingface_config.write_config(config)))
    student, scaled = huggingface_config.read_config(written, "config.json")
    assert student == config
    assert scaled == config.logits_via_embedding


def test_transformers_reads_the_written_config(kind):
    transformers = pytest.importorskip("transformers", reason=REASON)
    config, _ = kind
    written = huggingface_config.write_config(config)
    theirs = transformers.T5Config(**written)
    assert theirs.scale_decoder_outputs == config.logits_via_embedding
    assert theirs.is_gated_act == (len(config.mlp_activations) == 2)
    assert theirs.dense_act_fn == ("gelu_new" if theirs.is_gated_act else "relu")
    ours = ("num_layers", "num_decoder_layers", "d_kv", "d_ff", "num_heads", "d_model")
    for name in (*ours, "vocab_size", "relative_attention_max_distance"):
        assert getattr(theirs, name) == written[name]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"model_type": "bert"}, "model_type is 'bert', expected 't5' or 'mt5' or"),
        ({"model_type": None}, "model_type is None, expected 't5' or 'mt5' or 'umt5'"),
        (
            {"feed_forward_proj": "gated-silu"},
            "feed_forward_proj is 'gated-silu', expected 'gated-gelu' or 'relu'",
        ),
        (
            {"feed_forward_proj": "gelu"},
            "feed_forward_proj is 'gelu', expected 'gated-gelu'",
        ),
        (
            {"feed_forward_proj": None},
            "feed_forward_proj is None, expected",
        ),
        (
            {"layer_norm_epsilon": 1e-5},
            "layer_norm_epsilon is 1e-05, expected 1e-06",
        ),
        (
            {"decoder_start_token_id": 2},
            "decoder_start_token_id is 2, expected 0",
        ),
    ],
)
def test_other_architecture_is_an_error(values, problem):
    with pytest.raises(UserError) as caught:
        huggingface_config.read_config({**V1_1_BASE, **values}, "some/config.json")
    assert str(caught.value).startswith(f"some/config.json: {problem}")


SIZES = ("vocab_size", "d_model", "num_heads", "d_kv", "num_layers", "d_ff")


@pytest.mark.parametrize("name", SIZES)
def test_missing_field_is_an_error(name):
    values = {key: value for key, value in V1_1_BASE.items() if key != name}
    with pytest.raises(UserError) as caught:
        huggingface_config.read_config(values, "some/config.json")
    assert str(caught.value) == f"some/config.json: field '{name}' is missing"


@pytest.mark.parametrize(
    "name",
    [
        "vocab_size",
        "num_heads",
        "num_decoder_layers",
        "d_model",
        "num_layers",
        "d_kv",
        "d_ff",
    ],
)
@pytest.mark.parametrize("value", ["12", 12.5, [12], -1])
def test_invalid_size_is_an_error(name, value):
    assert_error_names_field(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("relative_attention_num_buckets", 30),
        ("relative_attention_max_distance", 8),
        ("relative_attention_num_buckets", "32"),
        ("relative_attention_max_distance", "128"),
        ("feed_forward_proj", ["relu"]),
        ("num_heads", True),
        ("num_decoder_layers", 0),
        ("tie_word_embeddings", "false"),
        ("eos_token_id", 2),
        ("pad_token_id", 1),
    ],
)
def test_invalid_field_is_an_error(name, value):
    assert_error_names_field(name, value)


def assert_error_names_field(name, value):
    with pytest.raises(UserError) as caught:
        huggingface_config.read_config({**V1_1_BASE, name: value}, "some/config.json")
    message = str(caught.value)
    assert message.startswith("some/config.json: ")
    assert name in message
    assert repr(value) in message


def test_generation_config_has_the_ids_of_t5():
    ids = huggingface_config.generation_config()
    assert ids == {"decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
