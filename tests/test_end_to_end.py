"""Whole runs of a tiny student, from the project's gin files to its scores."""

import json

import gin
import jax
import numpy as np
import pytest

from dsbs_jax import cli
from dsbs_jax.local import checkpoints, inference, loop

RUN = {"TRAIN_STEPS": 30, "EVAL_PERIOD": 10, "LOG_PERIOD": 5}


@pytest.fixture(autouse=True)
def clean():
    yield
    gin.clear_config()


def train(tiny_settings, folder, method="step_by_step", **macros):
    files, bindings = tiny_settings(method, MODEL_DIR=str(folder), **macros)
    cli.configure(files, bindings)
    return loop.train()


def saved_state(folder):
    """Every array of a run's last checkpoint."""
    saved = checkpoints.Checkpoints(folder / "checkpoints")
    step, manager = saved.last, saved._manager
    restored = manager.restore(step)
    saved.close()
    return step, jax.tree.map(np.asarray, dict(restored.items()))


@pytest.fixture(scope="module")
def trained(tiny_settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "trained"
    results = train(tiny_settings, folder, **RUN)
    gin.clear_config()
    return folder, results


def test_losses_of_both_tasks_fall(trained):
    folder, _ = trained
    import tensorflow as tf

    values = {}
    for path in folder.glob("events.*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                values.setdefault(value.tag, []).append(
                    float(tf.make_ndarray(value.tensor))
                )
    for name in ("loss", "label_loss", "rationale_loss"):
        assert len(values[name]) == 6, sorted(values)
        assert values[name][-1] < 0.9 * values[name][0]
    assert values["learning_rate"][-1] < values["learning_rate"][0]
    assert len(values["validation/tiny_predict/accuracy"]) == 3


def test_results_are_there_by_name(trained):
    folder, results = trained
    assert json.loads((folder / "results.json").read_text()) == results
    assert results["mixture"] == "tiny_teacher_step_by_step"
    assert results["test_task"] == "tiny_predict"
    assert results["last"]["step"] == 30
    assert results["best"]["step"] in (10, 20, 30)
    for name in ("best", "last"):
        for split in ("validation", "test"):
            assert 0 <= results[name][split]["tiny_predict"]["accuracy"] <= 100
    validation = {n: results[n]["validation"]["tiny_predict"] for n in ("best", "last")}
    assert validation["best"]["accuracy"] >= validation["last"]["accuracy"]
    assert results["teacher_test"]["teacher"]["rows"] == 6


def test_every_prediction_is_written_down(trained):
    folder, results = trained
    for name in ("best", "last"):
        path = folder / f"predictions/test-{name}-tiny_predict.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert len(rows) == 6
        right = sum(row["correct"] for row in rows)
        accuracy = results[name]["test"]["tiny_predict"]["accuracy"]
        assert accuracy == pytest.approx(100 * right / 6)
        assert all(row["input"].startswith("predict: Jar") for row in rows)
    assert not list(folder.rglob("*.partial"))


def test_best_and_last_two_checkpoints_remain(trained):
    folder, results = trained
    found = {p.name for p in (folder / "checkpoints").glob("checkpoint_*")}
    steps = {results["best"]["step"], 20, 30}
    assert found == {f"checkpoint_{step}" for step in steps}


def test_written_config_repeats_the_run(trained, tmp_path):
    """The resolved config.gin alone, at another place, gives the same student."""
    folder, results = trained
    again = tmp_path / "again"
    cli.configure([str(folder / "config.gin")], [f"MODEL_DIR = {str(again)!r}"])
    repeated = loop.train()
    assert {**repeated, "seconds": 0} == {**results, "seconds": 0}
    assert_same_state(folder, again)


def assert_same_state(left, right):
    (step, a), (other, b) = saved_state(left), saved_state(right)
    assert step == other
    assert len(jax.tree.leaves(a)) > 20
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_finished_run_is_only_scored_again(trained, tiny_settings):
    folder, results = trained
    before = (folder / "checkpoints/checkpoint_30").stat().st_mtime_ns
    again = train(tiny_settings, folder, **RUN)
    assert {**again, "seconds": 0} == {**results, "seconds": 0}
    assert (folder / "checkpoints/checkpoint_30").stat().st_mtime_ns == before


def test_student_answers_new_inputs_with_its_own_rationale(trained, tmp_path):
    folder, _ = trained
    questions = tmp_path / "questions.jsonl"
    questions.write_text(
        '{"input": "Jar 99: 8 red, 2 blue marbles.", "id": "q", "note": 5}\n'
        '{"input": "Jar 98: 1 red, 2 blue marbles."}\n'
    )
    macros = {
        "CHECKPOINT_PATH": str(folder),
        "INPUT_FILE": str(questions),
        "OUTPUT_FILE": str(tmp_path / "answers.jsonl"),
        "RATIONALE": True,
        "RATIONALE_LENGTH": 12,
    }
    cli.configure(
        ["local/infer.gin", str(folder / "config.gin")],
        [f"{name} = {value!r}" for name, value in macros.items()],
    )
    inference.infer()
    lines = (tmp_path / "answers.jsonl").read_text().splitlines()
    first, second = map(json.loads, lines)
    assert set(first) == {"input", "id", "note", "label", "score", "rationale"}
    assert (first["id"], first["note"]) == ("q", 5)
    assert second["id"] == "questions-2"
    for row in (first, second):
        assert row["score"] < 0
        assert isinstance(row["rationale"], str) and isinstance(row["label"], str)


def test_checkpoint_is_scored_as_the_run_scored_it(trained, tmp_path):
    folder, results = trained
    macros = {"CHECKPOINT_PATH": str(folder), "EVAL_OUTPUT_DIR": str(tmp_path / "e")}
    cli.configure(
        ["local/eval.gin", str(folder / "config.gin")],
        [f"{name} = {value!r}" for name, value in macros.items()],
    )
    scores = inference.evaluate()
    assert scores == results["best"]["test"]
    assert json.loads((tmp_path / "e/scores.json").read_text()) == scores


@pytest.mark.parametrize(
    ("method", "mixture"),
    [
        ("finetune", "tiny_finetune"),
        ("single_task", "tiny_teacher_single_task"),
    ],
)
def test_methods_take_two_steps(tiny_settings, tmp_path, method, mixture):
    results = train(tiny_settings, tmp_path / "run", method)
    assert results["mixture"] == mixture
    assert results["last"]["step"] == 2


def test_packed_parts_with_adafactor(tiny_settings, tmp_path):
    files, bindings = tiny_settings(
        MODEL_DIR=str(tmp_path / "run"), PACK=True, NUM_MICROBATCHES=2, BATCH_SIZE=4
    )
    cli.configure(
        files,
        [
            *bindings,
            "OPTIMIZER = @optimizers.adafactor()",
            "SCHEDULE = @optax.constant_schedule()",
        ],
    )
    assert loop.train()["last"]["step"] == 2


def test_student_starts_from_another_runs_parameters(trained, tiny_settings, tmp_path):
    folder, results = trained
    run = tmp_path / "run"
    train(
        tiny_settings,
        run,
        INITIAL_CHECKPOINT_PATH=str(folder / "checkpoints/checkpoint_30"),
        LEARNING_RATE=0.0,
    )
    (_, start), (step, end) = saved_state(folder), saved_state(run)
    assert step == 2
    jax.tree.map(np.testing.assert_array_equal, start["params"], end["params"])
