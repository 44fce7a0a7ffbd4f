import pytest

from dsbs_jax.experiments import plots
from dsbs_jax.experiments.grid import RunScore


def make_scores(finetune, step_by_step, size=800):
    return [
        RunScore(method, size, seed, accuracy, teacher=88.0, seconds=1.0)
        for method, values in (("finetune", finetune), ("step_by_step", step_by_step))
        for seed, accuracy in enumerate(values)
    ]


def test_summary_shows_each_seed_and_the_standard_error():
    text = plots.summary(make_scores([50.0, 60.0], [90.0, 94.0]))
    assert "50.0 60.0  55.0   5.0" in text
    assert "90.0 94.0  92.0   2.0" in text


def test_one_seed_has_no_standard_error():
    assert plots.summary(make_scores([50.0], [90.0])).splitlines()[1].endswith("-")


@pytest.mark.parametrize(
    ("finetune", "step_by_step", "result"),
    [
        ([50.0], [90.0], "40.0 points better"),
        ([70.0], [60.0], "does not win (10.0 points behind)"),
        ([60.0], [60.0], "does not win (0.0 points behind)"),
    ],
)
def test_verdict_compares_the_means(finetune, step_by_step, result):
    (line,) = plots.verdict(make_scores(finetune, step_by_step))
    assert line.startswith("With 800 examples") and result in line


@pytest.mark.parametrize("sizes", [(800,), (100, 200, 400)])
def test_figure_is_a_picture(tmp_path, sizes):
    scores = [
        score
        for size in sizes
        for score in make_scores([50.0, 52.0], [80.0, 90.0], size)
    ]
    plots.figure(scores, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
