import re

import pytest

from dsbs_jax.fitting import plan, precision_trial
from dsbs_jax.student import precision
from support.students import make_student


@pytest.fixture
def measured(monkeypatch):
    """Replaces the measurement: sets the seconds of float32 and mixed, and records."""
    calls = []

    def set_seconds(float32, mixed):
        def seconds(network, *lengths):
            calls.append((network, *lengths))
            return float32 if network.precision == "float32" else mixed

        monkeypatch.setattr(precision, "missing_bfloat16", lambda flags: None)
        monkeypatch.setattr(precision_trial, "_SMALLEST_WIDTH", 16)
        monkeypatch.setattr(precision_trial, "_seconds", seconds)
        return calls

    return set_seconds


@pytest.mark.parametrize(
    ("mixed", "expected"), [(0.1, "mixed"), (0.196, "float32"), (0.4, "float32")]
)
def test_faster_precision_is_chosen_with_the_times(measured, mixed, expected):
    calls = measured(0.2, mixed)
    network = make_student(vocab_size=1024, scan=True)[0].config
    chosen, reason = precision_trial.choose(network, 64, 96, 24)
    assert chosen == expected
    ms = 1000 * mixed
    assert reason == f"measured ms of a layer: float32 200, mixed {ms:.0f}"
    for one, *lengths in calls:
        # 21 rows of 96 tokens are the most in 2048 tokens.
        assert lengths == [21, 96, 24]
        assert (one.num_encoder_layers, one.num_decoder_layers) == (1, 1)
        # Two of four layers have half of the vocabulary.
        assert (one.emb_dim, one.vocab_size, one.scan) == (16, 512, False)
    assert [one.precision for one, *_ in calls] == ["float32", "mixed"]


def test_narrow_student_trains_in_float32_without_a_measurement():
    network = make_student()[0].config
    chosen, reason = precision_trial.choose(network, 64, 96, 24)
    assert (chosen, reason) == ("float32", "products of width 16 take little of a step")


def test_cpu_without_bfloat16_trains_in_float32(monkeypatch):
    monkeypatch.setattr(precision_trial, "_SMALLEST_WIDTH", 16)
    monkeypatch.setattr(precision, "missing_bfloat16", lambda flags: "not supported")
    chosen, reason = precision_trial.choose(make_student()[0].config, 64, 96, 24)
    assert chosen == "float32"
    assert reason == "products of bfloat16 numbers are not supported"


@pytest.mark.slow
@pytest.mark.parametrize("version", ["t5_1_0", "t5_1_1"])
def test_layers_of_both_versions_are_measured(monkeypatch, version):
    monkeypatch.setattr(precision_trial, "_SMALLEST_WIDTH", 16)
    monkeypatch.setattr(precision, "missing_bfloat16", lambda flags: None)
    network = make_student(version)[0].config
    # One input longer than the measured tokens.
    chosen, reason = precision_trial.choose(network, 8, 3000, 2)
    assert chosen in ("float32", "mixed")
    assert re.fullmatch(r"measured ms of a layer: float32 \d+, mixed \d+", reason)


def test_plan_records_the_precision(make_plan, measured):
    measured(0.2, 0.1)
    found = make_plan()
    assert found.macros["PRECISION"] == "mixed"
    assert found.network.precision == "mixed"
    (line,) = [text for text in found.text().splitlines() if "precision" in text]
    assert line.split(maxsplit=2) == [
        "precision",
        "mixed",
        "measured ms of a layer: float32 200, mixed 100",
    ]


def test_given_precision_is_not_measured(make_plan, measured):
    calls = measured(0.2, 0.1)
    assert make_plan({"precision": "float32"}).macros["PRECISION"] == "float32"
    assert calls == []


def test_run_that_began_keeps_its_precision(make_plan, measured, monkeypatch, tmp_path):
    measured(0.2, 0.1)
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
