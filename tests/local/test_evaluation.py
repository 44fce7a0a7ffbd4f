import json

import jax
import numpy as np
import pytest

from dsbs_jax.data import mixtures, vocabulary
from dsbs_jax.data.data_config import DataConfig
from dsbs_jax.errors import UserError
from dsbs_jax.local import evaluation
from dsbs_jax.local.config import DecodingConfig
from dsbs_jax.local.partitioning import Partitioner
from dsbs_jax.student import decoding

ROWS = {
    "train": [("t", "9 red", "red", "red", "all are red")],
    "test": [
        ("a", "4 red, 2 blue marbles", "red", "red", "4 are more"),
        ("b", "1 red, 2 blue", "blue", "red", "1 is more"),
        ("c", "2 red", "red", None, None),
        ("d", "5 green, 4 white marbles.", "green", "green", "5 are more"),
    ],
}
LENGTHS = {"inputs": 48, "targets": 48, "task_ids": 48}


@pytest.fixture(scope="module")
def data(build):
    return build(ROWS)


@pytest.fixture(scope="module")
def build(tiny_vocabulary, tmp_path_factory):
    def build(rows_of):
        return _build(rows_of, tmp_path_factory.mktemp("scored"), tiny_vocabulary)

    return build


def _build(rows_of, folder, tiny_vocabulary):
    for split, rows in rows_of.items():
        lines = []
        for name, text, label, teacher_label, rationale in rows:
            row = {"id": name, "input": text, "label": label}
            if teacher_label:
                row |= {"teacher_label": teacher_label, "rationale": rationale}
            lines.append(json.dumps(row) + "\n")
        (folder / f"{split}.jsonl").write_text("".join(lines))
    config = DataConfig(
        dataset="scored",
        method="step_by_step",
        data_files={split: str(folder / f"{split}.jsonl") for split in ROWS},
    )
    return mixtures.build(config, vocabulary.load(str(tiny_vocabulary)))


@pytest.fixture
def make_scorer(data):
    def make(task, split="test", lengths=LENGTHS, data=data):
        tasks = {t.name: t for t in data.mixture.tasks}
        provider = tasks.get(task, data.mixture)
        return evaluation.Scorer(provider, split, Oracle(data.vocabulary), lengths)

    return make


class Oracle:
    """Replaces a predictor: answers with the color of the input's first marble."""

    def __init__(self, vocabulary):
        self.vocabulary = vocabulary

    def __call__(self, params, inputs):
        texts = [self.vocabulary.decode(ids.tolist()) for ids in inputs]
        answers = [text.removeprefix("predict: ").split()[1] for text in texts]
        rows = np.zeros((len(inputs), 8), np.int32)
        for row, answer in zip(rows, answers, strict=True):
            ids = [*self.vocabulary.encode(answer.strip(",.")), 1]
            row[: len(ids)] = ids
        return rows.tolist(), [0.0] * len(inputs)


def test_scores_and_predictions_are_of_the_same_rows(make_scorer, tmp_path):
    scorer = make_scorer("scored_predict")
    scores = scorer(None, tmp_path, "step_3")
    # "b" has more blue marbles.
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


def test_any_of_several_answers_is_right(build, make_scorer, tmp_path):
    test = [(*row[:2], ["blue", "red"], *row[3:]) for row in ROWS["test"][:2]]
    data = build({"train": ROWS["train"], "test": [*test, *ROWS["test"][2:]]})
    scores = make_scorer("scored_predict", data=data)(None, tmp_path, "last")
    assert scores == {"scored_predict": {"accuracy": 100.0}}
    path = tmp_path / "test-last-scored_predict.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["target"] for row in rows] == ["blue", "blue", "red", "green"]
    assert [row.get("answers") for row in rows] == [["blue", "red"]] * 2 + [None] * 2
    # The teacher says "red", "red" and "green"; "c" has no answer.
    accuracy = evaluation.teacher_accuracy(data.test_task)["teacher"]["accuracy"]
    assert accuracy == 75.0


def test_only_the_label_task_of_a_mixture_is_scored(make_scorer, tmp_path):
    scorer = make_scorer("scored_teacher_step_by_step")
    scores = scorer(None, tmp_path, "best")
    assert evaluation.mean_accuracy(scores) == 75.0
    assert [path.name for path in tmp_path.iterdir()] == [
        "test-best-scored_predict.jsonl"
    ]


def test_targets_are_not_truncated(make_scorer, tmp_path):
    lengths = {"inputs": 48, "targets": 2, "task_ids": 2}
    scorer = make_scorer("scored_predict", lengths=lengths)
    assert scorer(None, tmp_path, "x")["scored_predict"]["accuracy"] == 75.0


def test_missing_split_or_metric_is_named(make_scorer):
    with pytest.raises(UserError, match="no task with a 'validation' split"):
        make_scorer("scored_predict", "validation")
    with pytest.raises(UserError, match="and a metric"):
        make_scorer("scored_teacher_rationale")


def test_a_split_without_labels_is_named(build, make_scorer):
    unlabeled = [("a", "4 red, 2 blue", None, "red", "4 are more")]
    data = build({**ROWS, "test": unlabeled})
    with pytest.raises(UserError, match="no test example: no row of test has the lab"):
        make_scorer("scored_predict", data=data)


def test_teacher_is_scored_with_the_same_metric(data):
    # "b" is wrong, "c" has no answer.
    assert evaluation.teacher_accuracy(data.test_task) == {
        "teacher": {"rows": 4, "unparsable": 1, "accuracy": 50.0}
    }
    assert evaluation.teacher_accuracy(data.test_task, "validation") == {}


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


@pytest.mark.slow
def test_batches_and_padding_do_not_change_predictions(student):
    model, params = student
    rng = np.random.default_rng(0)
    inputs = [rng.integers(3, 32, size=n).astype(np.int32) for n in (5, 30, 9, 1, 12)]
    partitioner = Partitioner(1, jax.local_devices()[:1])
    config = DecodingConfig(max_decode_length=4, batch_size=2)
    predictor = evaluation.Predictor(model, config, partitioner)
    tokens, scores = predictor(params, inputs)
    for row, ids, score in zip(inputs, tokens, scores, strict=True):
        padded = np.zeros((1, 32), np.int32)
        padded[0, : len(row)] = row
        alone = decoding.greedy(model, params, padded, 4)
        assert ids == alone.tokens[0].tolist()
        np.testing.assert_allclose(score, alone.log_probability[0], atol=1e-4)


@pytest.mark.parametrize("field", ["max_decode_length", "num_beams"])
def test_decoding_settings_are_checked(field):
    with pytest.raises(UserError, match=f"{field.upper()} is 0"):
        DecodingConfig(**{field: 0})
