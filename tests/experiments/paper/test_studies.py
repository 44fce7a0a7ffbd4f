"""The studies for two CPU cores, with few steps and in one process."""

import dataclasses

import pytest

from dsbs_jax import cli, train
from dsbs_jax.experiments import demo_data
from dsbs_jax.experiments.paper import generated, planning, report, study
from dsbs_jax.local.config import TRAIN_SETTINGS

SHORT = {
    "TRAIN_STEPS": 2,
    "EVAL_PERIOD": 2,
    "WARMUP_STEPS": 1,
    "LOG_PERIOD": 1,
    "TRACKERS": (),
}


def train_one_of_each(name, folder, methods, **more):
    """Trains the first runs of a study, and returns their report."""
    config = study.read(f"experiments/{name}.gin", {"seeds": (0,), "methods": methods})
    runs = planning.plan(config, folder)
    # One proportion of the rows of each dataset.
    chosen = {(run.cell.dataset, run.cell.method): run for run in runs}
    for run in chosen.values():
        macros = {**run.macros, **SHORT, **more, "MODEL_DIR": str(folder / run.name)}
        bindings = [f"{macro} = {value!r}" for macro, value in macros.items()]
        cli.configure(run.gin_files, bindings, known=TRAIN_SETTINGS)
        train.main()
    done = list(chosen.values())
    return report.of_grid(config, done, folder, {})


@pytest.fixture
def small(monkeypatch):
    """Smaller generated datasets."""
    monkeypatch.setattr(generated, "TICKETS", 120)
    monkeypatch.setattr(demo_data, "SIZES", {"validation": 8, "test": 16})


@pytest.mark.slow
def test_tickets(small, tmp_path):
    generated.write(tmp_path, "tickets", None)
    methods = ("finetune", "step_by_step/teacher")
    result = train_one_of_each("tickets", tmp_path, methods)
    assert [c.cell.method for c in result.cells] == ["finetune", "step_by_step"]
    (last, best) = result.comparisons
    assert (last.result.rows, best.result.rows) == (16, 16)
    result.write(tmp_path / "report")
    assert (tmp_path / "report/figure.svg").exists()


@pytest.mark.slow
def test_rationale_controls(small, tmp_path):
    names = ("tickets", "tickets_shuffled", "tickets_random")
    for name in names:
        generated.write(tmp_path, name, None)
    methods = ("step_by_step/teacher",)
    result = train_one_of_each("rationale_controls", tmp_path, methods)
    assert {c.cell.dataset for c in result.cells} == set(names)
    pairs = {(c.first.dataset, c.second.dataset) for c in result.comparisons}
    assert pairs == {
        ("tickets", "tickets_shuffled"),
        ("tickets", "tickets_random"),
    }


@pytest.mark.slow
def test_esnli_released(release_dir, tmp_path, monkeypatch):
    made = generated.DATASETS["esnli_released"]
    # The rows of the test release hold fewer pieces.
    fewer = dataclasses.replace(made, pieces=104)
    monkeypatch.setitem(generated.DATASETS, "esnli_released", fewer)
    generated.write(tmp_path, "esnli_released", str(release_dir))
    methods = ("finetune", "step_by_step/palm")
    # With few pieces, a label has more tokens.
    result = train_one_of_each(
        "esnli_released", tmp_path, methods, MAX_DECODE_LENGTH=16
    )
    assert result.cells[0].published is None
    assert {c.result.rows for c in result.comparisons} == {4}
