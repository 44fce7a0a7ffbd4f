import pytest

pytest.importorskip("t5x", reason="T5X is not installed", exc_type=ImportError)

from dsbs_jax.data import registration  # noqa: E402
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


@pytest.mark.parametrize(
    ("method", "task"),
    [
        ("finetune", "tiny_label"),
        ("step_by_step", "tiny_predict"),
        ("step_by_step_unlabeled", "tiny_teacher_predict"),
        ("single_task", "tiny_teacher_rationale_then_label"),
    ],
)
def test_the_label_task_selects_the_best_checkpoint(tiny_jsonl, method, task):
    mixture = registration.mixture_name("tiny", method, files=str(tiny_jsonl))
    name = run_settings.best_metric(mixture)
    assert name == f"inference_eval/{task}/eval/accuracy"


def test_a_task_without_labels_cannot_select_the_best_checkpoint(tiny_jsonl):
    registration.mixture_name("tiny", "step_by_step", files=str(tiny_jsonl))
    with pytest.raises(UserError, match="expected a mixture with a label task"):
        run_settings.best_metric("tiny_teacher_rationale")
