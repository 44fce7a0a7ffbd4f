import pytest

pytest.importorskip("t5x", reason="T5X is not installed", exc_type=ImportError)

from t5x import utils  # noqa: E402

from dsbs_jax.data import registration, vocabulary  # noqa: E402
from dsbs_jax.data.data_config import DataConfig  # noqa: E402
from dsbs_jax.errors import UserError  # noqa: E402
from dsbs_jax.pods import run_settings  # noqa: E402


def test_relative_steps_replace_steps():
    assert run_settings.total_steps(100) == 100
    assert run_settings.total_steps(100, 7) == 7


@pytest.mark.parametrize(("steps", "relative"), [(0, None), (100, -3)])
def test_steps_below_1_are_an_error(steps, relative):
    with pytest.raises(UserError, match="expected 1 or more"):
        run_settings.total_steps(steps, relative)


def test_a_relative_path_is_made_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert run_settings.absolute_path("runs/cqa") == str(tmp_path / "runs/cqa")


@pytest.mark.parametrize("path", ["/runs/cqa", "gs://bucket/run", None])
def test_other_paths_stay_unchanged(path):
    assert run_settings.absolute_path(path) == path


def test_the_vocabulary_gives_the_embedding_rows_unless_they_are_set(tiny_vocabulary):
    words = vocabulary.load(str(tiny_vocabulary))
    assert words.vocab_size == 204
    # Rounded up to a multiple of 128.
    assert run_settings.vocab_size(None, words) == 256
    assert run_settings.vocab_size(300, words) == 300


@pytest.fixture
def register_tiny(tiny_jsonl, tiny_vocabulary):
    """Registers the mixture of a method and returns its name: (method)."""
    words = vocabulary.load(str(tiny_vocabulary))

    def register(method):
        config = DataConfig(dataset="tiny", method=method, data_files=str(tiny_jsonl))
        return registration.registered_mixture(config, words)

    return register


@pytest.mark.parametrize(
    ("method", "task"),
    [
        ("finetune", "tiny_label"),
        ("step_by_step", "tiny_predict"),
        ("step_by_step_unlabeled", "tiny_teacher_predict"),
        ("single_task", "tiny_teacher_rationale_then_label"),
        ("counterfactual", "tiny_teacher_factual_rationale_then_label"),
    ],
)
def test_the_label_task_selects_the_best_checkpoint(register_tiny, method, task):
    name = run_settings.best_metric(register_tiny(method))
    assert name == f"inference_eval/{task}/eval/accuracy"


@pytest.mark.parametrize("target", ["rationale", "counterfactual_rationale_then_label"])
def test_a_task_without_scores_cannot_select_the_best_checkpoint(register_tiny, target):
    register_tiny("step_by_step")
    with pytest.raises(UserError, match="expected a mixture with a label task"):
        run_settings.best_metric(f"tiny_teacher_{target}")


@pytest.mark.parametrize("engine", ["eval", "infer"])
@pytest.mark.parametrize(
    ("method", "split", "splits"),
    [
        ("step_by_step", "tset", "test, train, validation"),
        ("pretrain", "test", "train"),
    ],
)
def test_a_split_that_does_not_exist_is_an_error(
    run_t5x, tmp_path, engine, method, split, splits
):
    macros = {
        "CHECKPOINT_PATH": str(tmp_path),
        f"{engine.upper()}_OUTPUT_DIR": str(tmp_path / "scores"),
        "EVAL_SPLIT": split,
    }
    message = f"EVAL_SPLIT is '{split}', expected one of {splits}\n"
    with pytest.raises(UserError, match=message):
        run_t5x(engine, method, **macros)
    assert not (tmp_path / "scores").exists()


def test_only_pretraining_is_not_evaluated(register_tiny):
    def dataset(method):
        return utils.DatasetConfig(register_tiny(method), {}, "validation", 8, True, 0)

    scored, texts = dataset("step_by_step"), dataset("pretrain")
    assert run_settings.validated(scored) is scored
    assert run_settings.validated(texts) is None
    assert run_settings.best_metric(texts.mixture_or_task_name) is None


@pytest.mark.parametrize(
    ("precision", "expected"),
    [("float32", "float32"), ("mixed", "bfloat16"), ("bfloat16", "bfloat16")],
)
def test_type_of_activations_follows_from_the_precision(precision, expected):
    assert run_settings.activation_dtype(precision) == expected


def test_unknown_precision():
    message = "PRECISION is 'float16', expected one of float32, mixed, bfloat16"
    with pytest.raises(UserError, match=message):
        run_settings.activation_dtype("float16")
