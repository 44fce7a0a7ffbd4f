"""Collects the faults of all files of one call, and reports them in one error."""

import dataclasses

from dsbs_jax.errors import UserError

SHOWN = 20  # faults that an error describes


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """A row of a file.

    Attributes:
        file: The file, as messages name it.
        unit: "line" or "row".
        number: Number of the line or row, from 1.
    """

    file: str
    unit: str
    number: int

    def __str__(self) -> str:
        """The place in its file: "line 17"."""
        return f"{self.unit} {self.number}"


class Faults:
    """The faults found so far; the first ones are kept, all are counted."""

    def __init__(self) -> None:
        """Starts without faults."""
        self._shown: list[tuple[Place | str, str]] = []
        self._count = 0
        self._files: dict[str, None] = {}

    def add(self, where: Place | str, text: str) -> None:
        """Adds a fault.

        Args:
            where: The row, or the name of the file for a fault of the complete file.
            text: What is wrong; it names the column.
        """
        self._count += 1
        self._files[where.file if isinstance(where, Place) else where] = None
        if len(self._shown) < SHOWN:
            self._shown.append((where, text))

    def raise_if_any(self) -> None:
        """Raises an error that describes the faults.

        Raises:
            UserError: There are faults. One fault gives one line:
                "tickets.jsonl: 1 bad line(s): line 3: label is blank".
        """
        if not self._count:
            return
        several_files = len(self._files) > 1
        lines = []
        for where, text in sorted(self._shown, key=self._position):
            place = [str(where)] if isinstance(where, Place) else []
            file = [where.file if isinstance(where, Place) else where]
            lines.append(": ".join([*(file if several_files else []), *place, text]))
        more = self._count - len(self._shown)
        lines += [f"{more} more"] if more else []
        raise UserError(self._heading() + _listed(lines))

    def _position(self, fault: tuple[Place | str, str]) -> tuple[int, int]:
        """Orders faults by file, then by row; faults of the complete file are first."""
        where, _ = fault
        file, number = (
            (where.file, where.number) if isinstance(where, Place) else (where, 0)
        )
        return list(self._files).index(file), number

    def _heading(self) -> str:
        if len(self._files) > 1:
            return f"{self._count} faults in {len(self._files)} files:"
        (file,) = self._files
        units = {where.unit for where, _ in self._shown if isinstance(where, Place)}
        if units:
            return f"{file}: {self._count} bad {min(units)}(s):"
        return f"{file}:" if self._count == 1 else f"{file}: {self._count} faults:"


def _listed(lines: list[str]) -> str:
    return f" {lines[0]}" if len(lines) == 1 else "".join(f"\n  {s}" for s in lines)
