import dataclasses
import types

import jax
import numpy as np
import pytest

from dsbs_jax.data import vocabulary
from dsbs_jax.local.config import DecodingConfig
from dsbs_jax.local.evaluation import Predictor
from dsbs_jax.local.input_batches import in_batches, padded_rows
from dsbs_jax.local.label_scorer import LabelScorer
from dsbs_jax.local.partitioning import Partitioner
from support.students import make_student


@pytest.fixture(scope="module")
def partitioner():
    return Partitioner(1, jax.local_devices()[:1])


@pytest.fixture(scope="module")
def student():
    return make_student(vocab_size=256, num_heads=4, head_dim=4)


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    lengths = (5, 30, 9, 1, 12, 7, 40, 3, 22)
    return [rng.integers(3, 200, size=n).astype(np.int32) for n in lengths]


@pytest.mark.parametrize(
    ("batch_size", "copies", "expected"),
    [
        (32, 1, {1, 2, 4, 8, 16, 32}),
        (24, 1, {1, 2, 4, 8, 16, 24}),
        (1, 1, {1}),
        (24, 4, {4, 8, 16, 24}),
    ],
)
def test_few_numbers_of_rows_are_compiled(batch_size, copies, expected):
    partitioner = types.SimpleNamespace(data_size=copies)
    counts = [padded_rows(n, batch_size, partitioner) for n in range(1, batch_size + 1)]
    assert set(counts) == expected
    for rows, count in enumerate(counts, start=1):
        assert rows <= count <= max(copies, 2 * rows) and count % copies == 0


def test_a_batch_has_no_more_rows_than_it_needs(partitioner, inputs):
    shapes = []

    def compute(tokens):
        shapes.append(tokens.shape)
        return tokens[:, 0]

    found = in_batches(compute, inputs, 4, partitioner)
    assert found == [ids[0] for ids in inputs]
    assert shapes == [(4, 40), (4, 16), (1, 8)]


@pytest.mark.slow
@pytest.mark.parametrize("beams", [1, 2])
def test_answers_do_not_depend_on_the_other_inputs_of_a_call(
    partitioner, student, inputs, beams
):
    model, params = student
    config = DecodingConfig(batch_size=8, max_decode_length=6, num_beams=beams)
    predictor = Predictor(model, config, partitioner)
    tokens, scores = predictor(params, inputs)
    for count in (1, 2, 3):
        for start in range(0, len(inputs), count):
            part = inputs[start : start + count]
            alone, alone_scores = predictor(params, part)
            assert alone == tokens[start : start + count]
            np.testing.assert_allclose(
                alone_scores, scores[start : start + count], rtol=1e-5
            )
    single = dataclasses.replace(config, batch_size=1)
    one_by_one, _ = dataclasses.replace(predictor, config=single)(params, inputs)
    assert one_by_one == tokens


@pytest.mark.slow
def test_label_scores_do_not_depend_on_the_other_inputs_of_a_call(
    partitioner, student, inputs, tiny_vocabulary
):
    model, params = student
    words = vocabulary.load(str(tiny_vocabulary))
    labels = ["red", "blue", "red jar", "white"]
    scorer = LabelScorer(model, labels, words, partitioner, 8, 16)
    together = scorer(params, inputs)
    alone = np.concatenate([scorer(params, [ids]) for ids in inputs])
    np.testing.assert_allclose(alone, together, rtol=1e-5)
    np.testing.assert_array_equal(alone.argmax(axis=1), together.argmax(axis=1))
