"""Trackers write with their real libraries to local files."""

import json
import re
import sys
import time

import pytest

from dsbs_jax.errors import UserError
from dsbs_jax.local import trackers
from support import tracked

NEEDS_WANDB = "needs the extra `wandb`"
NEEDS_MLFLOW = "needs the extra `mlflow`"
SETTINGS = {"ALPHA": 0.5, "METHOD": "step_by_step", "PACK": False}


@pytest.fixture(autouse=True)
def local_stores(monkeypatch, tmp_path):
    """Keeps the libraries' files in the test's folder."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)  # MLflow writes artifacts to ./mlruns


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "own").mkdir()
    return tmp_path / "own"


def write(names, folder, steps, settings=SETTINGS):
    writer = trackers.open_writer(names, folder)
    writer.write_hparams(settings)
    for step in steps:
        writer.write_scalars(step, {"loss": 1 / step, "validation/jars/accuracy": 50.0})
    writer.write_texts(steps[-1], {"results.txt": "a <b>"})
    writer.flush()
    writer.close()


def test_tensorboard_gets_scalars_texts_and_settings(folder):
    write(["tensorboard"], folder, [1, 2])
    events = tracked.tensorboard_events(folder)
    losses = [e.step for e in events.Tensors("loss")]
    assert losses == [1, 2]
    (text,) = events.Tensors("results.txt")
    assert text.tensor_proto.string_val == [b"a <b>"]
    assert "ALPHA" in str(events.SummaryMetadata("_hparams_/session_start_info"))


@pytest.mark.slow
def test_wandb_gets_scalars_texts_and_settings(folder):
    pytest.importorskip("wandb", reason=NEEDS_WANDB)
    write(["wandb"], folder, [1, 2])
    rows, settings = tracked.wandb_history(folder)
    losses = [(row["step"], row["loss"]) for row in rows if "loss" in row]
    assert losses == [(1, 1.0), (2, 0.5)]
    assert rows[0]["validation/jars/accuracy"] == 50.0
    assert settings.items() >= SETTINGS.items()
    (page,) = folder.glob("wandb/offline-run-*/files/media/html/*.html")
    assert "<pre>a &lt;b&gt;</pre>" in page.read_text()


@pytest.mark.slow
def test_wandb_continues_a_run_that_repeats_steps(folder):
    pytest.importorskip("wandb", reason=NEEDS_WANDB)
    write(["wandb"], folder, [1, 2, 3])
    time.sleep(1.1)  # wandb names its files by the second
    write(["wandb"], folder, [2, 3, 4], {**SETTINGS, "ALPHA": 0.7})
    runs = json.loads((folder / "trackers.json").read_text())
    ids = {r.run.run_id for r in tracked.wandb_records(folder) if r.run.run_id}
    assert ids == {runs["wandb"]}
    rows, settings = tracked.wandb_history(folder)
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 2, 3, 4]
    assert settings["ALPHA"] == 0.7


@pytest.mark.slow
def test_mlflow_gets_scalars_texts_and_settings(folder, tmp_path):
    mlflow = pytest.importorskip("mlflow", reason=NEEDS_MLFLOW)
    many = {f"SETTING_{number}": number for number in range(150)}
    write(["mlflow"], folder, [1, 2], {**SETTINGS, **many})
    client = mlflow.MlflowClient()
    (experiment,) = client.search_experiments(filter_string="name = 'dsbs_jax'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("own", "FINISHED")
    expected = {"ALPHA": "0.5", "METHOD": "step_by_step", "PACK": "False"}
    assert run.data.params.items() >= expected.items()
    assert len(run.data.params) == 153
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(1, 1.0), (2, 0.5)]
    assert run.data.metrics["validation/jars/accuracy"] == 50.0
    (text,) = tmp_path.glob("mlruns/*/*/artifacts/results.txt")
    assert text.read_text() == "a <b>"


@pytest.mark.slow
def test_mlflow_continues_a_run(folder):
    mlflow = pytest.importorskip("mlflow", reason=NEEDS_MLFLOW)
    write(["mlflow"], folder, [1, 2])
    write(["mlflow"], folder, [2, 3], {**SETTINGS, "ALPHA": 0.7, "NEW": 1})
    client = mlflow.MlflowClient()
    run = client.get_run(json.loads((folder / "trackers.json").read_text())["mlflow"])
    history = client.get_metric_history(run.info.run_id, "loss")
    assert sorted({metric.step for metric in history}) == [1, 2, 3]
    assert (run.data.params["ALPHA"], run.data.params["NEW"]) == ("0.5", "1")
    assert run.data.tags["resumed/ALPHA"] == "0.7"
    assert run.info.status == "FINISHED"


@pytest.mark.slow
def test_runs_of_one_process_are_separate(tmp_path):
    mlflow = pytest.importorskip("mlflow", reason=NEEDS_MLFLOW)
    pytest.importorskip("wandb", reason=NEEDS_WANDB)
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    writers = [trackers.open_writer(["wandb", "mlflow"], folder) for folder in folders]
    for number, writer in enumerate(writers, 1):
        writer.write_scalars(number, {"loss": number})
    for failed, writer in zip((False, True), writers, strict=True):
        writer.close(failed=failed)
    client = mlflow.MlflowClient()
    for number, status in ((1, "FINISHED"), (2, "FAILED")):
        folder = folders[number - 1]
        rows, _ = tracked.wandb_history(folder)
        assert [row["loss"] for row in rows] == [number]
        runs = json.loads((folder / "trackers.json").read_text())
        run = client.get_run(runs["mlflow"])
        assert (run.data.metrics["loss"], run.info.status) == (number, status)


@pytest.mark.slow
def test_run_that_mlflow_does_not_have_is_an_error(folder):
    pytest.importorskip("mlflow", reason=NEEDS_MLFLOW)
    (folder / "trackers.json").write_text('{"mlflow": "0123"}')
    message = "mlflow cannot start: .*0123.*trackers.json names its run 0123, remove"
    with pytest.raises(UserError, match=message):
        trackers.open_writer(["mlflow"], folder)


def test_damaged_list_of_runs_is_an_error(folder):
    (folder / "trackers.json").write_text('{"mlflow": 3}')
    with pytest.raises(UserError, match="trackers.json: .*must be text.*remove"):
        trackers.open_writer(["tensorboard"], folder)


@pytest.mark.slow
def test_tracker_that_fails_is_not_used_any_more(folder, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason=NEEDS_MLFLOW)
    warnings = []
    monkeypatch.setattr(
        trackers.logging, "warning", lambda *args: warnings.append(args[0] % args[1:])
    )
    writer = trackers.open_writer(["mlflow", "tensorboard"], folder)
    run = json.loads((folder / "trackers.json").read_text())["mlflow"]
    mlflow.MlflowClient().delete_run(run)
    for step in (1, 2):
        writer.write_scalars(step, {"loss": 1.0})
    writer.close()
    (warning,) = warnings
    message = f"mlflow cannot be written: .*{run}.*; training continues without it"
    assert re.fullmatch(message, warning)
    losses = tracked.tensorboard_events(folder).Tensors("loss")
    assert [event.step for event in losses] == [1, 2]


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_missing_library_is_an_error_before_training(name, monkeypatch, tmp_path):
    # None in sys.modules makes an import fail as if the package were not installed.
    monkeypatch.setitem(sys.modules, name, None)
    message = re.escape(f"{name} is not installed: pip install 'dsbs-jax[{name}]'")
    with pytest.raises(UserError, match=message):
        trackers.check_installed(["tensorboard", name])


@pytest.mark.slow
def test_training_writes_curves_scores_settings_and_results(train_tiny, tmp_path):
    mlflow = pytest.importorskip("mlflow", reason=NEEDS_MLFLOW)
    names = ("tensorboard", "mlflow")
    folder = tmp_path / "jars"
    train_tiny(folder, TRACKERS=names, TRAIN_STEPS=2)
    train_tiny(folder, TRACKERS=names, TRAIN_STEPS=4)
    (run,) = mlflow.search_runs(experiment_names=["dsbs_jax"], output_format="list")
    client = mlflow.MlflowClient()
    losses = client.get_metric_history(run.info.run_id, "loss")
    events = tracked.tensorboard_events(folder)
    assert [m.step for m in losses] == [1, 2, 3, 4]
    assert [e.step for e in events.Tensors("loss")] == [1, 2, 3, 4]
    assert {
        "validation/tiny_predict/accuracy",
        "learning_rate",
    } <= run.data.metrics.keys()
    assert run.data.params["DATASET"] == "tiny"
    assert run.data.tags["resumed/TRAIN_STEPS"] == "4"
    (results,) = tmp_path.glob("mlruns/*/*/artifacts/results.txt")
    assert "student, last checkpoint (step 4)" in results.read_text()
