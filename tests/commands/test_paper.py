import json

import pytest

from dsbs_jax import files
from dsbs_jax.commands import paper
from dsbs_jax.experiments.paper import execution, planning, study
from dsbs_jax.experiments.paper.cell import Cell


@pytest.mark.parametrize(
    "study", ["--table=1", "--table=2", *(f"--figure={n}" for n in range(4, 10))]
)
def test_dry_run_of_each_table_and_figure(dsbs, study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = dsbs("paper", study, "--dry_run", "--rate=100")
    assert (done.status, done.err) == (0, "")
    number = study.partition("=")[2]
    name = "Table" if "table" in study else "Figure"
    assert done.out.startswith(f"{name} {number}: ")
    assert "(given with --rate)" in " ".join(done.out.split())
    assert "esnli-base-" in done.out
    assert list(tmp_path.iterdir()) == []


def test_list_prints_commands_only(dsbs, tmp_path):
    done = dsbs("paper", "--table=2", "--list", "--seeds=7", "--datasets=cqa")
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("python -m dsbs_jax.train ") for line in lines)
    assert all("--gin.RANDOM_SEED=7" in line for line in lines)


def test_list_of_generated_data_says_how_to_write_them(dsbs):
    done = dsbs("paper", "--study=tickets", "--list")
    assert "write it with --prepare first" in done.err


def test_hours_need_a_measured_rate(dsbs, tmp_path):
    output = str(tmp_path)
    done = dsbs("paper", "--table=2", "--output", output, "--dry_run")
    assert "Hours need a measured rate" in " ".join(done.out.split())
    done = dsbs("paper", "--table=2", "--dry_run", "--device=cpu-2-cores")
    assert "0.129 TFLOP/s (measured" in " ".join(done.out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--table=3"], "--table is 3, expected one of 1, 2"),
        (["--figure=3"], "--figure is 3, expected one of 4, 5, 6, 7, 8, 9"),
        (["--study=tables"], "--study is 'tables', expected the path of a gin file"),
        (["--table=1", "--output=gs://b/grid"], "gs://b/grid is an address"),
        ([], "0 of --table, --figure and --study"),
        (["--table=1", "--dry_run", "--rate=0"], "--rate is 0.0"),
        (["--table=1", "--dry_run", "--device=x"], "--device is 'x'"),
        (["--table=1", "--seeds=a"], "--seeds is 'a'"),
        (["--table=1", "--initial_checkpoint=base"], "--initial_checkpoint is"),
    ],
)
def test_bad_options_are_one_error(dsbs, arguments, message):
    done = dsbs("paper", *arguments)
    assert (done.status, done.out) == (2, "")
    assert message in done.err and done.err.count("\n") == 1


def test_home_folder_of_the_output_is_expanded(dsbs, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    done = dsbs("paper", "--table=1", "--list", "--output=~/grid")
    assert f"--gin.MODEL_DIR={tmp_path}/grid/" in done.out and "~" not in done.out


def test_help_names_each_study(dsbs):
    done = dsbs("paper", "--help")
    others = [n for n in study.names() if not n.startswith(("table", "figure"))]
    assert others and all(name in done.out for name in others)


def test_pretraining_alone_makes_no_report(monkeypatch, tmp_path, capsys):
    runs = [
        planning.PlannedRun(Cell("d", "tiny", method), 0, (), {})
        for method in ("pretrain", "finetune")
    ]
    grid = execution.Grid(runs, tmp_path)
    monkeypatch.setattr(execution, "execute", lambda grid: None)
    files.write(grid.error_file(runs[1]), "no memory")
    assert paper._train(None, grid, "toy.gin") == paper.FAILED
    assert "1 of 2 runs are finished, 1 failed" in capsys.readouterr().out


def test_report_needs_runs(dsbs, tmp_path):
    done = dsbs("report", str(tmp_path))
    assert done.status == 2 and "no finished run" in done.err
    done = dsbs("report", str(tmp_path), "--table=1")
    assert done.status == 2 and "no run of this grid is finished" in done.err
    done = dsbs("report", str(tmp_path / "none"))
    assert done.status == 2 and "is not a folder" in done.err


@pytest.mark.slow
def test_report_of_one_run(dsbs, train_tiny, tmp_path):
    run = tmp_path / "run"
    train_tiny(run, "step_by_step")
    done = dsbs("report", str(run), "--output", str(tmp_path / "report"))
    assert done.status == 0
    assert done.out.endswith(f"\n{tmp_path / 'report/report.html'}\n")
    values = json.loads((tmp_path / "report/report.json").read_text())
    (cell,) = values["cells"]
    read = json.loads((run / "results.json").read_text())
    (test,) = read["last"]["test"].values()
    assert cell["last"]["accuracies"] == [test["accuracy"]]
    assert cell["published"] is None
    assert (cell["method"], cell["size"]) == ("step_by_step", "custom")
