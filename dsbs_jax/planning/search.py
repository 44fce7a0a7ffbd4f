"""Search for a mesh, microbatches and recomputation by compiling a handful of steps."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

from dsbs_jax.planning.config import PlanConfig
from dsbs_jax.planning.program_plan import ProgramPlan
from dsbs_jax.student.config import Remat

# Compiles the training step of a run.
Compile = Callable[[PlanConfig], ProgramPlan]


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A run and its compiled training step."""

    config: PlanConfig
    train: ProgramPlan


def search(
    config: PlanConfig, chips: int, heads: int, compile: Compile
) -> list[Candidate]:
    """Compiles up to `config.search` runs.

    Fewer parts are faster, so each mesh begins with one microbatch and without
    recomputation. If a step does not fit, the memory that it needs says how many
    microbatches to try next. If even single rows do not fit, layers are recomputed.

    Args:
        config: The run; its partitions, microbatches and `remat` are replaced.
        chips: Chips of the slice.
        heads: Attention heads, which the partitions of a copy divide.
        compile: Compiles the training step of a run.

    Returns:
        The runs in the order of their compilation.
    """
    tried: list[Candidate] = []
    for partitions in meshes(config.batch_size, chips, heads):
        microbatches = 1
        remat: Remat = "none"
        most = config.batch_size * partitions // chips
        while len(tried) < config.search:
            run = dataclasses.replace(
                config,
                num_partitions=partitions,
                num_microbatches=microbatches,
                remat=remat,
            )
            found = Candidate(run, compile(run))
            tried.append(found)
            needed = found.train.compiled.needed
            if needed is None:
                break
            if microbatches < most:
                over = needed / found.train.slice.chip.hbm
                microbatches = _divisor(most, microbatches * max(2, math.ceil(over)))
            elif remat == "none":
                microbatches, remat = 1, "full"
            else:
                break
    return tried


def meshes(rows: int, chips: int, heads: int) -> Iterator[int]:
    """Yields partitions of one copy: powers of 2 that divide the chips and the heads.

    Each copy needs rows of its own.
    """
    partitions = 1
    while chips % partitions == 0 and heads % partitions == 0:
        if rows % (chips // partitions) == 0:
            yield partitions
        partitions *= 2


def best(candidates: Sequence[Candidate]) -> Candidate | None:
    """Returns the run that fits and has the lowest bound of its step's time.

    Of runs with the same bound, the one with the lower peak of memory.
    """
    return min(
        (one for one in candidates if one.train.fits),
        key=lambda one: (one.train.roofline.seconds, one.train.compiled.peak),
        default=None,
    )


def _divisor(number: int, least: int) -> int:
    """Returns the smallest divisor of a number that is at least `least`, or itself."""
    return next((n for n in range(least, number) if number % n == 0), number)
