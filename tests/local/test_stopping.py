import signal

import pytest

from dsbs_jax.local import stopping


def test_sigterm_ends_a_run_with_its_exit_status(capsys):
    with pytest.raises(stopping.Terminated) as end:
        stopping.end_run(signal.SIGTERM, "saved step 3")
    assert end.value.code == 143
    line = "SIGTERM: saved step 3; run the same command to resume\n"
    assert capsys.readouterr().out == line


def test_sigint_ends_a_run_as_ctrl_c(capsys):
    with pytest.raises(KeyboardInterrupt):
        stopping.end_run(signal.SIGINT, "saved step 3")
    line = "SIGINT: saved step 3; run the same command to resume\n"
    assert capsys.readouterr().out == line
