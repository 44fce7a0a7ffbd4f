"""The figures of a compiled program as plain values, for tables and JSON."""

import dataclasses
import datetime
import importlib.metadata
from typing import Any

from dsbs_jax.planning import costs
from dsbs_jax.planning.config import PlanConfig
from dsbs_jax.planning.program_plan import ProgramPlan
from dsbs_jax.student import operations
from dsbs_jax.student.sizes import size_of

# Norms, softmax and the loss: the instructions whose types are checked.
_EXACT = {"norms": "rsqrt", "softmax": "exponential", "loss": "log"}


def figures(config: PlanConfig, program: ProgramPlan) -> dict[str, Any]:
    """Returns what was compiled, and its figures.

    Memory and traffic are in bytes on one chip, operations those of products on one
    chip, times in seconds. A program that does not fit has no costs.

    Args:
        config: The run.
        program: The plan of one of its programs.
    """
    compiled = program.compiled
    values: dict[str, Any] = {
        "run": dataclasses.asdict(config),
        "program": program.name,
        "date": datetime.date.today().isoformat(),
        "versions": {n: importlib.metadata.version(n) for n in ("jax", "libtpu")},
        "mesh": program.mesh,
        "compile_seconds": compiled.seconds,
        "needed": compiled.needed,
    }
    if not program.fits:
        return values
    bound = program.roofline
    return values | {
        "arguments": compiled.arguments,
        "temporary": compiled.temporary,
        "peak": compiled.peak,
        "operations": program.operations,
        "formula_operations": program.needed_operations / program.slice.chips,
        "traffic": program.hbm_bytes,
        "collectives": [dataclasses.asdict(one) for one in program.collectives],
        "least_seconds": bound.seconds,
        "bound_by": bound.limit,
        "most_utilization": program.most_utilization,
        "types": {name: sorted(types) for name, types in exact_types(program).items()},
        "positions": positions(config, program),
    }


def exact_types(program: ProgramPlan) -> dict[str, set[str]]:
    """Returns the types in which norms, softmax and the loss are computed."""
    return {
        name: costs.result_types(program.program, opcode)
        for name, opcode in _EXACT.items()
    }


def positions(config: PlanConfig, program: ProgramPlan) -> tuple[int, int]:
    """Counts positions of a microbatch on a chip.

    Args:
        config: The run.
        program: The plan of its training step or of its decoding.

    Returns:
        The positions whose logits exist at the same time, and all positions.
    """
    mesh = program.mesh
    rows = max(1, config.batch_size // config.num_microbatches // mesh["data"])
    width = size_of(config.size)["EMB_DIM"]
    widths = {width}
    if config.parameter_partitioning_dims == 2:
        widths.add(width // mesh["data"])
    most = costs.most_positions(
        program.program, operations.PUBLISHED_ROWS // mesh["model"], widths
    )
    return most, rows * config.target_length
