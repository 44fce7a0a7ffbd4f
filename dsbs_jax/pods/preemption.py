"""Preemption notices: signals after which a run saves a checkpoint and ends.

Clouds and schedulers send SIGTERM before they take a machine away. Connected processes
must save the same step, although the signal reaches each at another moment, or only one
of them. `jax.distributed` therefore receives SIGTERM in each process, and lets all of
them stop after the same step. A process on its own records SIGTERM and Ctrl-C.
"""

import contextlib
import signal
from typing import NoReturn

import jax
from jax.experimental import multihost_utils
from t5x import trainer

from dsbs_jax import interruption


class Preempted(trainer.PreemptionError, SystemExit):
    """Ends the process with status 128 + signal, as if the signal had killed it.

    T5X catches `PreemptionError`, saves a checkpoint and raises the error again. Python
    does not print a traceback for `SystemExit`, and exits with its `code`.
    """

    def __init__(self, number: int) -> None:
        """Takes the signal's number."""
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def code(self) -> int:  # type: ignore[override]
        """The exit status.

        It is a property because gin replaces an exception by a proxy, which passes on
        the attributes of the instance only.
        """
        return 128 + self.number


def recorded() -> contextlib.AbstractContextManager[None]:
    """Lets `received` see the signals that arrive in a block."""
    if jax.distributed.is_initialized():
        return contextlib.nullcontext()
    return interruption.recorded()


def received(step: int) -> int | None:
    """Returns the signal after which this process must stop, or None.

    All processes call this function after each step, and get the same answer.

    Args:
        step: The number of steps done.
    """
    if jax.distributed.is_initialized():
        stops = multihost_utils.reached_preemption_sync_point(step)
        return signal.SIGTERM if stops else None
    return interruption.signal_received()


def end_run(number: int, step: int) -> NoReturn:
    """Prints one line and ends the run.

    Args:
        number: The signal.
        step: The number of steps done.

    Raises:
        Preempted: Always.
    """
    saved = f"{signal.Signals(number).name}: saving a checkpoint after step {step}"
    print(f"{saved}; run the same command to resume", flush=True)
    raise Preempted(number)
