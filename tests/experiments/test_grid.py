import gin
import pytest

from dsbs_jax.experiments import grid


@pytest.fixture(autouse=True)
def clean():
    yield
    gin.clear_config()


def test_grid_trains_each_run_once_and_collects_its_scores(tiny_settings, tmp_path):
    files, bindings = tiny_settings("step_by_step", MODEL_DIR="'elsewhere'")
    macros = dict(b.split(" = ", 1) for b in bindings)
    macros = {k: gin.config.parse_value(v) for k, v in macros.items()}
    macros |= {"TRAIN_STEPS": 2, "EVAL_PERIOD": 2, "LOG_PERIOD": 1}
    runs = [grid.Run("step_by_step", 60, seed, files, macros) for seed in (0, 1)]
    first = grid.run_all(runs[:1], tmp_path)
    assert (tmp_path / "step_by_step-60-seed0/results.json").exists()
    written = (tmp_path / "step_by_step-60-seed0/results.json").stat().st_mtime_ns
    both = grid.run_all(runs, tmp_path)
    assert both[0] == first[0]
    assert [row["seed"] for row in both] == [0, 1]
    assert all(0 <= row["accuracy"] <= 100 for row in both)
    again = (tmp_path / "step_by_step-60-seed0/results.json").stat().st_mtime_ns
    assert again == written
