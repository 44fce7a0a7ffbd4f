"""The costs and bounds of one compiled program."""

import dataclasses
import functools
from collections.abc import Sequence

from dsbs_jax.planning import costs, hlo, programs
from dsbs_jax.planning.chips import Slice
from dsbs_jax.planning.roofline import Roofline, most_utilization, roofline


@dataclasses.dataclass(frozen=True)
class ProgramPlan:
    """One compiled program and its costs on one chip.

    Attributes:
        name: "train" or "decode".
        slice: The slice.
        compiled: The program, or why it does not fit.
        mesh: The size of each mesh axis.
        needed_operations: Operations of the complete batch on all chips, from the
            formula, without recomputation.
    """

    name: str
    slice: Slice
    compiled: programs.Compiled
    mesh: dict[str, int]
    needed_operations: float

    @property
    def fits(self) -> bool:
        """Whether the compiler found memory for it."""
        return self.compiled.program is not None

    @functools.cached_property
    def operations(self) -> int:
        """Operations of all products on one chip."""
        return costs.product_operations(self.program)

    @functools.cached_property
    def hbm_bytes(self) -> int:
        """Bytes read from and written to the main memory of one chip."""
        return costs.hbm_bytes(self.program)

    @functools.cached_property
    def collectives(self) -> Sequence[costs.Collective]:
        """Communication between chips."""
        return costs.collectives(self.program, self.mesh)

    @property
    def program(self) -> hlo.Program:
        """The program.

        Raises:
            ValueError: It does not fit.
        """
        if self.compiled.program is None:
            raise ValueError(f"the program {self.name} does not fit")
        return self.compiled.program

    @functools.cached_property
    def roofline(self) -> Roofline:
        """The bounds of its time."""
        sent = sum(one.sent for one in self.collectives)
        return roofline(self.slice.chip, self.operations, self.hbm_bytes, sent)

    @property
    def most_utilization(self) -> float:
        """The bound of its MFU, 0 to 1."""
        return most_utilization(
            self.slice.chip,
            self.slice.chips,
            self.needed_operations,
            self.roofline.seconds,
        )
