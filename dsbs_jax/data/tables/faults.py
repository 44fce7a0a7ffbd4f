"""Collects the faults of all files of one call, and reports them in one error."""

import dataclasses

from dsbs_jax.counts import counted
from dsbs_jax.errors import UserError

SHOWN = 20  # different faults that an error describes
LISTED = 10  # rows that the line of a fault lists


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


@dataclasses.dataclass(slots=True)
class _Group:
    """Equal faults of several rows of a file.

    Attributes:
        where: The first row, or the name of the file for a fault of the complete file.
        numbers: Numbers of the first rows.
        count: Number of all rows.
    """

    where: Place | str
    numbers: list[int]
    count: int = 0

    def place(self) -> list[str]:
        """Returns "line 3" or "lines 3, 4 and 8 more"; [] for a complete file."""
        if not isinstance(self.where, Place):
            return []
        if self.count == 1:
            return [str(self.where)]
        more = self.count - len(self.numbers)
        listed = ", ".join(map(str, self.numbers))
        return [f"{self.where.unit}s {listed}" + (f" and {more:,} more" * (more > 0))]


class Faults:
    """The faults found so far; the first ones are kept, all are counted.

    Equal faults of several rows are reported as one.
    """

    def __init__(self) -> None:
        """Starts without faults."""
        self._groups: dict[tuple[str, str], _Group] = {}
        self._count = 0
        self._files: dict[str, None] = {}

    def add(self, where: Place | str, text: str) -> None:
        """Adds a fault.

        Args:
            where: The row, or the name of the file for a fault of the complete file.
            text: What is wrong; it names the column.
        """
        self._count += 1
        file = where.file if isinstance(where, Place) else where
        self._files[file] = None
        if len(self._groups) < SHOWN:
            self._groups.setdefault((file, text), _Group(where, []))
        group = self._groups.get((file, text))
        if group is None:
            return
        group.count += 1
        if isinstance(where, Place) and len(group.numbers) < LISTED:
            group.numbers.append(where.number)

    def raise_if_any(self) -> None:
        """Raises an error that describes the faults.

        Raises:
            UserError: There are faults. One fault gives one line:
                "tickets.jsonl: 1 bad line: line 3: label is blank".
        """
        if not self._count:
            return
        lines = []
        for (file, text), group in sorted(self._groups.items(), key=self._position):
            place = [file] if len(self._files) > 1 else []
            lines.append(": ".join([*place, *group.place(), text]))
        more = self._count - sum(group.count for group in self._groups.values())
        lines += [f"{more:,} more"] if more else []
        raise UserError(self._heading() + _listed(lines))

    def _position(self, item: tuple[tuple[str, str], _Group]) -> tuple[int, int]:
        """Orders faults by file, then by row; faults of the complete file are first."""
        (file, _), group = item
        number = group.where.number if isinstance(group.where, Place) else 0
        return list(self._files).index(file), number

    def _heading(self) -> str:
        if len(self._files) > 1:
            return f"{self._count:,} faults in {len(self._files)} files:"
        (file,) = self._files
        places = (group.where for group in self._groups.values())
        units = {where.unit for where in places if isinstance(where, Place)}
        if units:
            return f"{file}: {counted(self._count, f'bad {min(units)}')}:"
        return f"{file}:" if self._count == 1 else f"{file}: {self._count:,} faults:"


def _listed(lines: list[str]) -> str:
    return f" {lines[0]}" if len(lines) == 1 else "".join(f"\n  {s}" for s in lines)
