import io
import sys

import pytest

from dsbs_jax import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (59.4, "0:59"),
        (59.6, "1:00"),
        (125, "2:05"),
        (3725, "1:02:05"),
        (90_000, "25:00:00"),
    ],
)
def test_duration(seconds, text):
    assert progress.duration(seconds) == text


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_plain_lines_without_a_terminal(monkeypatch, capsys, clock):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    shown = progress.Progress("step", 100, start=20)
    clock[0] += 10
    shown.update(40, "loss 1.5")
    shown.say("step 40: all is well")
    shown.close()
    lines = capsys.readouterr().out.splitlines()
    # Two steps per second, and sixty are left. Steps before the start do not count.
    assert lines == [
        "step 40/100  loss 1.5  2.00/s  0:30 left",
        "step 40: all is well",
    ]
    assert sys.stderr.getvalue() == ""


def test_time_left_is_unknown_without_a_rate(monkeypatch, capsys, clock):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    progress.Progress("step", 100).update(0)
    assert "? left" in capsys.readouterr().out


def test_bar_on_a_terminal(monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    shown = progress.Progress("step", 10, start=4)
    shown.update(7, "loss 1.5")
    shown.say("half way")
    shown.update(10, "loss 1.0")
    shown.close()
    assert capsys.readouterr().out == "half way\n"
    assert "7/10" in terminal.getvalue() or "10/10" in terminal.getvalue()
    assert "step" in terminal.getvalue() and "loss" in terminal.getvalue()
