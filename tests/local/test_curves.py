import json

import pytest

from dsbs_jax.errors import UserError
from dsbs_jax.local import curves
from dsbs_jax.local.curves import CurvePoint

SCORES = {"jars_predict": {"accuracy": 50.0}}


def write(folder, start, steps, loss=1.0):
    writer = curves.CurveWriter(folder, start)
    for step in steps:
        writer.write_training(step, {"loss": loss, "learning_rate": 0.1})
        if step % 10 == 0:
            writer.write_validation(step, SCORES)


def test_a_step_is_one_point(tmp_path):
    write(tmp_path, 0, [5, 10])
    means = {"loss": 1.0, "learning_rate": 0.1}
    points = curves.read_curve(tmp_path)
    assert points == [CurvePoint(5, means), CurvePoint(10, means, SCORES)]
    assert curves.series(points, "loss") == [(5, 1.0), (10, 1.0)]
    assert curves.series(points, "label_loss") == []


def test_a_run_of_an_earlier_version_has_no_curves(tmp_path):
    assert curves.read_curve(tmp_path) == []
    write(tmp_path, 100, [105])
    assert [p.step for p in curves.read_curve(tmp_path)] == [105]


@pytest.mark.parametrize("start", range(0, 25))
def test_a_resumed_run_has_no_step_twice_and_no_stale_step(tmp_path, start):
    write(tmp_path, 0, [5, 10, 15, 20], loss=1.0)
    rest = [step for step in (5, 10, 15, 20, 25) if step > start]
    write(tmp_path, start, rest, loss=2.0)
    points = curves.read_curve(tmp_path)
    assert [p.step for p in points] == [5, 10, 15, 20, 25]
    assert [p.training["loss"] for p in points] == [
        2.0 if p.step > start else 1.0 for p in points
    ]
    lines = (tmp_path / curves.FILE).read_text().splitlines()
    assert len(lines) == 7


@pytest.mark.parametrize("cut", [1, 2, 30, 60])
def test_an_incomplete_last_line_is_ignored(tmp_path, cut):
    write(tmp_path, 0, [5, 10])
    path = tmp_path / curves.FILE
    content = path.read_bytes()
    assert len(content.splitlines()[-1]) > 60
    path.write_bytes(content[:-cut])
    assert [bool(p.validation) for p in curves.read_curve(tmp_path)] == [False, False]
    write(tmp_path, 5, [10, 15])
    assert [p.step for p in curves.read_curve(tmp_path)] == [5, 10, 15]


def test_values_that_are_not_finite_are_left_out(tmp_path):
    writer = curves.CurveWriter(tmp_path, 0)
    writer.write_training(5, {"gradient_norm": float("inf"), "loss": 1.5})
    writer.write_validation(5, {"own_label": {"accuracy": float("nan")}})
    (point,) = curves.read_curve(tmp_path)
    assert point.training == {"loss": 1.5}
    assert point.validation == {"own_label": {}}


@pytest.mark.parametrize("line", ["{}", "[]", '{"step": "5"}', "{"])
def test_damaged_lines_are_named(tmp_path, line):
    write(tmp_path, 0, [5])
    with (tmp_path / curves.FILE).open("a") as file:
        file.write(line + "\n" + json.dumps({"step": 6}) + "\n")
    message = "curve.jsonl: line 2: .*; remove the file to start new curves"
    for use in (curves.read_curve, lambda folder: curves.CurveWriter(folder, 9)):
        with pytest.raises(UserError, match=message):
            use(tmp_path)
