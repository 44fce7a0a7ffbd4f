import pytest

from dsbs_jax.fitting import plan, precision_trial
from dsbs_jax.student import precision
from support.students import make_student


@pytest.fixture
def measured(monkeypatch):
    """Replaces the measurement: sets the rates of float32 and mixed, and records."""
    calls = []

    def set_rates(float32, mixed):
        def rate(types, rows, inputs, outputs):
            calls.append((rows, inputs, outputs))
            return float32 if types.factors == "float32" else mixed

        monkeypatch.setattr(precision, "missing_bfloat16", lambda flags: None)
        monkeypatch.setattr(precision_trial, "_SMALLEST_WIDTH", 16)
        monkeypatch.setattr(precision_trial, "_operations_per_second", rate)
        return calls

    return set_rates


@pytest.mark.parametrize(
    ("mixed", "expected"), [(400e9, "mixed"), (210e9, "float32"), (90e9, "float32")]
)
def test_faster_precision_is_chosen_with_the_rates(measured, mixed, expected):
    calls = measured(200e9, mixed)
    chosen, reason = precision_trial.choose(make_student()[0].config, 100_000)
    assert chosen == expected
    assert reason == f"measured GFLOP/s: float32 200, mixed {mixed / 1e9:.0f}"
    assert calls == [(2048, 16, 24)] * 2


def test_narrow_student_trains_in_float32_without_a_measurement():
    chosen, reason = precision_trial.choose(make_student()[0].config, 100_000)
    assert (chosen, reason) == ("float32", "products of width 16 take little of a step")


def test_cpu_without_bfloat16_trains_in_float32(monkeypatch):
    monkeypatch.setattr(precision_trial, "_SMALLEST_WIDTH", 16)
    monkeypatch.setattr(precision, "missing_bfloat16", lambda flags: "not supported")
    chosen, reason = precision_trial.choose(make_student()[0].config, 64)
    assert chosen == "float32"
    assert reason == "products of bfloat16 numbers are not supported"


def test_rates_are_measured():
    types = precision.compute_types("float32")
    rate = precision_trial._operations_per_second(types, 256, 256, 256)
    assert 1e8 < rate < 1e14


def test_plan_records_the_precision(make_plan, measured):
    measured(200e9, 400e9)
    found = make_plan()
    assert found.macros["PRECISION"] == "mixed"
    assert found.network.precision == "mixed"
    (line,) = [text for text in found.text().splitlines() if "precision" in text]
    assert line.split(maxsplit=2) == [
        "precision",
        "mixed",
        "measured GFLOP/s: float32 200, mixed 400",
    ]


def test_given_precision_is_not_measured(make_plan, measured):
    calls = measured(200e9, 400e9)
    assert make_plan({"precision": "float32"}).macros["PRECISION"] == "float32"
    assert calls == []


def test_run_that_began_keeps_its_precision(make_plan, measured, monkeypatch, tmp_path):
    measured(200e9, 400e9)
    begun = make_plan({"precision": "bfloat16"})
    folder = tmp_path / "runs/my-jars"
    folder.mkdir(parents=True)
    config = begun.settings
    spec = plan.student_folder.spec_of_run(
        config.data, begun.method_data, begun.network, config.decoding
    )
    plan.student_folder.write(folder, spec, begun.words)
    (choice,) = [c for c in make_plan().choices if c.name == "precision"]
    assert (choice.value, choice.reason) == ("bfloat16", "the run began with it")
