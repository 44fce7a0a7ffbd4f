import csv
import dataclasses
import json

import numpy as np
import pytest
from matplotlib import pyplot

from dsbs_jax.errors import UserError
from dsbs_jax.experiments.paper import (
    finished,
    planning,
    plots,
    report,
    results,
    study,
)
from dsbs_jax.experiments.paper.cell import Cell
from dsbs_jax.student import operations, sizes

# Each test writes a complete report with its plots.
pytestmark = pytest.mark.slow

ACCURACY = {"finetune": 0.4, "distill": 0.45, "step_by_step": 0.7, "single_task": 0.3}


@pytest.fixture
def table1(tmp_path, write_finished):
    """Table 1 with made-up answers; the last run is missing."""
    config = study.read("experiments/table1.gin", {"datasets": ("cqa", "svamp")})
    planned = planning.plan(config, tmp_path)
    rng = np.random.default_rng(0)
    for run in planned[:-1]:
        chance = ACCURACY[run.cell.method]
        last, best = rng.random((2, 120)) < chance
        write_finished(tmp_path / run.name, run, last, best)
    return config, planned, tmp_path


def made(table1, failures=None):
    return report.of_grid(*table1, failures or {})


def test_table_has_our_value_the_published_value_and_the_difference(table1):
    config, planned, folder = table1
    values = made(table1).to_json()["cells"]
    assert len(values) == 8
    cell = next(
        v for v in values if (v["dataset"], v["teacher"]) == ("cqa", "gpt_neox")
    )
    accuracies = []
    for seed in range(4):
        name = f"cqa-base-step_by_step-gpt_neox-seed{seed}"
        read = json.loads((folder / name / "results.json").read_text())
        accuracies.append(read["last"]["test"]["t"]["accuracy"])
    assert cell["last"]["accuracies"] == accuracies
    assert cell["last"]["mean"] == pytest.approx(np.mean(accuracies))
    error = np.std(accuracies, ddof=1) / 2
    assert cell["last"]["standard_error"] == pytest.approx(error)
    assert cell["published"] == 63.25
    difference = np.mean(accuracies) - 63.25
    assert cell["last"]["minus_published"] == pytest.approx(difference)
    assert cell["best"]["mean"] != cell["last"]["mean"]
    assert cell["seeds"] == [0, 1, 2, 3]


def test_comparisons_are_corrected_within_each_table(table1):
    comparisons = made(table1).comparisons
    assert len(comparisons) == 2 * 2 * 3
    for selection in ("last", "best"):
        chosen = [c for c in comparisons if c.selection == selection]
        p_values = sorted(c.result.p_value for c in chosen)
        smallest = min(c.adjusted for c in chosen)
        assert smallest == pytest.approx(min(1, len(chosen) * p_values[0]))
    found = {(c.first.method, c.second.method, c.second.teacher) for c in comparisons}
    assert ("finetune", "step_by_step", "palm") in found
    better = [c for c in comparisons if c.second.method == "step_by_step"]
    assert all(c.is_significant and c.result.interval[0] > 0 for c in better)


def test_missing_and_failed_runs_are_listed(table1):
    name = table1[1][0].name
    result = made(table1, {name: "out of memory"})
    assert result.missing == {name: "out of memory", table1[1][-1].name: ""}
    text = (result.write(table1[2] / "out")).read_text()
    assert "out of memory" in text and "2 planned runs are missing" in text


