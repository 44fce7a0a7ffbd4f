import pytest

from dsbs_jax.experiments import plots


def rows(finetune, step_by_step, size=800):
    return [
        {"method": m, "size": size, "seed": s, "accuracy": a, "teacher": 88.0}
        for m, values in (("finetune", finetune), ("step_by_step", step_by_step))
        for s, a in enumerate(values)
    ]


def test_summary_shows_each_seed_and_the_standard_error():
    text = plots.summary(rows([50.0, 60.0], [90.0, 94.0]))
    assert "50.0 60.0  55.0   5.0" in text
    assert "90.0 94.0  92.0   2.0" in text


def test_one_seed_has_no_standard_error():
    assert plots.summary(rows([50.0], [90.0])).splitlines()[1].endswith("-")


@pytest.mark.parametrize(
    ("finetune", "step_by_step", "said"),
    [
        ([50.0], [90.0], "40.0 points better"),
        ([70.0], [60.0], "does not win (10.0 points behind)"),
        ([60.0], [60.0], "does not win (0.0 points behind)"),
    ],
)
def test_verdict_says_what_was_measured(finetune, step_by_step, said):
    (line,) = plots.verdict(rows(finetune, step_by_step))
    assert line.startswith("With 800 examples") and said in line


@pytest.mark.parametrize("sizes", [(800,), (100, 200, 400)])
def test_figure_is_a_picture(tmp_path, sizes):
    grid = [row for size in sizes for row in rows([50.0, 52.0], [80.0, 90.0], size)]
    plots.figure(grid, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
