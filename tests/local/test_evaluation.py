import json

import jax
import numpy as np
import pytest

from dsbs_jax.data import registration
from dsbs_jax.data.features import VOCABULARY
from dsbs_jax.data.records import Record
from dsbs_jax.errors import UserError
from dsbs_jax.local import evaluation
from dsbs_jax.local.partitioning import Partitioner
from dsbs_jax.student import decoding

RECORDS = {
    "train": [Record("t", "9 red", "red", "red", "all are red")],
    "test": [
        Record("a", "4 red, 2 blue marbles", "red", "red", "4 are more"),
        Record("b", "1 red, 2 blue", "blue", "red", "1 is more"),
        Record("c", "2 red", "red", None, None),
        Record("d", "5 green, 4 white marbles.", "green", "green", "5 are more"),
    ],
}
LENGTHS = {"inputs": 48, "targets": 48, "task_ids": 48}


@pytest.fixture
def scored(configure_tiny):
    """Registers the data; the vocabulary is set while a test runs."""
    configure_tiny(MODEL_DIR="x")
    if "scored_label" not in registration.TASKS:
        registration.register_records("scored", RECORDS)


class Oracle:
    """Stands for a predictor: answers by the colour of the input's first marble."""

    def __call__(self, params, inputs):
        texts = [VOCABULARY.decode(row.tolist()) for row in inputs]
        answers = [text.removeprefix("predict: ").split()[1] for text in texts]
        rows = np.zeros((len(inputs), 8), np.int32)
        for row, answer in zip(rows, answers, strict=True):
            ids = [*VOCABULARY.encode(answer.strip(",.")), 1]
            row[: len(ids)] = ids
        return rows.tolist(), [0.0] * len(inputs)


def test_scores_and_predictions_are_of_the_same_rows(scored, tmp_path):
    scorer = evaluation.Scorer("scored_predict", "test", Oracle(), LENGTHS)
    scores = scorer(None, tmp_path, "step_3")
    # "b" holds more blue ones.
    assert scores == {"scored_predict": {"accuracy": 75.0}}
    path = tmp_path / "test-step_3-scored_predict.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows[1] == {
        "id": "b",
        "input": "predict: 1 red, 2 blue",
        "target": "blue",
        "prediction": "red",
        "correct": False,
    }
    assert [row["id"] for row in rows if row["correct"]] == ["a", "c", "d"]


def test_mixture_scores_its_label_task_alone(scored, tmp_path):
    scorer = evaluation.Scorer("scored_teacher_step_by_step", "test", Oracle(), LENGTHS)
    scores = scorer(None, tmp_path, "best")
    assert evaluation.mean_accuracy(scores) == 75.0
    assert [path.name for path in tmp_path.iterdir()] == [
        "test-best-scored_predict.jsonl"
    ]


def test_long_targets_are_compared_whole(scored, tmp_path):
    lengths = {"inputs": 48, "targets": 2, "task_ids": 2}
    scorer = evaluation.Scorer("scored_label", "test", Oracle(), lengths)
    assert scorer(None, tmp_path, "x")["scored_label"]["accuracy"] == 75.0


def test_split_that_is_not_there_is_named(scored):
    with pytest.raises(UserError, match="no task with a 'validation' split"):
        evaluation.Scorer("scored_predict", "validation", Oracle(), LENGTHS)
    with pytest.raises(UserError, match="metric to score"):
        evaluation.Scorer("scored_teacher_rationale", "test", Oracle(), LENGTHS)


def test_teacher_is_scored_by_the_same_rule(scored):
    # "b" is wrong, "c" has no answer.
    assert evaluation.teacher_accuracy("scored_predict") == {
        "teacher": {"rows": 4, "unparsable": 1, "accuracy": 50.0}
    }
    assert evaluation.teacher_accuracy("scored_predict", "validation") == {}


@pytest.fixture(scope="module")
def student(make_model):
    model = make_model()
    tokens = np.ones((1, 2), np.int32)
    variables = jax.jit(model.init)(jax.random.key(0), tokens, tokens)
    return model, jax.tree.map(
        lambda box: box.unbox() if hasattr(box, "unbox") else box,
        variables["params"],
        is_leaf=lambda leaf: hasattr(leaf, "unbox"),
    )


def test_batches_and_padding_do_not_change_predictions(student):
    model, params = student
    rng = np.random.default_rng(0)
    inputs = [rng.integers(3, 32, size=n).astype(np.int32) for n in (5, 30, 9, 1, 12)]
    partitioner = Partitioner(1, jax.local_devices()[:1])
    predictor = evaluation.Predictor(model, evaluation.Decoder(4), partitioner, 2)
    tokens, scores = predictor(params, inputs)
    for row, found, score in zip(inputs, tokens, scores, strict=True):
        padded = np.zeros((1, 32), np.int32)
        padded[0, : len(row)] = row
        alone = decoding.greedy(model, params, padded, 4)
        assert found == alone.tokens[0].tolist()
        np.testing.assert_allclose(score, alone.log_probability[0], atol=1e-4)


@pytest.mark.parametrize("field", ["max_decode_length", "num_beams"])
def test_decoder_checks_its_fields(field):
    with pytest.raises(UserError, match=f"Decoder.{field} is 0"):
        evaluation.Decoder(**{field: 0})