def test_files_hold_the_same_numbers(table1):
    folder = table1[2] / "out"
    page = made(table1).write(folder)
    assert page.read_text().count("<table>") == 4
    assert "published" in (folder / "report.md").read_text()
    values = json.loads((folder / "report.json").read_text())
    with (folder / "report.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * len(values["cells"])
    for row in rows:
        cell = next(
            c
            for c in values["cells"]
            if all(str(c[k]) == row[k] for k in ("dataset", "method", "teacher"))
        )
        assert float(row["mean"]) == cell[row["selection"]]["mean"]
    with (folder / "comparisons.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(values["comparisons"])
    # Table 1 has no plot.
    assert not (folder / "figure.png").exists()


def test_signature_says_what_was_measured_and_how(table1):
    text = made(table1).signatures["cqa, last"]
    fields = dict(part.split(":", 1) for part in text.split("|")[1:])
    assert text.startswith("accuracy|dataset:cqa|data:")
    assert fields == {
        "dataset": "cqa",
        "data": fields["data"],
        "train": "released",
        "fractions": "1",
        "split": "test",
        "selection": "last",
        "seeds": "0,1,2,3",
        "size": "base",
        "init": "hub:google/t5-v1_1-base",
        "steps": "10000",
        "pairs": "64",
        "optimizer": "adamw",
        "rate": "5e-05",
        "schedule": "constant",
        "dropout": "0.1",
        "beams": "unknown",
        "precision": "float32",
        "version": "9.9",
    }
    assert len(fields["data"]) == 8


@pytest.mark.parametrize("figure", [4, 6])
def test_figure_has_a_plot_of_both_formats(tmp_path, write_finished, figure):
    changes = {"datasets": ("svamp",), "seeds": (0, 1)}
    config = study.read(f"experiments/figure{figure}.gin", changes)
    planned = planning.plan(config, tmp_path)
    rng = np.random.default_rng(0)
    for run in planned:
        chance = ACCURACY[run.cell.method] * run.cell.fraction
        write_finished(tmp_path / run.name, run, rng.random(60) < chance)
    result = report.of_grid(config, planned, tmp_path, {})
    page = result.write(tmp_path / "out").read_text()
    assert (tmp_path / "out/figure.png").read_bytes().startswith(b"\x89PNG")
    svg = (tmp_path / "out/figure.svg").read_text()
    assert "<svg" in svg
    assert "data:image/png;base64," in page
    assert f"What the paper says about Figure {figure}" in page
    result.write(tmp_path / "again")
    assert (tmp_path / "again/figure.svg").read_text() == svg


def test_least_resources_above_the_teacher(tmp_path, write_finished):
    """The teacher has 70 %: large with 80 % of the rows is the first above it."""
    changes = {"datasets": ("svamp",), "sizes": ("base", "large"), "seeds": (0,)}
    config = study.read("experiments/figure8.gin", changes)
    planned = planning.plan(config, tmp_path)
    for run in planned:
        above = run.cell.size == "large" and run.cell.fraction >= 0.8
        above = above and run.cell.method == "step_by_step"
        right = [True] * (80 if above else 60) + [False] * (20 if above else 40)
        write_finished(tmp_path / run.name, run, right)
    result = report.of_grid(config, planned, tmp_path, {})
    found = results.least(result.cells, "last")
    assert found["svamp", "finetune"] is None
    cell = found["svamp", "step_by_step"].cell
    assert (cell.size, cell.fraction) == ("large", 0.8)
    page = result.write(tmp_path / "out").read_text()
    assert "Smallest student above the teacher" in page


@pytest.mark.parametrize(
    ("name", "changes", "baseline"),
    [
        ("table1", {}, ("svamp", "finetune", 1.0)),
        ("table2", {}, ("svamp", "single_task", 1.0)),
        ("alpha", {}, ("svamp", "step_by_step", 0.5)),
        ("asdiv", {"datasets": ("svamp", "svamp_asdiv")}, ("svamp", "distill", 1.0)),
    ],
)
def test_first_value_is_the_baseline(tmp_path, write_finished, name, changes, baseline):
    given = {"datasets": ("svamp",), "seeds": (0,), "sizes": ("base",), **changes}
    config = study.read(f"experiments/{name}.gin", given)
    planned = planning.plan(config, tmp_path)
    for run in planned:
        write_finished(tmp_path / run.name, run, [True, False, True])
    result = report.of_grid(config, planned, tmp_path, {})
    first = {
        (c.first.dataset, c.first.method, c.first.alpha) for c in result.comparisons
    }
    assert baseline in first
    if name != "asdiv":
        assert first == {baseline}
        assert len(result.comparisons) == 2 * (len(planned) - 1)


def test_comparisons_vary_what_the_grid_says():
    cells = [Cell("a", "base", "step_by_step", "palm", 1, x) for x in (0.5, 0.1, 0.9)]
    pairs = results.baselines(cells, "alpha")
    assert [(a.alpha, b.alpha) for a, b in pairs] == [(0.5, 0.1), (0.5, 0.9)]
    cells = [Cell(d, "base", m) for d in ("a", "b") for m in ("finetune", "distill")]
    pairs = results.baselines(cells, "dataset")
    assert [(a.method, b.method) for a, b in pairs] == [
        ("finetune", "finetune"),
        ("distill", "distill"),
    ]


def test_a_part_of_the_rows_is_compared_with_labels_alone_and_all_rows(
    tmp_path, write_finished
):
    """Figure 4's claim has human labels, and Figure 5's those of the teacher."""
    changes = {"seeds": (0, 1), "fractions": {"tickets": (0.25, 1.0)}}
    config = study.read("experiments/tickets.gin", changes)
    planned = planning.plan(config, tmp_path)
    rng = np.random.default_rng(0)
    chances = {"finetune": 0.4, "distill": 0.4, "step_by_step": 0.9}
    for run in planned:
        chance = chances.get(run.cell.method, 0.1)
        write_finished(tmp_path / run.name, run, rng.random(400) < chance)
    result = report.of_grid(config, planned, tmp_path, {})
    last = [c for c in result.fewer_rows if c.selection == "last"]
    pairs = {(c.first.name, c.second.name): c for c in last}
    assert pairs.keys() == {
        ("tickets-tiny-finetune", "tickets-tiny-step_by_step-teacher-25pct"),
        (
            "tickets-tiny-distill-teacher",
            "tickets-tiny-step_by_step_unlabeled-teacher-25pct",
        ),
    }
    better, worse = pairs.values()
    assert better.result.difference > 0.4 and worse.result.difference < -0.2
    # Holm's correction is over this table alone.
    raw = sorted(c.result.p_value for c in last)
    adjusted = sorted(c.adjusted for c in last)
    assert adjusted == pytest.approx([2 * raw[0], max(2 * raw[0], raw[1])])
    page = result.write(tmp_path / "out").with_suffix(".md").read_text()
    assert "## All rows, and a part of them, last step" in page
    with (tmp_path / "out/comparisons.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(result.comparisons) + len(result.fewer_rows) == 12 + 4


def test_sizes_are_plotted_by_their_parameters(tmp_path, write_finished, monkeypatch):
    """The students of the tickets have 512 rows in their embedding."""
    changes = {"seeds": (0, 1), "sizes": ("micro", "tiny")}
    config = study.read("experiments/tickets_sizes.gin", changes)
    planned = planning.plan(config, tmp_path)
    for run in planned:
        write_finished(tmp_path / run.name, run, np.ones(20, bool))
    panels = []

    def render(drawn, kind):
        panels.extend(drawn)
        return b""

    monkeypatch.setattr(plots.figures, "render", render)
    report.of_grid(config, planned, tmp_path, {}).write(tmp_path / "out")
    _, axes = pyplot.subplots()
    panels[0](axes)
    counts = [
        operations.parameter_count(sizes.size_of(size), 512) for size in config.sizes
    ]
    assert counts[1] == 263_168
    np.testing.assert_allclose(axes.get_xticks(), np.divide(counts, 1e6))
    pyplot.close()


@pytest.fixture
def both_budgets(tmp_path, write_finished):
    """Some methods of tickets_methods with made-up answers, for two seeds."""
    methods = "step_by_step/teacher", "finetune", "counterfactual/teacher"
    changes = {"seeds": (0, 1), "methods": methods}
    config = study.read("experiments/tickets_methods.gin", changes)
    planned = planning.plan(config, tmp_path)
    rng = np.random.default_rng(0)
    for run in planned:
        write_finished(tmp_path / run.name, run, rng.random(60) < 0.5)
    return config, planned, tmp_path


def test_both_budgets_are_compared_with_the_first_method(both_budgets):
    result = made(both_budgets)
    cells = [cell.cell for cell in result.cells]
    assert len({*cells}) == 5
    assert all(len(cell.runs) == 2 for cell in result.cells)
    first = {(c.first.method, c.first.steps) for c in result.comparisons}
    assert first == {("step_by_step", 0)}
    assert len(result.comparisons) == 2 * 4
    page = result.write(both_budgets[2] / "out", record=True).read_text()
    (steps,) = [c.steps for c in cells if c.method == "finetune" and c.steps]
    assert f"standard finetuning, {steps:,} updates" in page
    rows = [line for line in page.splitlines() if "1,000" in line]
    assert len(rows) == 3 and "Cost of training" in page


def test_methods_without_data_have_a_row(tmp_path, write_finished):
    methods = "step_by_step/palm", "counterfactual/palm"
    changes = {"seeds": (0,), "methods": methods}
    config = study.read("experiments/esnli_methods.gin", changes)
    planned = planning.plan(config, tmp_path)
    for run in planned:
        write_finished(tmp_path / run.name, run, [True, False])
    result = report.of_grid(config, planned, tmp_path, {})
    page = result.write(tmp_path / "out", record=True).read_text()
    (row,) = [line for line in page.splitlines() if "counterfactual" in line]
    assert row.count("no data") == 2
    assert "the rows lack the fields" in page


def test_runs_of_both_budgets_are_different_cells_without_a_plan(both_budgets):
    runs = finished.find_runs([str(both_budgets[2])])
    cells = report.make(runs).cells
    assert len(cells) == 5
    assert all(len(cell.runs) == 2 for cell in cells)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"LEARNING_RATE": 1e-3}, "differ in LEARNING_RATE (5e-05 and 0.001)"),
        ({"LEARNING_RATE": 1e-3, "RANDOM_SEED": 9}, "differ in LEARNING_RATE (5e-05"),
        ({"INITIAL_CHECKPOINT_PATH": "w", "RANDOM_SEED": 9}, "(None and 'w')"),
        ({"PRECISION": "mixed", "RANDOM_SEED": 9}, "PRECISION ('float32' and 'mixed')"),
        ({"LORA_TARGETS": ["wo"], "RANDOM_SEED": 9}, "LORA_TARGETS (('query',) and"),
        ({}, "the same method, data, settings and seed, 0; report one of them"),
    ],
)
def test_runs_that_differ_in_other_settings_are_not_merged(
    both_budgets, write_finished, changes, message
):
    _, planned, folder = both_budgets
    run, *_ = planned
    write_finished(folder / "tuned", run, [True] * 60, **changes)
    with pytest.raises(UserError) as error:
        report.make(finished.find_runs([str(folder)]))
    for name in (folder / run.name, folder / "tuned", message):
        assert str(name) in str(error.value)


