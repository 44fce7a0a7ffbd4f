"""Handling of SIGTERM, which schedulers send before they take a machine away."""

import signal
import threading
import types
from collections.abc import Callable
from typing import Self, TypeVar

Result = TypeVar("Result")


class Terminated(SystemExit):
    """Ends the process with status 128 + SIGTERM, as if SIGTERM had killed it."""

    def __init__(self) -> None:
        """Sets the status."""
        super().__init__(128 + signal.SIGTERM)


class _Interrupted(BaseException):
    """Raised by the signal handler; not an Exception, so that no library catches it."""


class Sigterm:
    """Records a SIGTERM instead of ending the process, inside a `with` block.

    Attributes:
        received: Whether a SIGTERM arrived.
    """

    def __init__(self) -> None:
        """Creates the recorder; entering it installs the signal handler."""
        self.received = False
        self._interruptible = False

    def __enter__(self) -> Self:
        """Installs the signal handler; Python allows it in the main thread only."""
        self._installed = threading.current_thread() is threading.main_thread()
        if self._installed:
            self._previous = signal.signal(signal.SIGTERM, self._record)
        return self

    def __exit__(self, *_: object) -> None:
        """Restores the previous signal handler."""
        if self._installed:
            signal.signal(signal.SIGTERM, self._previous)

    def _record(self, number: int, frame: types.FrameType | None) -> None:
        self.received = True
        if self._interruptible:
            raise _Interrupted

    def run_interruptible(self, work: Callable[[], Result]) -> Result | None:
        """Runs long work that changes no state, and stops it when SIGTERM arrives.

        Returns:
            The result of `work`, or None if a SIGTERM arrived before or during it.
        """
        self._interruptible = True
        try:
            return None if self.received else work()
        except _Interrupted:
            return None
        finally:
            self._interruptible = False
