"""Tests of the methods on T5X, which has to do what the local engine does."""

import json

import numpy as np
import pytest

pytest.importorskip("t5x", reason="T5X is not installed", exc_type=ImportError)

from t5x import utils  # noqa: E402

from dsbs_jax import cli  # noqa: E402
from dsbs_jax.data import registration  # noqa: E402
from dsbs_jax.data.data_config import DataConfig  # noqa: E402
from dsbs_jax.data.feature_converter import DistillationFeatureConverter  # noqa: E402
from dsbs_jax.data.methods import METHODS, PRETRAIN  # noqa: E402
from dsbs_jax.errors import UserError  # noqa: E402
from dsbs_jax.local import datasets as local_datasets  # noqa: E402
from dsbs_jax.pods import datasets  # noqa: E402

SEED = 3
STEPS = 6
ON_T5X = [*(name for name, info in METHODS.items() if not info.paired), PRETRAIN]


@pytest.fixture(scope="module")
def all_fields(tiny_counterfactual_jsonl, tmp_path_factory):
    """Writes rows with the fields of all methods; returns DATA_FILES."""
    path = tmp_path_factory.mktemp("fields") / "tiny.jsonl"
    lines = tiny_counterfactual_jsonl.read_text().splitlines()
    with path.open("w") as file:
        for row in map(json.loads, lines):
            row["rationales"] = [row["rationale"], f"more are {row['label']}."]
            row["rationale_weights"] = [1.0, 0.25]
            file.write(json.dumps(row) + "\n")
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        "single_task",
        "label_then_rationale",
        "step_by_step_correct",
        "step_by_step_multi",
        "counterfactual",
    ],
)
def test_t5x_reads_the_local_engines_batches(method, tiny_data, all_fields):
    data = tiny_data(method, DATA_FILES=all_fields)
    expected = next(local_datasets.training_batches(data, 16, pack=False, seed=SEED))
    config = utils.DatasetConfig(
        mixture_or_task_name=registration.registered_mixture(
            cli.read(DataConfig), data.vocabulary
        ),
        task_feature_lengths=data.task_feature_lengths,
        split="train",
        batch_size=16,
        shuffle=True,
        seed=SEED,
    )
    dataset = datasets.get_dataset(config, 0, 1, DistillationFeatureConverter)
    batch = local_datasets.trim(next(dataset.as_numpy_iterator()))
    assert batch.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(batch[name], value)


@pytest.mark.scheduled
@pytest.mark.parametrize("method", ON_T5X)
def test_t5x_gives_the_local_engines_losses(
    method, all_fields, run_t5x, train_tiny, scalars, tmp_path
):
    macros = {
        "DATA_FILES": all_fields,
        "TRAIN_STEPS": STEPS,
        "EVAL_PERIOD": STEPS,
        "DROPOUT_RATE": 0.0,
        "RANDOM_SEED": SEED,
        "LEARNING_RATE": 0.01,
    }
    pod, local = tmp_path / "pod", tmp_path / "local"
    # By default T5X deletes the first checkpoint of pretraining.
    keep = "t5x.utils.SaveCheckpointConfig.keep = None"
    run_t5x(method=method, raw=[keep], MODEL_DIR=str(pod), **macros)
    macros["INITIAL_CHECKPOINT_PATH"] = str(pod / "checkpoint_0")
    train_tiny(local, method, **macros)
    losses, expected = scalars(pod / "train"), scalars(local)
    nothing = dict.fromkeys(range(1, STEPS + 1), 0.0)
    for name in ("loss", "label_loss", "rationale_loss", "learning_rate"):
        # Only T5X logs the loss of a task that the method does not have.
        wanted = expected.get(name, nothing)
        assert list(losses[name]) == list(wanted) == list(nothing)
        np.testing.assert_allclose(
            list(losses[name].values()), list(wanted.values()), atol=1e-4, rtol=0
        )
    assert losses["loss"][STEPS] < losses["loss"][1]


@pytest.mark.parametrize(
    ("engine", "folder"),
    [
        ("train", "MODEL_DIR"),
        ("eval", "EVAL_OUTPUT_DIR"),
        ("infer", "INFER_OUTPUT_DIR"),
    ],
)
def test_a_method_that_t5x_does_not_have_is_an_error(engine, folder, run_t5x, tmp_path):
    macros = {folder: str(tmp_path), "CHECKPOINT_PATH": str(tmp_path)}
    with pytest.raises(UserError, match="METHOD is 'mutual_information', .* for T5X"):
        run_t5x(engine, "mutual_information", **macros)
