"""The studies for two CPU cores, with few steps and in one process."""

import dataclasses
import json

import pytest

from dsbs_jax import cli, train
from dsbs_jax.experiments import demo_data
from dsbs_jax.experiments.paper import generated, planning, report, study
from dsbs_jax.experiments.paper.finished import find_runs
from dsbs_jax.local.config import TRAIN_SETTINGS

SHORT = {
    "TRAIN_STEPS": 2,
    "EVAL_PERIOD": 2,
    "WARMUP_STEPS": 1,
    "LOG_PERIOD": 1,
    "TRACKERS": (),
}


def train_one_of_each(name, folder, **more):
    """Trains a run of each kind of a study, and returns their report."""
    changes = {name: more.pop(name, ()) for name in ("methods", "budgets")}
    config = study.read(f"experiments/{name}.gin", {"seeds": (0,), **changes})
    runs = planning.plan(config, folder)
    # One proportion of the rows of each dataset.
    chosen = {dataclasses.replace(run.cell, fraction=1.0): run for run in runs}
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
    # The rows of the test release hold fewer pieces.
    for name, made in generated.DATASETS.items():
        if not name.startswith("tickets"):
            fewer = dataclasses.replace(made, pieces=104)
            monkeypatch.setitem(generated.DATASETS, name, fewer)


@pytest.mark.slow
def test_tickets(small, tmp_path):
    generated.write(tmp_path, "tickets", None)
    methods = ("finetune", "step_by_step/teacher")
    result = train_one_of_each("tickets", tmp_path, methods=methods)
    assert [c.cell.method for c in result.cells] == ["finetune", "step_by_step"]
    (last, best) = result.comparisons
    assert (last.result.rows, best.result.rows) == (16, 16)
    result.write(tmp_path / "report")
    assert (tmp_path / "report/figure.svg").exists()
    # The only checkpoint is the best and the last one, and is scored once.
    paths = [*tmp_path.glob("*/predictions/test-best-*")]
    assert len(paths) == 2
    for path in paths:
        last = path.with_name(path.name.replace("-best-", "-last-"))
        assert path.read_bytes() == last.read_bytes()


@pytest.mark.scheduled
def test_tickets_methods(small, tmp_path):
    generated.write(tmp_path, "tickets_methods", None)
    methods = ("step_by_step_multi/teacher", "counterfactual/teacher")
    result = train_one_of_each(
        "tickets_methods", tmp_path, methods=methods, budgets=("operations",)
    )
    assert [(c.cell.method, c.cell.steps > 0) for c in result.cells] == [
        ("step_by_step_multi", False),
        ("counterfactual", True),
    ]
    assert {c.first.method for c in result.comparisons} == {"step_by_step_multi"}
    assert len(result.comparisons) == 2


@pytest.mark.scheduled
def test_tickets_sizes(small, tmp_path):
    generated.write(tmp_path, "tickets", None)
    methods = ("finetune",)
    result = train_one_of_each("tickets_sizes", tmp_path, methods=methods)
    assert [c.cell.size for c in result.cells] == ["micro", "tiny", "mini"]
    # A record has no large files.
    page = result.write(tmp_path / "record", record=True)
    files = {path.name: path.stat().st_size for path in page.parent.iterdir()}
    assert page.name == "report.md"
    assert set(files) == {
        "report.md",
        "report.csv",
        "comparisons.csv",
        "figure.png",
        "figure.svg",
    }
    assert sum(files.values()) < 300_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("study", "base"),
    [
        ("rationale_controls", "tickets"),
        pytest.param(
            "rationale_controls_esnli", "esnli_released", marks=pytest.mark.scheduled
        ),
    ],
)
def test_rationale_controls(small, tmp_path, release_dir, study, base):
    names = [base, f"{base}_shuffled", f"{base}_random"]
    for name in names:
        generated.write(tmp_path, name, str(release_dir))
    result = train_one_of_each(study, tmp_path)
    assert {c.cell.dataset for c in result.cells} == set(names)
    pairs = {(c.first.dataset, c.second.dataset) for c in result.comparisons}
    assert pairs == {(base, name) for name in names[1:]}


@pytest.mark.slow
def test_esnli_released(small, release_dir, tmp_path):
    for name in ("esnli_released", "esnli_released_human"):
        generated.write(tmp_path, name, str(release_dir))
    result = train_one_of_each("esnli_released", tmp_path)
    found = [(c.cell.method, c.cell.teacher) for c in result.cells]
    assert found == [
        ("finetune", ""),
        ("step_by_step", "human"),
        ("step_by_step", "palm"),
        ("single_task", "palm"),
    ]
    assert {c.published for c in result.cells} == {None}
    # The teacher's line of the plot is PaLM's accuracy, also next to human rationales.
    teachers = [c.teacher for c in result.cells]
    assert teachers[1] is None
    assert len({*teachers}) == 2
    first = {c.first.method for c in result.comparisons}
    assert first == {"finetune"}
    assert {c.result.rows for c in result.comparisons} == {6}


@pytest.mark.scheduled
def test_esnli_methods(small, release_dir, tmp_path):
    generated.write(tmp_path, "esnli_released_teachers", str(release_dir))
    weights = {"palm": 1.0, "human_1": 0.5}
    result = train_one_of_each(
        "esnli_methods",
        tmp_path,
        methods=("step_by_step_multi/teachers",),
        TEACHER_WEIGHTS=weights,
    )
    (cell,) = result.cells
    (run,) = cell.runs.values()
    assert run.settings["TEACHER_WEIGHTS"] == weights
    assert cell.teacher is None


@pytest.mark.slow
def test_esnli_pretrained(small, release_dir, tmp_path):
    for name in ("esnli_released", "texts"):
        generated.write(tmp_path, name, str(release_dir))
    result = train_one_of_each("esnli_pretrained", tmp_path, methods=("finetune",))
    # Pretraining has no scores and is not a cell.
    assert [c.cell.method for c in result.cells] == ["finetune"]
    (signature, *_) = result.signatures.values()
    assert "init:" in signature and "texts-tiny-pretrain-seed0" in signature
    run = tmp_path / "texts-tiny-pretrain-seed0"
    results = json.loads((run / "results.json").read_text())
    assert results["last"] == {"step": 2, "validation": {}, "test": {}}
    assert find_runs([str(tmp_path)])[0].settings["METHOD"] == "finetune"
    # The student of the other run starts from these weights, and has its vocabulary.
    words = "vocabulary/sentencepiece.model"
    other = tmp_path / "esnli_released-tiny-finetune-seed0"
    assert (run / words).read_bytes() == (other / words).read_bytes()


def test_texts_are_no_test_rows(release_dir):
    rows = {name: generated.DATASETS[name] for name in ("texts", "esnli_released")}
    texts = rows["texts"].make(str(release_dir))
    assert list(texts) == ["train"]
    held_out = rows["esnli_released"].make(str(release_dir))
    inputs = {record.input for record in texts["train"]}
    for split in ("validation", "test"):
        assert not inputs & {record.input for record in held_out[split]}
    assert {record.input for record in held_out["train"]} < inputs
    assert all(r.label is r.rationale is None for r in texts["train"])
