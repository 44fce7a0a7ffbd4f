import dataclasses

import pytest

from dsbs_jax.commands import app
from support.scripted_teacher import act, serve

__all__ = ["act", "serve"]


@dataclasses.dataclass
class Done:
    """The exit status and the output of a command."""

    status: int
    out: str
    err: str


@pytest.fixture
def dsbs(capsys):
    """Runs a command line of `dsbs-jax` in this process."""

    def run(*arguments):
        status = app.run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Done(status, captured.out, captured.err)

    return run
