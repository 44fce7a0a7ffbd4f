"""Complete runs of a tiny student, from the project's gin files to its scores."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

from dsbs_jax import cli, eval, infer, train
from dsbs_jax.local import checkpoints
from dsbs_jax.local.config import EVAL_SETTINGS, INFER_SETTINGS, TRAIN_SETTINGS

RUN = {"TRAIN_STEPS": 30, "EVAL_PERIOD": 10, "LOG_PERIOD": 5}
VERSION_0_1 = pathlib.Path(__file__).parent / "fixtures/v0_1"


def run_eval(config, **macros):
    bindings = [f"{name} = {value!r}" for name, value in macros.items()]
    cli.configure(["local/eval.gin", str(config)], bindings, known=EVAL_SETTINGS)
    return eval.main()


def run_infer(config, **macros):
    bindings = [f"{name} = {value!r}" for name, value in macros.items()]
    cli.configure(["local/infer.gin", str(config)], bindings, known=INFER_SETTINGS)
    infer.main()


def read_rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def saved_state(folder):
    """Returns the step and every array of a run's last checkpoint."""
    saved = checkpoints.Checkpoints(folder / "checkpoints")
    step, manager = saved.last, saved._manager
    restored = manager.restore(step)
    saved.close()
    return step, jax.tree.map(np.asarray, dict(restored.items()))


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(train_tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "trained"
    return folder, train_tiny(folder, **RUN)


def test_losses_of_both_tasks_decrease(trained):
    folder, _ = trained
    import tensorflow as tf

    values = {}
    for path in folder.glob("events.*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                array = tf.make_ndarray(value.tensor)
                if array.ndim == 0 and array.dtype.kind == "f":  # no settings
                    values.setdefault(value.tag, []).append(float(array))
    for name in ("loss", "label_loss", "rationale_loss"):
        assert len(values[name]) == 6, sorted(values)
        assert values[name][-1] < 0.9 * values[name][0]
    assert values["learning_rate"][-1] < values["learning_rate"][0]
    assert len(values["validation/tiny_predict/accuracy"]) == 3


def test_results_hold_the_scores_of_best_and_last_checkpoint(trained):
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


def test_every_prediction_is_written(trained):
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


def test_best_and_last_two_checkpoints_are_kept(trained):
    folder, results = trained
    kept = {p.name for p in (folder / "checkpoints").glob("checkpoint_*")}
    steps = {results["best"]["step"], 20, 30}
    assert kept == {f"checkpoint_{step}" for step in steps}


def test_written_config_repeats_the_run(trained, tmp_path):
    """The config.gin of the run alone gives the same student in another folder."""
    folder, results = trained
    again = tmp_path / "again"
    cli.configure([str(folder / "config.gin")], [f"MODEL_DIR = {str(again)!r}"])
    repeated = train.main()
    assert {**repeated, "seconds": 0} == {**results, "seconds": 0}
    assert_same_state(folder, again)


def test_written_config_holds_every_setting(trained):
    folder, _ = trained
    cli.configure([str(folder / "config.gin")])
    infos = [i for cls in TRAIN_SETTINGS for i in cli.settings.settings_of(cls)]
    assert cli.values().keys() == {info.macro for info in infos}


def assert_same_state(left, right):
    (step, a), (other, b) = saved_state(left), saved_state(right)
    assert step == other
    assert len(jax.tree.leaves(a)) > 20
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_finished_run_is_only_scored_again(trained, train_tiny):
    folder, results = trained
    before = (folder / "checkpoints/checkpoint_30").stat().st_mtime_ns
    again = train_tiny(folder, **RUN)
    assert {**again, "seconds": 0} == {**results, "seconds": 0}
    assert (folder / "checkpoints/checkpoint_30").stat().st_mtime_ns == before


def test_student_labels_new_inputs_and_gives_rationales(trained, tmp_path):
    folder, _ = trained
    questions = tmp_path / "questions.jsonl"
    questions.write_text(
        '{"input": "Jar 99: 8 red, 2 blue marbles.", "id": "q", "note": 5}\n'
        '{"input": "Jar 98: 1 red, 2 blue marbles."}\n'
    )
    run_infer(
        folder / "config.gin",
        CHECKPOINT_PATH=str(folder),
        INPUT_FILE=str(questions),
        OUTPUT_FILE=str(tmp_path / "answers.jsonl"),
        RATIONALE=True,
        RATIONALE_LENGTH=12,
        # As on a machine to which only the run's folder was copied.
        DATA_FILES="no_such.jsonl",
    )
    first, second = read_rows(tmp_path / "answers.jsonl")
    assert set(first) == {
        *("input", "id", "note", "predicted_label", "log_probability"),
        *("probabilities", "predicted_rationale"),
    }
    assert (first["id"], first["note"]) == ("q", 5)
    assert second["id"] == "questions-2"
    for row in (first, second):
        assert row["log_probability"] < 0
        assert isinstance(row["predicted_rationale"], str)
        assert sum(row["probabilities"].values()) == pytest.approx(1)
        assert row["predicted_label"] in row["probabilities"]


def test_checkpoint_is_scored_as_the_run_scored_it(trained, tmp_path):
    folder, results = trained
    scores = run_eval(
        folder / "config.gin",
        CHECKPOINT_PATH=str(folder),
        EVAL_OUTPUT_DIR=str(tmp_path / "e"),
    )
    assert scores == results["best"]["test"]
    assert json.loads((tmp_path / "e/scores.json").read_text()) == scores


@pytest.mark.parametrize(
    ("method", "mixture"),
    [
        ("finetune", "tiny_finetune"),
        ("single_task", "tiny_teacher_single_task"),
        ("label_then_rationale", "tiny_teacher_label_then_rationale"),
        ("step_by_step_correct", "tiny_teacher_step_by_step_correct"),
        ("step_by_step_multi", "tiny_teacher_step_by_step_multi"),
        ("counterfactual", "tiny_teacher_counterfactual"),
        ("mutual_information", "tiny_teacher_mutual_information"),
    ],
)
def test_methods_train_two_steps(
    train_tiny, tiny_counterfactual_jsonl, tmp_path, method, mixture
):
    results = train_tiny(
        tmp_path / "run", method, DATA_FILES=str(tiny_counterfactual_jsonl)
    )
    assert results["mixture"] == mixture
    assert results["last"]["step"] == 2


def test_single_task_score_is_that_of_rationale_and_label(train_tiny, tmp_path):
    run = tmp_path / "run"
    train_tiny(run, "single_task")
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"input": "Jar 99: 8 red, 2 blue marbles."}\n')
    rows = []
    for rationale in (False, True):
        run_infer(
            run / "config.gin",
            CHECKPOINT_PATH=str(run),
            INPUT_FILE=str(questions),
            OUTPUT_FILE=str(tmp_path / "answers.jsonl"),
            RATIONALE=rationale,
        )
        rows += read_rows(tmp_path / "answers.jsonl")
    without, with_rationale = rows
    # Both parts come from one output, so asking for the rationale changes nothing else.
    assert isinstance(with_rationale.pop("predicted_rationale"), str)
    assert with_rationale == without


def test_packing_with_microbatches_and_adafactor(train_tiny, tmp_path):
    results = train_tiny(
        tmp_path / "run",
        PACK=True,
        NUM_MICROBATCHES=2,
        BATCH_SIZE=4,
        OPTIMIZER="adafactor",
        SCHEDULE="constant",
    )
    assert results["last"]["step"] == 2


def test_size_of_the_embedding_follows_from_the_vocabulary(train_tiny, tmp_path):
    run = tmp_path / "run"
    train_tiny(run, drop=["VOCAB_SIZE"])
    # 104 pieces and 100 sentinels, rounded up to a multiple of 128.
    assert "VOCAB_SIZE = 256\n" in (run / "config.gin").read_text()


def test_student_starts_from_the_parameters_of_another_run(
    trained, train_tiny, tmp_path
):
    folder, _ = trained
    run = tmp_path / "run"
    train_tiny(
        run,
        INITIAL_CHECKPOINT_PATH=str(folder / "checkpoints/checkpoint_30"),
        LEARNING_RATE=0.0,
    )
    (_, start), (step, end) = saved_state(folder), saved_state(run)
    assert step == 2
    jax.tree.map(np.testing.assert_array_equal, start["params"], end["params"])


def test_size_of_a_checkpoint_is_written_to_the_config(trained, train_tiny, tmp_path):
    folder, _ = trained
    run = tmp_path / "run"
    files = [
        "sizes/pretrained.gin",
        "methods/step_by_step.gin",
        "datasets/jsonl.gin",
    ]
    train_tiny(
        run,
        files=files,
        drop=list(TINY_SIZES),
        INITIAL_CHECKPOINT_PATH=str(folder),
    )
    cli.configure([str(run / "config.gin")])
    assert {name: cli.values()[name] for name in TINY_SIZES} == TINY_SIZES


TINY_SIZES = {
    "EMB_DIM": 16,
    "NUM_HEADS": 4,
    "HEAD_DIM": 4,
    "NUM_ENCODER_LAYERS": 1,
    "NUM_DECODER_LAYERS": 1,
    "MLP_DIM": 32,
    "VOCAB_SIZE": 256,
}


@pytest.fixture
def version_0_1(tmp_path, monkeypatch):
    """A run folder that version 0.1 wrote; the paths in its config.gin are relative."""
    shutil.unpack_archive(VERSION_0_1 / "run.zip", tmp_path)
    for name in ("tiny.jsonl", "tiny.model"):
        shutil.copy(VERSION_0_1 / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


def test_run_of_version_0_1_is_evaluated(version_0_1):
    results = json.loads((version_0_1 / "results.json").read_text())
    scores = run_eval("run/config.gin", CHECKPOINT_PATH="run", EVAL_OUTPUT_DIR="eval")
    assert scores == results["best"]["test"]
    stored = version_0_1 / "predictions/test-best-tiny_predict.jsonl"
    predictions = pathlib.Path("eval/test-checkpoint-tiny_predict.jsonl")
    assert read_rows(predictions) == read_rows(stored)


def test_run_of_version_0_1_labels_inputs(version_0_1):
    stored = read_rows(version_0_1 / "predictions/test-best-tiny_predict.jsonl")
    inputs = [row["input"].removeprefix("predict: ") for row in stored]
    questions = pathlib.Path("questions.jsonl")
    questions.write_text("".join(json.dumps({"input": t}) + "\n" for t in inputs))
    run_infer(
        "run/config.gin",
        CHECKPOINT_PATH="run",
        INPUT_FILE="questions.jsonl",
        OUTPUT_FILE="answers.jsonl",
        FREE_ANSWERS=True,
    )
    answers = read_rows(pathlib.Path("answers.jsonl"))
    labels = [row["predicted_label"] for row in answers]
    assert labels == [row["prediction"] for row in stored]


def test_run_of_version_0_1_is_resumed(version_0_1, capsys):
    cli.configure(["run/config.gin"], ["TRAIN_STEPS = 40"])
    results = train.main()
    assert results["steps"] == 40 and results["last"]["step"] == 40
    assert "Resuming from step 30 in run" in capsys.readouterr().out
