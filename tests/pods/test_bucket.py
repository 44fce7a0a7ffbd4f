"""T5X's runs in a bucket of an emulator of Google Cloud Storage."""

import json

import numpy as np
import pytest

pytest.importorskip("t5x", reason="T5X is not installed", exc_type=ImportError)

from dsbs_jax import cli, weights  # noqa: E402
from support import gcs_emulator  # noqa: E402

pytestmark = pytest.mark.scheduled

VOCABULARY = "gs://bucket/vocabularies/tiny.model"
CHECKPOINT = "gs://bucket/run/checkpoint_40"
# After forty steps the student's answers are labels.
TRAINING = {
    "EVAL_PERIOD": 20,
    "LOG_PERIOD": 20,
    "LEARNING_RATE": 0.01,
    "SCHEDULE": "constant",
}


@pytest.fixture(scope="module")
def bucket(tiny_vocabulary, tmp_path_factory):
    """An emulated bucket with the vocabulary."""
    with gcs_emulator.serve("bucket", tmp_path_factory.mktemp("server")) as bucket:
        bucket.upload(tiny_vocabulary, "vocabularies/tiny.model")
        yield bucket


@pytest.fixture(scope="module")
def run_t5x_command(bucket, pod_settings):
    """Runs one of T5X's commands; returns its log: (engine, **macros)."""

    def run(engine, **macros):
        files, bindings = pod_settings(engine, **macros)
        return bucket.run(
            *["-m", f"t5x.{engine}", f"--gin_search_paths={cli.config_dir()}"],
            *(f"--gin_file={file}" for file in files),
            *(f"--gin.{binding.replace(' = ', '=', 1)}" for binding in bindings),
        )

    return run


@pytest.fixture(scope="module")
def logs(run_t5x_command):
    """Trains gs://bucket/run to step 20 and then to step 40; returns the logs."""
    return [
        run_t5x_command(
            "train",
            MODEL_DIR="gs://bucket/run",
            VOCABULARY_PATH=VOCABULARY,
            TRAIN_STEPS=steps,
            **TRAINING,
        )
        for steps in (20, 40)
    ]


def test_a_resumed_run_has_the_weights_of_an_uninterrupted_one_in_a_folder(
    logs, bucket, run_t5x, tmp_path
):
    assert "Starting main loop over steps 0-20" in logs[0]
    assert "Starting main loop over steps 20-40" in logs[1]
    bucket.run(
        *["-m", "dsbs_jax.weights.convert", f"--checkpoint_path={CHECKPOINT}"],
        *[f"--output_dir={tmp_path / 'hf'}", f"--vocabulary_path={VOCABULARY}"],
    )
    run_t5x(MODEL_DIR=str(tmp_path / "run"), TRAIN_STEPS=40, **TRAINING)
    found = weights.open_checkpoint(str(tmp_path / "hf"))
    expected = weights.open_checkpoint(str(tmp_path / "run/checkpoint_40"))
    assert found.shapes() == expected.shapes()
    for name in expected.shapes():
        np.testing.assert_array_equal(found.read(name), expected.read(name))


def test_t5x_and_the_local_engine_give_equal_answers_from_the_bucket(
    logs, bucket, run_t5x_command, tiny_settings, tiny_jsonl, tmp_path
):
    run_t5x_command(
        "eval",
        CHECKPOINT_PATH=CHECKPOINT,
        EVAL_OUTPUT_DIR="gs://bucket/scores",
        VOCABULARY_PATH=VOCABULARY,
    )
    files, bindings = tiny_settings(VOCABULARY_PATH=VOCABULARY)
    settings = tmp_path / "config.gin"
    settings.write_text("\n".join(bindings))
    bucket.run(
        *["-m", "dsbs_jax.eval", "--gin_file=local/eval.gin"],
        *(f"--gin_file={file}" for file in [*files[:-1], settings]),
        f"--gin.CHECKPOINT_PATH={CHECKPOINT}",
        f"--gin.EVAL_OUTPUT_DIR={tmp_path / 'scores'}",
    )
    (path,) = tmp_path.glob("scores/**/*tiny_predict.jsonl")
    local = {row["input"]: row["prediction"] for row in _rows(path.read_bytes())}
    answers = {
        row["input"]["inputs_pretokenized"]: row["prediction"]
        for row in _rows(bucket.read("scores/inference_eval/tiny_predict-000040.jsonl"))
    }
    # T5X writes what the metric compares, which has no white space at its ends.
    assert answers == {text: answer.strip() for text, answer in local.items()}
    # The weights are those of step 40: after four steps all answers are sentinels.
    assert set(answers.values()) <= {
        row["label"] for row in _rows(tiny_jsonl.read_bytes())
    }


def _rows(content):
    return [json.loads(line) for line in content.splitlines()]
