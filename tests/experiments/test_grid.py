import pytest

from dsbs_jax import cli
from dsbs_jax.experiments import grid
from dsbs_jax.local.config import TrainSettings


@pytest.mark.slow
def test_grid_trains_each_run_once_and_collects_its_scores(tiny_settings, tmp_path):
    cli.configure(*tiny_settings("step_by_step", MODEL_DIR="elsewhere"))
    settings = TrainSettings.from_macros(cli.values())
    runs = [grid.Run("step_by_step", 60, seed, settings) for seed in (0, 1)]
    first = grid.run_all(runs[:1], tmp_path)
    results = tmp_path / "step_by_step-60-seed0/results.json"
    written = results.stat().st_mtime_ns
    both = grid.run_all(runs, tmp_path)
    assert both[0] == first[0]
    assert [score.seed for score in both] == [0, 1]
    assert all(0 <= score.accuracy <= 100 for score in both)
    assert results.stat().st_mtime_ns == written
    config = (tmp_path / "step_by_step-60-seed1/config.gin").read_text()
    assert "RANDOM_SEED = 1\n" in config
