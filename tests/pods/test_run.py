"""Complete runs of T5X's binaries, compared with runs of the local engine."""

import json
import shutil

import jax
import numpy as np
import pytest
from flax.errors import ScopeParamShapeError

pytest.importorskip("t5x", reason="T5X is not installed", exc_type=ImportError)

from dsbs_jax import cli, weights  # noqa: E402
from dsbs_jax import eval as evaluate_command  # noqa: E402
from dsbs_jax.errors import UserError  # noqa: E402
from dsbs_jax.weights import convert  # noqa: E402

CURVES = ("loss", "label_loss", "rationale_loss", "learning_rate")


def _convert(checkpoint, path, form, **settings):
    convert.convert(
        convert.ConvertConfig(
            checkpoint_path=str(checkpoint),
            output_dir=str(path),
            format=form,
            **settings,
        )
    )


def parameters(path):
    source = weights.open_checkpoint(str(path))
    return {name: source.read(name) for name in source.shapes()}


def assert_same_parameters(actual, expected, atol=0.0):
    assert actual.keys() == expected.keys()
    for name, array in actual.items():
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=atol)


def steps_of(folder):
    return sorted(int(p.name.split("_")[1]) for p in folder.glob("checkpoint_*"))


@pytest.fixture(scope="module")
def start(train_tiny, tmp_path_factory):
    """Trains a student locally for a few steps; returns it as a T5X checkpoint."""
    folder = tmp_path_factory.mktemp("start")
    train_tiny(folder / "local", TRAIN_STEPS=20, EVAL_PERIOD=20)
    # Named like public checkpoints, after the last step of a long pretraining.
    path = folder / "checkpoint_1000000"
    _convert(folder / "local", path, "t5x")
    return path


@pytest.mark.slow
def test_fifty_steps_give_the_local_engines_curves(
    start, run_t5x, train_tiny, scalars, tmp_path
):
    macros = {
        "INITIAL_CHECKPOINT_PATH": str(start),
        "TRAIN_STEPS": 50,
        "EVAL_PERIOD": 25,
        "DROPOUT_RATE": 0.0,
        "RANDOM_SEED": 3,
        "LEARNING_RATE": 0.01,
    }
    results = train_tiny(tmp_path / "local", **macros)
    last, _ = run_t5x(MODEL_DIR=str(tmp_path / "pod"), NUM_MICROBATCHES=2, **macros)
    assert last == 50
    local, pod = scalars(tmp_path / "local"), scalars(tmp_path / "pod/train")
    for name in CURVES:
        assert list(local[name]) == list(pod[name]) == list(range(1, 51))
        np.testing.assert_allclose(
            list(pod[name].values()), list(local[name].values()), atol=1e-4, rtol=0
        )
    # The run is not trivial: the loss falls, and the learning rate decays to 0.
    assert local["loss"][50] < 0.9 * local["loss"][1]
    assert pod["learning_rate"][1] == pytest.approx(0.01)
    assert pod["learning_rate"][50] == pytest.approx(0.01 / 50, rel=1e-4)
    accuracies = scalars(tmp_path / "pod/inference_eval/tiny_predict")["eval/accuracy"]
    assert accuracies[50] == pytest.approx(
        results["last"]["validation"]["tiny_predict"]["accuracy"]
    )
    assert_same_parameters(
        parameters(tmp_path / "pod/checkpoint_50"),
        parameters(tmp_path / "local/checkpoints/checkpoint_50"),
        atol=1e-3,
    )