def test_a_folder_may_be_named_twice(both_budgets):
    _, (run, *_), folder = both_budgets
    (folder / "link").symlink_to(folder / run.name)
    runs = finished.find_runs([str(folder / run.name), str(folder / "link")])
    (cell,) = report.make(runs).cells
    assert len(cell.runs) == 1


def test_weights_of_a_run_may_have_moved(both_budgets, write_finished):
    _, (run, *_), folder = both_budgets
    targets = {0: ["query"], 1: ("query",)}
    for seed, grid in enumerate(["old", "new"]):
        changes = {
            "INITIAL_CHECKPOINT_PATH": f"{grid}/pretrained",
            "MODEL_DIR": f"{grid}/run",
            "RANDOM_SEED": seed,
            "LORA_TARGETS": targets[seed],
        }
        write_finished(folder / "moved" / str(seed), run, [True, False], **changes)
    (cell,) = report.make(finished.find_runs([str(folder / "moved")])).cells
    assert len(cell.runs) == 2
    # Other weights of the same name.
    changes |= {"INITIAL_CHECKPOINT_PATH": "x/pretrained", "RANDOM_SEED": 2}
    write_finished(folder / "moved/2", run, [True, False], **changes)
    with pytest.raises(UserError, match="'pretrained' and 'x/pretrained'"):
        report.make(finished.find_runs([str(folder / "moved")]))


