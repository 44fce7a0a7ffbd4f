import os
import signal

import pytest

from dsbs_jax.local import stopping


def ask():
    os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_is_noted_and_kills_nobody():
    before = signal.getsignal(signal.SIGTERM)
    with stopping.Sigterm() as sigterm:
        assert not sigterm.came
        ask()
        assert sigterm.came
    assert signal.getsignal(signal.SIGTERM) is before


def test_long_work_ends_at_once():
    done = []
    with stopping.Sigterm() as sigterm:

        def work():
            done.append("begun")
            ask()
            done.append("never")

        assert sigterm.interrupts(lambda: "result") == "result"
        assert sigterm.interrupts(work) is None
        assert sigterm.interrupts(work) is None
    assert done == ["begun"] and sigterm.came


def test_errors_of_the_work_come_through():
    with stopping.Sigterm() as sigterm, pytest.raises(ZeroDivisionError):
        sigterm.interrupts(lambda: 1 / 0)


def test_status_is_that_of_a_process_that_sigterm_ended():
    assert stopping.Terminated().code == 143
