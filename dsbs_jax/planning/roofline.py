"""Lower bounds of a step's time from published peak rates."""

import dataclasses

from dsbs_jax.planning.chips import Chip


@dataclasses.dataclass(frozen=True)
class Roofline:
    """Seconds that a step needs at least for each resource of a chip.

    Attributes:
        compute: Products at the peak rate.
        memory: Reads and writes of the main memory at its bandwidth.
        communication: Bytes to other chips over all links.
    """

    compute: float
    memory: float
    communication: float

    @property
    def seconds(self) -> float:
        """The bound of a step: everything overlaps perfectly."""
        return max(self.compute, self.memory, self.communication)

    @property
    def limit(self) -> str:
        """The resource that bounds the step."""
        names = ("compute", "memory", "communication")
        return max(names, key=lambda name: getattr(self, name))


def roofline(
    chip: Chip, operations: float, hbm_bytes: float, sent_bytes: float
) -> Roofline:
    """Computes the bounds of one chip.

    Args:
        chip: The chip.
        operations: Operations of products on it.
        hbm_bytes: Bytes that it reads and writes.
        sent_bytes: Bytes that it sends.
    """
    return Roofline(
        compute=operations / chip.peak,
        memory=hbm_bytes / chip.hbm_rate,
        communication=sent_bytes / chip.link_rate,
    )


def most_utilization(
    chip: Chip, chips: int, needed_operations: float, seconds: float
) -> float:
    """Returns the largest MFU, 0 to 1: needed operations / (peak * time).

    Args:
        chip: The chip.
        chips: Number of chips.
        needed_operations: Operations of the step without recomputation, on all chips.
        seconds: The bound of its time.
    """
    return needed_operations / (chips * chip.peak * seconds)