@pytest.fixture(scope="module")
def local_predictions(tiny_settings, start):
    """Returns the local engine's predictions for the test split and their accuracy."""
    folder = start.parent / "predictions"
    files, bindings = tiny_settings()
    scores = _evaluate_locally(files, bindings, start, folder)
    (path,) = folder.glob("**/*tiny_predict.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {row["input"]: row["prediction"] for row in rows}, scores


def _evaluate_locally(files, bindings, checkpoint, folder):
    cli.configure(
        [*files[:-1], "local/eval.gin"],
        [
            *bindings,
            f"CHECKPOINT_PATH = {str(checkpoint)!r}",
            f"EVAL_OUTPUT_DIR = {str(folder)!r}",
        ],
    )
    return evaluate_command.main()


def test_eval_gives_the_local_engines_score(
    start, local_predictions, run_t5x, tmp_path
):
    run_t5x(
        "eval", CHECKPOINT_PATH=str(start), EVAL_OUTPUT_DIR=str(tmp_path / "scores")
    )
    path = tmp_path / "scores/inference_eval/tiny_predict-metrics.jsonl"
    scores = json.loads(path.read_text().splitlines()[-1])
    expected = local_predictions[1]["tiny_predict"]["accuracy"]
    assert scores["accuracy"] == pytest.approx(expected)


def test_infer_gives_the_local_engines_predictions(
    start, local_predictions, run_t5x, tmp_path
):
    run_t5x(
        "infer", CHECKPOINT_PATH=str(start), INFER_OUTPUT_DIR=str(tmp_path / "answers")
    )
    (path,) = tmp_path.glob("answers/tiny_predict-*.jsonl-00000-of-00001")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    predictions = {
        row["inputs"]["inputs_pretokenized"]: row["prediction"] for row in rows
    }
    assert predictions == local_predictions[0] and len(set(predictions.values())) > 1
    assert all(row["aux"]["scores"] < 0 for row in rows)


def test_relative_paths_work(run_t5x, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    run_t5x(MODEL_DIR="pod")
    assert steps_of(tmp_path / "pod")[-1] == 2
    checkpoint = "pod/checkpoint_2"
    run_t5x("eval", CHECKPOINT_PATH=checkpoint, EVAL_OUTPUT_DIR="scores")
    assert (tmp_path / "scores/inference_eval/tiny_predict-metrics.jsonl").exists()
    run_t5x("infer", CHECKPOINT_PATH=checkpoint, INFER_OUTPUT_DIR="answers")
    assert len(list(tmp_path.glob("answers/tiny_predict-*.jsonl-00000-of-00001"))) == 1
    run_t5x(MODEL_DIR="next", INITIAL_CHECKPOINT_PATH=checkpoint, LEARNING_RATE=0.0)
    assert_same_parameters(
        parameters(tmp_path / "next/checkpoint_2"), parameters(tmp_path / checkpoint)
    )


def test_a_local_run_starts_from_a_t5x_checkpoint(start, run_t5x, train_tiny, tmp_path):
    macros = {"EVAL_PERIOD": 5, "DROPOUT_RATE": 0.0, "TRAIN_STEPS": 5}
    run_t5x(MODEL_DIR=str(tmp_path / "pod"), **macros)
    checkpoint = tmp_path / "pod/checkpoint_5"
    train_tiny(
        tmp_path / "local",
        INITIAL_CHECKPOINT_PATH=str(checkpoint),
        **{**macros, "LEARNING_RATE": 0.0},
    )
    assert_same_parameters(
        parameters(tmp_path / "local/checkpoints/checkpoint_5"), parameters(checkpoint)
    )


@pytest.mark.parametrize("form", ["t5x", "t5x_orbax"])
@pytest.mark.parametrize("scan", [False, True], ids=["layers", "scanned"])
def test_t5x_starts_from_every_format(start, form, scan, run_t5x, tmp_path):
    """The step, the optimizer and the relative steps start from 0."""
    path = tmp_path / "checkpoint_700"
    _convert(start, path, form, scan_layers=scan)
    last, state = run_t5x(
        extra_files=["t5x/scalable.gin"] if scan else [],
        MODEL_DIR=str(tmp_path / "pod"),
        INITIAL_CHECKPOINT_PATH=str(path),
        TRAIN_STEPS_RELATIVE=3,
        TRAIN_STEPS=100,
        EVAL_PERIOD=3,
        LEARNING_RATE=0.0,
    )
    assert last == int(state.step) == 3
    assert_same_parameters(parameters(tmp_path / "pod/checkpoint_3"), parameters(path))


@pytest.mark.parametrize("form", ["t5x", "t5x_orbax"])
@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"NUM_ENCODER_LAYERS": 2}, "student: encoder/layers_1/.* and 8 more"),
        ({"LOGITS_VIA_EMBEDDING": True}, "checkpoint: decoder/logits_dense/kernel; "),
        ({"extra_files": ["t5x/scalable.gin"]}, "student: decoder/decoder/.* more"),
    ],
    ids=["layers", "output", "scanned"],
)
def test_a_checkpoint_of_another_network_is_an_error(
    start, form, network, message, run_t5x, tmp_path
):
    path = tmp_path / "checkpoint_700"
    _convert(start, path, form)
    with pytest.raises(UserError, match=f"holds another network .* {message}"):
        run_t5x(
            MODEL_DIR=str(tmp_path / "pod"),
            INITIAL_CHECKPOINT_PATH=str(path),
            **network,
        )


