"""CTranslate2 answers as JAX does: the same student, inputs and labels."""

import dataclasses

import numpy as np
import pytest
from flax import traverse_util

from dsbs_jax.data import vocabulary
from dsbs_jax.engines.ctranslate2_engine import CTranslate2Engine
from dsbs_jax.engines.jax_engine import JaxEngine
from dsbs_jax.errors import UserError
from dsbs_jax.local.config import DecodingConfig
from dsbs_jax.local.input_batches import encode_inputs
from dsbs_jax.local.partitioning import Partitioner
from dsbs_jax.local.student_folder import StudentSpec
from dsbs_jax.student.config import T5Config
from support.students import VERSIONS, random_parameters

pytest.importorskip("ctranslate2", reason="needs the extra `serve`")
# Compiles the student for each length of the inputs.
pytestmark = pytest.mark.slow
LABELS = ("red", "blue", "dark red", "white")
TEXTS = ["Jar 3: 4 red, 8 white marbles.", "Jar 7", "8 blue</s>2 red " * 4]


class Reader:
    """The parameters of a student with random weights, as a checkpoint."""

    location = "random"

    def __init__(self, config):
        self.params = random_parameters(config)

    def shapes(self):
        return {name: value.shape for name, value in self.params.items()}

    def read(self, name, index=()):
        return self.params[name][index]


@pytest.fixture(scope="module", params=VERSIONS)
def student(request, tiny_vocabulary):
    """A spec, a vocabulary and the parameters."""
    words = vocabulary.load(str(tiny_vocabulary))
    config = T5Config(
        vocab_size=256,
        emb_dim=16,
        num_heads=3,
        head_dim=8,
        mlp_dim=32,
        num_encoder_layers=2,
        num_decoder_layers=3,
        **VERSIONS[request.param],
    )
    spec = StudentSpec(
        network=config,
        decoding=DecodingConfig(batch_size=2, max_decode_length=12),
        input_length=64,
        target_length=12,
        labels=LABELS,
    )
    return spec, words, Reader(config)


@pytest.fixture(scope="module")
def engines(student):
    spec, words, reader = student
    params = traverse_util.unflatten_dict(reader.params, sep="/")
    return [
        JaxEngine(spec, words, params, Partitioner(1)),
        CTranslate2Engine.from_checkpoint(reader, spec, words),
    ]


def encoded(student):
    spec, words, _ = student
    return encode_inputs(TEXTS, words, spec.input_length)


def test_generated_tokens_and_log_probabilities(student, engines):
    words = student[1]
    expected, theirs = (e.generate(encoded(student), 12) for e in engines)
    for ours, other in zip(expected[0], theirs[0], strict=True):
        assert words.decode(ours) == words.decode(other)
    np.testing.assert_allclose(theirs[1], expected[1], rtol=0, atol=1e-4)


def test_label_scores(student, engines):
    expected, theirs = (e.score_labels(encoded(student)) for e in engines)
    assert theirs.shape == (3, 4)
    np.testing.assert_allclose(theirs, expected, rtol=0, atol=1e-4)


def test_many_pairs_are_scored_in_several_calls(student, engines, monkeypatch):
    from dsbs_jax.engines import ctranslate2_engine

    whole = engines[1].score_labels(encoded(student))
    monkeypatch.setattr(ctranslate2_engine, "_PAIRS", 5)
    np.testing.assert_allclose(engines[1].score_labels(encoded(student)), whole)


def test_no_input(engines):
    for engine in engines:
        assert engine.generate([], 12) == ([], [])
        assert engine.score_labels([]).shape == (0, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ("red", "")}, "label '' is empty"),
        ({"decoding": DecodingConfig(num_beams=4)}, "NUM_BEAMS 4; the engine ctransla"),
    ],
)
def test_student_that_it_cannot_answer_for(student, changes, message):
    spec, words, reader = student
    with pytest.raises(UserError, match=message):
        CTranslate2Engine.from_checkpoint(
            reader, dataclasses.replace(spec, **changes), words
        )


def test_damaged_model(student, tmp_path):
    spec, words, _ = student
    (tmp_path / "model.bin").write_bytes(b"\0" * 100)
    with pytest.raises(UserError, match="CTranslate2 cannot read the model"):
        CTranslate2Engine(tmp_path, spec, words)
