import numpy as np
import pytest

from dsbs_jax.api import engine_choice


class Machine:
    """Answers with engines of given speeds, and tells the time that this takes."""

    def __init__(self, seconds_per_row, compile_seconds=30.0):
        self.seconds_per_row, self.compile_seconds = seconds_per_row, compile_seconds
        self.now, self.calls, self.compiled = 0.0, [], set()

    def answer(self, name, texts):
        self.calls.append((name, len(texts)))
        if (name, len(texts)) not in self.compiled:
            self.compiled.add((name, len(texts)))
            self.now += self.compile_seconds
        self.now += self.seconds_per_row[name] * len(texts)

    def measure(self, rows=2_048):
        names, inputs = [*self.seconds_per_row], ["text"] * rows
        return engine_choice.measure(names, self.answer, inputs, lambda: self.now)


def test_rates_leave_compilation_out():
    rates = Machine({"jax": 0.02, "ctranslate2": 0.01}).measure()
    assert rates == pytest.approx({"jax": 50, "ctranslate2": 100})


@pytest.mark.parametrize(
    ("seconds", "rows", "expected"),
    [(0.01, 2_048, [8, 8, 64, 64]), (0.01, 40, [8, 8, 40, 40]), (1.0, 2_048, [8, 8])],
)
def test_the_measured_rows_are_few(seconds, rows, expected):
    machine = Machine({"jax": seconds})
    assert machine.measure(rows) == pytest.approx({"jax": 1 / seconds})
    assert [count for _, count in machine.calls] == expected


@pytest.mark.parametrize(
    ("plan", "expected"),
    [({}, None), ({"engine": "jax"}, "jax"), ({"engine": "other"}, None)],
)
def test_the_recorded_engine_is_used_if_it_exists(plan, expected):
    assert engine_choice.recorded(plan, ("ctranslate2", "jax")) == expected


class Engine:
    """An engine whose labels take 2 ms for a row."""

    name = "jax"

    def score_labels(self, inputs):
        engine_choice.time.perf_counter.now += 0.002 * len(inputs)
        return np.zeros((len(inputs), 4), np.float32)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_label_cost_is_for_a_row_and_for_a_label(monkeypatch):
    monkeypatch.setattr(engine_choice.time, "perf_counter", Clock())
    timed = engine_choice.TimedEngine(Engine())
    assert timed.name == "jax" and timed.label_cost(4) is None
    for count in (3, 5):
        assert timed.score_labels([None] * count).shape == (count, 4)
    assert timed.label_cost(4) == {
        "labels": 4,
        "rows": 8,
        "seconds_per_row": pytest.approx(0.002),
        "seconds_per_row_and_label": pytest.approx(0.0005),
    }
    timed.use(Engine())
    assert timed.label_cost(4) is None
