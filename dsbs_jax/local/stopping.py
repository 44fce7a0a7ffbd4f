"""The end of a run after Ctrl-C (SIGINT) or SIGTERM, which schedulers send.

`dsbs_jax.interruption` records the signal; the run saves its state first.
"""

import signal
from typing import NoReturn


class Terminated(SystemExit):
    """Ends the process with status 128 + SIGTERM, as if SIGTERM had killed it."""

    def __init__(self) -> None:
        """Sets the status."""
        super().__init__(128 + signal.SIGTERM)


def end_run(number: int, text: str) -> NoReturn:
    """Prints one line and ends the run.

    Args:
        number: The signal.
        text: What is saved.

    Raises:
        KeyboardInterrupt: The signal is SIGINT; commands exit with status 130.
        Terminated: The signal is SIGTERM.
    """
    name = signal.Signals(number).name
    print(f"{name}: {text}; run the same command to resume", flush=True)
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated
