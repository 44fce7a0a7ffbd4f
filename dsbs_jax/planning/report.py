"""The text of a plan."""

from collections.abc import Iterator, Sequence

import tabulate

from dsbs_jax.planning import costs
from dsbs_jax.planning.chips import Slice
from dsbs_jax.planning.config import PlanConfig
from dsbs_jax.planning.figures import exact_types, positions
from dsbs_jax.planning.program_plan import ProgramPlan
from dsbs_jax.planning.search import Candidate
from dsbs_jax.planning.state_memory import StateMemory
from dsbs_jax.student import operations
from dsbs_jax.student.sizes import size_of

_GIB = 2**30
_MIB = 2**20
# By PARAMETER_PARTITIONING_DIMS.
_SPREAD = {
    1: "stored in each copy of the student",
    2: "spread over the copies of the student",
}
_NAMES = {"train": "train step", "decode": "decoding of a batch, to the last token"}


def text(
    config: PlanConfig,
    topology: Slice,
    programs: Sequence[ProgramPlan],
    tried: Sequence[Candidate],
    state: StateMemory | None = None,
) -> str:
    """Returns the plan to print.

    Args:
        config: The run.
        topology: The slice.
        programs: The plans of its compiled programs.
        tried: The runs that a search compiled.
        state: The memory of the training state, if it is planned.
    """
    chip = topology.chip
    weights = operations.parameter_count(size_of(config.size))
    head = [
        ("student", f"{config.size}, {weights / 1e6:,.0f} M weights"),
        (
            "slice",
            f"{topology.name}: {topology.chips} chips, each "
            f"{chip.hbm / _GIB:.0f} GiB, {chip.peak / 1e12:.0f} TFLOP/s, "
            f"{chip.hbm_rate / 1e9:,.0f} GB/s memory, {chip.link_rate / 1e9:.0f} GB/s "
            "to other chips",
        ),
        (
            "batch",
            f"{config.batch_size} rows of {config.input_length} + "
            f"{config.target_length} tokens, {config.num_microbatches} microbatches",
        ),
        ("parameters", _SPREAD[config.parameter_partitioning_dims]),
        (
            "computation",
            f"{config.precision}, remat {config.remat}, scan {config.scan_layers}, "
            f"attention of {config.attention_queries or 'all'} queries at a time",
        ),
    ]
    if state:
        head.append(("state of a chip", _state_text(config, state)))
    parts = [_table(head)]
    if tried:
        parts.append(_search_text(config, tried))
    parts += [_program_text(config, program) for program in programs]
    return "\n\n".join(parts)


def _state_text(config: PlanConfig, state: StateMemory) -> str:
    updated = "adapters" if config.lora_rank else "updated weights"
    return (
        f"{updated} {state.updated / _MIB:,.2f} MiB, frozen weights "
        f"{state.frozen / _MIB:,.2f} MiB, optimizer {config.optimizer} "
        f"{state.optimizer / _MIB:,.2f} MiB"
    )


def _program_text(config: PlanConfig, program: ProgramPlan) -> str:
    compiled = program.compiled
    mesh = " x ".join(f"{name} {size}" for name, size in program.mesh.items())
    title = (
        f"{_NAMES[program.name]} (mesh {mesh}; compiled in {compiled.seconds:.0f} s)"
    )
    if compiled.needed is not None:
        line = (
            f"does not fit: needs at least {compiled.needed / _GIB:.2f} GiB of "
            f"{program.slice.chip.hbm / _GIB:.0f} GiB"
        )
        return f"{title}\n{line}"
    rows = [
        ("fits", "yes"),
        (
            "memory of a chip",
            f"arguments {compiled.arguments / _GIB:.2f} GiB (of which results reuse "
            f"{compiled.reused / _GIB:.2f}), temporary "
            f"{compiled.temporary / _GIB:.2f}, peak {compiled.peak / _GIB:.2f}",
        ),
        *_cost_rows(program),
        ("types", _types(program)),
    ]
    if program.name == "train":
        rows += [*_logits_row(config, program), *_run_rows(config, program)]
    return f"{title}\n{_table(rows)}"


def _search_text(config: PlanConfig, tried: Sequence[Candidate]) -> str:
    """Returns the runs that the search compiled, the chosen one marked."""
    head = ("data x model", "microbatches", "remat", "peak, GiB", "least ms", "")
    rows = [head]
    for one in tried:
        compiled, mesh = one.train.compiled, one.train.mesh
        fits = compiled.needed is None
        memory = compiled.peak if fits else compiled.needed or 0
        rows.append(
            (
                f"{mesh['data']} x {mesh['model']}",
                str(one.config.num_microbatches),
                one.config.remat,
                f"{memory / _GIB:.2f}",
                f"{1e3 * one.train.roofline.seconds:.2f}" if fits else "does not fit",
                "chosen" if one.config == config else "",
            )
        )
    return _table(rows)


def _types(program: ProgramPlan) -> str:
    """Says in which types norms, softmax and the loss are computed."""
    return ", ".join(
        f"{name} {' and '.join(sorted(types)) or 'none'}"
        for name, types in exact_types(program).items()
    )


def _logits_row(config: PlanConfig, program: ProgramPlan) -> Iterator[tuple[str, str]]:
    most, of = positions(config, program)
    yield "logits", f"of at most {most:,} of {of:,} positions at a time"


def _cost_rows(program: ProgramPlan) -> Iterator[tuple[str, str]]:
    bound = program.roofline
    formula = program.needed_operations / program.slice.chips
    yield (
        "products of a chip",
        f"{program.operations / 1e12:.3f} TFLOP, "
        f"{program.operations / formula:.3f} of the formula's",
    )
    intensity = program.operations / max(1, program.hbm_bytes)
    yield (
        "memory traffic",
        f"{program.hbm_bytes / 1e9:.2f} GB, {intensity:.0f} operations per byte",
    )
    for one in program.collectives:
        yield _collective_row(one)
    if not program.collectives:
        yield "communication", "none"
    yield (
        "least time",
        f"{1e3 * bound.seconds:.2f} ms, bound by {bound.limit} (compute "
        f"{1e3 * bound.compute:.2f}, memory {1e3 * bound.memory:.2f}, communication "
        f"{1e3 * bound.communication:.2f})",
    )
    yield "largest MFU", f"{100 * program.most_utilization:.0f} %"


def _collective_row(one: costs.Collective) -> tuple[str, str]:
    return (
        f"{one.kind} over {one.axes}",
        f"{one.count} times, {one.bytes / 1e9:.3f} GB, {one.sent / 1e9:.3f} GB sent",
    )


def _run_rows(config: PlanConfig, program: ProgramPlan) -> Iterator[tuple[str, str]]:
    seconds = program.roofline.seconds
    rate = config.batch_size / seconds
    hours = config.train_steps * seconds / 3600
    yield (
        "input rate",
        f"{rate:,.0f} rows/s on all hosts together, so that no step waits for rows",
    )
    yield (
        "run",
        f"{config.train_steps:,} steps: at least {hours:.2f} h, "
        f"{hours * program.slice.chips:.2f} chip hours",
    )


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    return tabulate.tabulate(rows, tablefmt="plain", disable_numparse=True)
