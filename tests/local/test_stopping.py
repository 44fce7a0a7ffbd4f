import os
import signal

import pytest

from dsbs_jax.local import stopping


def send_sigterm():
    os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_is_recorded_and_does_not_end_the_process():
    before = signal.getsignal(signal.SIGTERM)
    with stopping.Sigterm() as sigterm:
        assert not sigterm.received
        send_sigterm()
        assert sigterm.received
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_stops_interruptible_work():
    done = []
    with stopping.Sigterm() as sigterm:

        def work():
            done.append("begun")
            send_sigterm()
            done.append("never")

        assert sigterm.run_interruptible(lambda: "result") == "result"
        assert sigterm.run_interruptible(work) is None
        assert sigterm.run_interruptible(work) is None
    assert done == ["begun"] and sigterm.received


def test_errors_of_the_work_are_raised():
    with stopping.Sigterm() as sigterm, pytest.raises(ZeroDivisionError):
        sigterm.run_interruptible(lambda: 1 / 0)


def test_exit_status_is_that_of_a_process_that_sigterm_ended():
    assert stopping.Terminated().code == 143
