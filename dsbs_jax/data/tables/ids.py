"""Ids of rows: those in the files, and generated ones."""

from collections.abc import Iterable, Iterator

from dsbs_jax.data.tables.faults import Place


def generated_id(stem: str, place: Place) -> str:
    """Returns the id of a row without one: `<stem>-<number>`."""
    return f"{stem}-{place.number}"


class Ids:
    """The ids of a list of rows: those in the files, and generated ones."""

    def __init__(self) -> None:
        """Starts without rows."""
        # Ids of each file and their rows. One dictionary for each file, because a
        # place for each id needs twice the memory.
        self._given: dict[tuple[str, str], dict[str, int]] = {}
        # For each row 1 if its id is generated.
        self._generated = bytearray()

    def add(self, given: str | None, place: Place, stem: str) -> str:
        """Returns the id of the next row: the given one, or `<stem>-<number>`.

        Raises:
            ValueError: An earlier row has the given id.
        """
        if given is None:
            self._generated.append(True)
            return generated_id(stem, place)
        for (file, unit), known in self._given.items():
            if given in known:
                other = Place(file, unit, known[given])
                where = str(other) if file == place.file else f"{file}: {other}"
                raise ValueError(
                    f"id {given!r} is also the id of {where}; change one of them, or "
                    "rename the column of the ids"
                )
        self._generated.append(False)
        self._given.setdefault((place.file, place.unit), {})[given] = place.number
        return given

    def replacements(self, ids: Iterable[str]) -> Iterator[tuple[int, str]]:
        """Yields index and new id of each row whose generated id is another row's id.

        Args:
            ids: The ids of all rows, as `add` returned them.
        """
        taken = set().union(*self._given.values())
        if not taken:
            return
        for index, (generated, id) in enumerate(zip(self._generated, ids, strict=True)):
            copy, unique = 1, id
            while generated and unique in taken:
                copy += 1
                unique = f"{id}.{copy}"
            if unique != id:
                yield index, unique