@pytest.mark.parametrize("name", list(sizes.SIZES))
def test_size_of_a_run_has_its_own_name(tmp_path, write_finished, name):
    run = planning.PlannedRun(Cell("d", name, "finetune"), 0, (), {})
    settings = {"RELATIVE_BIAS_IN_LAYERS": False} | sizes.size_of(name)
    write_finished(tmp_path / "run", run, [True], **settings)
    assert finished.read_run(tmp_path / "run").cell.size == name


def test_variant_of_the_size_is_compared_with_the_first_method(
    tmp_path, write_finished
):
    config = dataclasses.replace(
        study.read("experiments/tickets_methods.gin", {"seeds": (0, 1)}),
        methods=("finetune", "finetune+wide"),
        variants={"wide": {"MLP_DIM": 256}},
    )
    planned = planning.plan(config, tmp_path)
    for run in planned:
        write_finished(tmp_path / run.name, run, [True, False, True])
    result = report.of_grid(config, planned, tmp_path, {})
    assert [cell.cell.size for cell in result.cells] == ["tiny", "tiny"]
    assert {c.second.variant for c in result.comparisons} == {"wide"}


def test_runs_without_a_plan_are_reported(table1):
    folder = table1[2]
    runs = finished.find_runs([str(folder)])
    assert len(runs) == 31
    result = report.make(runs)
    assert result.title == "Results of runs"
    assert len(result.comparisons) == 12
    one = finished.find_runs([str(runs[0].folder)])
    assert report.make(one).comparisons == []


def test_runs_with_other_test_rows_are_not_compared(tmp_path, write_finished):
    config = study.read("experiments/table1.gin", {"datasets": ("cqa",), "seeds": (0,)})
    planned = planning.plan(config, tmp_path)
    for number, run in enumerate(planned):
        write_finished(tmp_path / run.name, run, [True, False] + [True] * number)
    with pytest.raises(UserError, match="seed 0 has 3 test rows, expected the 2"):
        report.of_grid(config, planned, tmp_path, {})


@pytest.mark.parametrize("problem", ["nothing", "no answers", "bad answers", "config"])
def test_damaged_runs_are_one_error(table1, problem):
    folder = table1[2]
    first = folder / table1[1][0].name
    answers = next((first / "predictions").glob("test-last-*"))
    if problem == "nothing":
        with pytest.raises(UserError, match="no finished run"):
            finished.find_runs([str(first / "predictions")])
    elif problem == "no answers":
        answers.unlink()
        with pytest.raises(UserError, match="has 0 files of test answers"):
            made(table1)
    elif problem == "bad answers":
        answers.write_text('{"id": "a"}\n')
        with pytest.raises(UserError, match="line 1: 'correct', expected an answer"):
            made(table1)
    else:
        (first / "config.gin").write_text("METHOD = 'finetune'\n")
        with pytest.raises(UserError, match="has no DATASET"):
            made(table1)
