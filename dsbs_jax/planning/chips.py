"""Published figures of TPU chips.

v4:  https://cloud.google.com/tpu/docs/v4 (memory, peak); arXiv 2304.01433 (links)
v5e: https://cloud.google.com/tpu/docs/v5e
v5p: https://cloud.google.com/tpu/docs/v5p
v6e: https://cloud.google.com/tpu/docs/v6e
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

from dsbs_jax.errors import UserError

_GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """One chip.

    Attributes:
        hbm: Bytes of its main memory.
        peak: Operations per second on bfloat16 matrices.
        hbm_rate: Bytes per second from or to its main memory.
        link_rate: Bytes per second that it sends to other chips, over all its links.
    """

    hbm: int
    peak: float
    hbm_rate: float
    link_rate: float


# Links work in both directions, so `link_rate` is half of the published bandwidth.
CHIPS: Mapping[str, Chip] = {
    "v4": Chip(hbm=32 * _GIB, peak=275e12, hbm_rate=1200e9, link_rate=300e9),
    "v5e": Chip(hbm=16 * _GIB, peak=197e12, hbm_rate=819e9, link_rate=200e9),
    "v5p": Chip(hbm=95 * _GIB, peak=459e12, hbm_rate=2765e9, link_rate=600e9),
    "v6e": Chip(hbm=32 * _GIB, peak=918e12, hbm_rate=1638e9, link_rate=400e9),
}
# The kinds whose chips are connected in three dimensions.
_THREE_DIMENSIONS = frozenset({"v4", "v5p"})
_FORM = re.compile(r"(\w+):(\d+(?:x\d+){1,2})")


@dataclasses.dataclass(frozen=True)
class Slice:
    """A slice of a pod.

    Attributes:
        name: For example "v4:2x2x4".
        kind: For example "v4".
        shape: Chips along each dimension.
    """

    name: str
    kind: str
    shape: tuple[int, ...]

    @property
    def chip(self) -> Chip:
        """One of its chips."""
        return CHIPS[self.kind]

    @property
    def chips(self) -> int:
        """Number of chips."""
        return math.prod(self.shape)

    def compiler_options(self) -> dict[str, Any]:
        """Returns the options of libtpu's description of this slice."""
        options: dict[str, Any] = {}
        if self.kind == "v4":
            # One device for each chip, as on a TPU VM, instead of one for each core.
            options["chip_config_name"] = "megacore"
        if self.chips == 1:
            # By default a host has 2 x 2 chips.
            options["chips_per_host_bounds"] = (1, 1, 1)
        return options


def slice_of(name: str) -> Slice:
    """Reads the name of a slice.

    Args:
        name: The kind of the chips, and the chips along each dimension: "v5e:2x4".

    Raises:
        UserError: The name has another form, or the kind is unknown.
    """
    found = _FORM.fullmatch(name)
    if found is None or found[1] not in CHIPS:
        raise UserError(
            f"TOPOLOGY is {name!r}, expected one of {', '.join(CHIPS)}, a colon and "
            "the chips along each dimension, such as v4:2x2x4 or v5e:4x4"
        )
    kind, shape = found[1], tuple(int(n) for n in found[2].split("x"))
    dimensions = 3 if kind in _THREE_DIMENSIONS else 2
    if len(shape) != dimensions or 0 in shape:
        raise UserError(
            f"TOPOLOGY is {name!r}, expected {dimensions} positive dimensions, because "
            f"the chips of {kind} form a {dimensions}D mesh"
        )
    return Slice(name, kind, shape)
