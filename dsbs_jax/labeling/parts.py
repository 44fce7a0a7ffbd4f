"""The parts of an output: complete windows of answers, which a later run reuses.

answers.jsonl.parts/plan.json           what the parts depend on
answers.jsonl.parts/part-000007.jsonl   the answers to the rows of window 7

The folder is removed when the output is complete.
"""

import contextlib
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from dsbs_jax import files, json_input
from dsbs_jax.errors import UserError
from dsbs_jax.labeling.formats import OutputFormat, Row
from dsbs_jax.local.run_lock import RunLock

_PLAN = "plan.json"
# Takes the plan of an earlier run that did not end, or {}, and returns this run's plan.
MakePlan = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class Parts:
    """The complete parts of one output.

    Attributes:
        output: The final file.
        plan: What the parts depend on.
    """

    def __init__(
        self,
        output: pathlib.Path,
        folder: pathlib.Path,
        format: OutputFormat,
        plan: Mapping[str, Any],
    ) -> None:
        """Takes an open folder; `open_parts` opens it."""
        self.output, self.plan = output, plan
        self._folder, self._format = folder, format

    def has(self, window: int) -> bool:
        """Returns whether the part of a window is complete."""
        return self._path(window).exists()

    def write(self, window: int, rows: Sequence[Row]) -> None:
        """Writes the part of a window; it is complete or does not exist."""
        self._format.write_part(self._path(window), rows)

    def finish(self, windows: range, facts: Mapping[str, Any]) -> None:
        """Joins the parts to the output, and removes them.

        Args:
            windows: The windows, all of which have a part.
            facts: What is written next to the output, as `<output>.json`.
        """
        with files.replaced(self.output) as file:
            self._format.join([self._path(window) for window in windows], file)
        files.write_json(f"{self.output}.json", facts)
        # The plan goes last, so that a run that ends in between starts over.
        for path in self._folder.glob("*part-*"):
            path.unlink()
        (self._folder / _PLAN).unlink()

    def _path(self, window: int) -> pathlib.Path:
        return self._folder / f"part-{window:06}{self._format.suffix}"


@contextlib.contextmanager
def open_parts(
    output: pathlib.Path, make_plan: MakePlan, format: OutputFormat
) -> Iterator[Parts]:
    """Opens the parts of an output, which no other process uses in the block.

    Args:
        output: The final file.
        make_plan: Returns what the parts depend on, as JSON values.
        format: Format of the output.

    Raises:
        UserError: The folder has parts of another plan, or another process uses it.
    """
    folder = output.with_name(f"{output.name}.parts")
    with RunLock(folder, "output", "writes in this folder"):
        stored = _stored_plan(folder)
        plan = make_plan(stored)
        _check_plan(folder, stored, plan)
        # Before the first part, so that a later run continues with the same plan.
        files.write_json(folder / _PLAN, plan)
        yield Parts(output, folder, format, plan)
    with contextlib.suppress(OSError):
        folder.rmdir()  # fails if the output is not complete


def _stored_plan(folder: pathlib.Path) -> dict[str, Any]:
    path = folder / _PLAN
    if not path.exists():
        return {}
    try:
        return json_input.parse(path.read_bytes(), dict[str, Any])
    except json_input.JsonError as error:
        raise UserError(f"{path}: {error}; delete the folder {folder}") from error


def _check_plan(
    folder: pathlib.Path, stored: Mapping[str, Any], plan: Mapping[str, Any]
) -> None:
    if not stored:
        return
    changed = [
        f"{name} was {stored.get(name)!r}, is {plan.get(name)!r}"
        for name in {**stored, **plan}
        if stored.get(name) != plan.get(name)
    ]
    if changed:
        raise UserError(
            f"{folder} has answers of an earlier run that did not end, and they do not "
            f"fit: {'; '.join(changed)}. Repeat that run, or delete the folder"
        )
