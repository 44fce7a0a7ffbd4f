"""Memory of a training state on one chip, computed without compilation."""

import dataclasses
import math
from typing import Any

import jax

from dsbs_jax.local.state import TrainState


@dataclasses.dataclass(frozen=True)
class StateMemory:
    """Bytes of a training state on one chip, without padding.

    Attributes:
        updated: The weights or adapters that training updates.
        frozen: The weights that it keeps, which have no optimizer state.
        optimizer: The optimizer's state.
    """

    updated: int
    frozen: int
    optimizer: int


def of(state: TrainState) -> StateMemory:
    """Returns the memory of a real or abstract state."""
    return StateMemory(
        bytes_on_chip(state.params),
        bytes_on_chip(state.frozen),
        bytes_on_chip(state.opt_state),
    )


def bytes_on_chip(tree: Any) -> int:
    """Returns the bytes of a tree's arrays on one chip.

    float32 [8, 6] whose first axis is spread over 2 chips -> 96

    Args:
        tree: Real or abstract arrays with shardings, which split axes evenly.
    """
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )
