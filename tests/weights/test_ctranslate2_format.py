"""CTranslate2 models give the log-probabilities of the student."""

import importlib.util
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from dsbs_jax.errors import UserError
from dsbs_jax.student.config import T5Config
from dsbs_jax.student.network import Transformer
from dsbs_jax.weights import ctranslate2_format
from support.students import NETWORKS, VERSIONS, random_parameters

ctranslate2 = pytest.importorskip("ctranslate2", reason="needs the extra `serve`")

# Three heads of eight are wider than the model, as in T5 v1.1 small.
SIZE = {
    "vocab_size": 64,
    "emb_dim": 16,
    "num_heads": 3,
    "head_dim": 8,
    "mlp_dim": 32,
    "num_encoder_layers": 2,
    "num_decoder_layers": 3,
}
TOKENS = ["<pad>", "</s>", "<unk>", *(f"token{number}" for number in range(3, 64))]
# The second input is longer than the distance from which positions share a bias.
INPUTS = [[5, 9, 20, 33, 1], [*range(3, 60), *range(3, 60), *range(3, 60), 1]]
TARGETS = [[8, 9, 1], [30, 31, 1]]


@pytest.fixture(params=VERSIONS)
def student(request):
    config = T5Config(**SIZE, **VERSIONS[request.param])
    return config, random_parameters(config)


def log_probabilities(config, params):
    tree = traverse_util.unflatten_dict(params, sep="/")
    for source, target in zip(INPUTS, TARGETS, strict=True):
        logits = Transformer(config).apply(
            {"params": tree},
            encoder_input_tokens=jnp.array([source]),
            decoder_input_tokens=jnp.array([[0, *target[:-1]]]),
        )
        values = jax.nn.log_softmax(logits[0])
        yield [float(values[step, token]) for step, token in enumerate(target)]


def scores(folder):
    model = ctranslate2.Translator(str(folder), device="cpu", compute_type="default")
    texts = [[TOKENS[i] for i in row] for row in INPUTS]
    targets = [[TOKENS[i] for i in row[:-1]] for row in TARGETS]
    return [row.log_probs for row in model.score_batch(texts, targets)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("quantization", "tolerance"),
    [("float32", 1e-4), ("bfloat16", 0.1), ("int8", 0.3), ("int8_float32", 0.3)],
)
def test_log_probabilities_are_those_of_the_student(
    student, tmp_path, quantization, tolerance
):
    if quantization == "bfloat16":
        pytest.importorskip("torch", reason="CTranslate2 converts to bfloat16 with it")
    config, params = student
    before = {name: value.copy() for name, value in params.items()}
    folder = tmp_path / "model"
    ctranslate2_format.write_model(folder, params, config, TOKENS, quantization)
    expected = list(log_probabilities(config, params))
    np.testing.assert_allclose(scores(folder), expected, rtol=0, atol=tolerance)
    for name, value in params.items():
        np.testing.assert_array_equal(value, before[name])


def test_rows_without_an_id_have_a_text(tiny_vocabulary):
    from dsbs_jax.data import vocabulary

    words = vocabulary.load(str(tiny_vocabulary))
    tokens = ctranslate2_format.tokens_of(words, 256)
    assert len(set(tokens)) == len(tokens) == 256
    assert tokens[:3] == ["<pad>", "</s>", "<unk>"]


@pytest.mark.parametrize("quantization", ["bfloat16", "int8_bfloat16"])
def test_missing_torch_is_named(student, tmp_path, monkeypatch, quantization):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=f"{quantization} needs the package torch"):
        ctranslate2_format.write_model(
            tmp_path / "new", student[1], student[0], TOKENS, quantization
        )


def test_missing_package_is_named(student, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ctranslate2.specs", None)
    config, params = student
    with pytest.raises(UserError, match="pip install 'dsbs-jax"):
        ctranslate2_format.write_model(tmp_path / "new", params, config, TOKENS)
    assert not list(tmp_path.iterdir())


def test_a_bias_in_every_layer_is_refused(tmp_path):
    config = T5Config(**SIZE, **NETWORKS["umt5"])
    with pytest.raises(UserError, match="whose layers share a position bias"):
        ctranslate2_format.write_model(tmp_path / "model", {}, config, TOKENS)
    assert not (tmp_path / "model").exists()
