"""Progress of long work: a bar on a terminal, plain lines elsewhere."""

import sys
import time

import tqdm


def duration(seconds: float) -> str:
    """Formats seconds as minutes and seconds, with hours if needed.

    125 -> "2:05", 3725 -> "1:02:05"
    """
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class Progress:
    """Shows the units done, the rate and the remaining time."""

    def __init__(self, what: str, total: int, start: int = 0) -> None:
        """Starts the clock.

        Args:
            what: Name of a unit, for example "step".
            total: Units of the complete work.
            start: Units that are already done; they do not count for the rate.
        """
        self._what, self._total = what, total
        self._start, self._began = start, time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm.tqdm(
                total=total, initial=start, desc=what, dynamic_ncols=True
            )

    def update(self, done: int, note: str = "") -> None:
        """Shows that `done` units are done.

        Args:
            done: Units done, with those done at the start.
            note: Text to show after the count.
        """
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(done - self._bar.n)
            return
        elapsed = max(time.monotonic() - self._began, 1e-9)
        rate = (done - self._start) / elapsed
        left = duration((self._total - done) / rate) if rate else "?"
        print(
            f"{self._what} {done}/{self._total}  {note}  {rate:.2f}/s  {left} left",
            flush=True,
        )

    def say(self, text: str) -> None:
        """Prints a line without breaking the bar."""
        if self._bar is not None:
            self._bar.clear()
        print(text, flush=True)

    def close(self) -> None:
        """Ends the bar and leaves it on the screen."""
        if self._bar is not None:
            self._bar.close()