@pytest.mark.parametrize("form", ["t5x", "t5x_orbax"])
def test_a_checkpoint_of_another_width_is_an_error(start, form, run_t5x, tmp_path):
    path = tmp_path / "checkpoint_700"
    _convert(start, path, form)
    with pytest.raises((ValueError, ScopeParamShapeError), match="16, (32|48)"):
        run_t5x(
            MODEL_DIR=str(tmp_path / "pod"),
            INITIAL_CHECKPOINT_PATH=str(path),
            MLP_DIM=48,
        )


def test_a_missing_checkpoint_is_an_error(run_t5x, tmp_path):
    with pytest.raises(AssertionError, match="checkpoint_5"):
        run_t5x(
            MODEL_DIR=str(tmp_path / "pod"),
            INITIAL_CHECKPOINT_PATH=str(tmp_path / "checkpoint_5"),
        )


def test_too_few_embedding_rows_are_an_error(run_t5x, tmp_path):
    with pytest.raises(UserError, match="VOCAB_SIZE is 128, expected at least .* 204"):
        run_t5x(MODEL_DIR=str(tmp_path), VOCAB_SIZE=128)


@pytest.mark.slow
def test_a_resumed_run_is_identical_to_an_uninterrupted_run(run_t5x, scalars, tmp_path):
    macros = {"EVAL_PERIOD": 2, "TRAIN_STEPS": 4, "RANDOM_SEED": 5, "DROPOUT_RATE": 0.1}
    uninterrupted, stopped = tmp_path / "uninterrupted", tmp_path / "stopped"
    _, expected = run_t5x(MODEL_DIR=str(uninterrupted), **macros)
    for step in steps_of(uninterrupted)[:-1]:
        name = f"checkpoint_{step}"
        shutil.copytree(uninterrupted / name, stopped / name)
    assert steps_of(stopped)[-1] == 2
    _, resumed = run_t5x(MODEL_DIR=str(stopped), **macros)
    jax.tree.map(np.testing.assert_array_equal, resumed.params, expected.params)
    losses = [scalars(folder / "train")["loss"] for folder in (uninterrupted, stopped)]
    assert list(losses[1]) == [3, 4]
    assert [losses[0][step] for step in (3, 4)] == list(losses[1].values())


def test_the_best_and_the_last_checkpoint_are_kept(run_t5x, scalars, tmp_path):
    run_t5x(MODEL_DIR=str(tmp_path), TRAIN_STEPS=40, EVAL_PERIOD=5, LEARNING_RATE=0.02)
    accuracies = scalars(tmp_path / "inference_eval/tiny_predict")["eval/accuracy"]
    before = {step: value for step, value in accuracies.items() if step < 40}
    best = max(before.values())
    kept = steps_of(tmp_path)
    assert kept[-1] == 40 and len(kept) <= 3, (kept, accuracies)
    assert any(before.get(step) == best for step in kept), (kept, accuracies)


def test_adafactor_and_a_method_without_rationales(run_t5x, scalars, tmp_path):
    """The loss of a task without examples is logged as 0, never NaN."""
    run_t5x(
        method="finetune",
        OPTIMIZER="adafactor",
        SCHEDULE="constant",
        MODEL_DIR=str(tmp_path),
        TRAIN_STEPS=4,
        EVAL_PERIOD=2,
    )
    logged = scalars(tmp_path / "train")
    assert list(logged["rationale_loss"].values()) == [0] * 4
    assert list(logged["learning_rate"].values()) == pytest.approx([0.003] * 4)
    assert logged["label_loss"][4] < logged["label_loss"][1]
    assert all(np.isfinite(list(values.values())).all() for values in logged.values())


@pytest.mark.slow
def test_the_scanned_network_trains_and_decodes(run_t5x, scalars, tmp_path):
    run_t5x(
        extra_files=["t5x/scalable.gin"],
        MODEL_DIR=str(tmp_path),
        TRAIN_STEPS=6,
        EVAL_PERIOD=3,
        NUM_MICROBATCHES=2,
        NUM_ENCODER_LAYERS=2,
        LEARNING_RATE=0.01,
    )
    losses = scalars(tmp_path / "train")["loss"]
    assert losses[6] < losses[1]
    assert scalars(tmp_path / "inference_eval/tiny_predict")["eval/accuracy"][6] >= 0


def test_steps_below_1_are_an_error(run_t5x, tmp_path):
    with pytest.raises(UserError, match="TRAIN_STEPS_RELATIVE is 0, expected 1"):
        run_t5x(MODEL_DIR=str(tmp_path), TRAIN_STEPS_RELATIVE=0)
