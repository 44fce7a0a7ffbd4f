"""Being asked to stop: SIGTERM, as schedulers send it before they take a machine."""

import signal
import types
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


class Terminated(SystemExit):
    """Ends the process with 128 + SIGTERM, as one that SIGTERM had killed."""

    def __init__(self) -> None:
        """Takes nothing."""
        super().__init__(128 + signal.SIGTERM)


class _Interrupted(BaseException):
    """Nothing between the handler and `interrupts` may catch it."""


class Sigterm:
    """Notes a SIGTERM instead of dying of it, while it is entered.

    Attributes:
        came: Whether one came.
    """

    def __init__(self) -> None:
        """Notes nothing yet."""
        self.came = False
        self._interrupt = False

    def __enter__(self) -> "Sigterm":
        """Begins to listen."""
        self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        """Leaves SIGTERM to whom it was left before."""
        signal.signal(signal.SIGTERM, self._before)

    def _note(self, number: int, frame: types.FrameType | None) -> None:
        self.came = True
        if self._interrupt:
            raise _Interrupted

    def interrupts(self, work: Callable[[], Result]) -> Result | None:
        """Does long work that changes no state, unless a SIGTERM comes.

        Returns:
            What `work` returns, or None where one came before or within.
        """
        self._interrupt = True
        try:
            return None if self.came else work()
        except _Interrupted:
            return None
        finally:
            self._interrupt = False
