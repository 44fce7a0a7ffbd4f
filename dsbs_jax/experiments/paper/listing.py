"""What `dsbs-jax paper` prints before it trains: runs, state and cost."""

from dsbs_jax.experiments.paper import cost, planning
from dsbs_jax.experiments.paper.config import GridConfig
from dsbs_jax.experiments.paper.cost import Cost, Rate
from dsbs_jax.experiments.paper.execution import Grid
from dsbs_jax.experiments.paper.planning import PlannedRun
from dsbs_jax.reports import page
from dsbs_jax.reports.page import Block, Column, Heading, Paragraph, Row, Table
from dsbs_jax.reports.proportion import NO_VALUE

_COLUMNS = (
    Column("run"),
    Column("state"),
    *(
        Column(title, numeric=True)
        for title in ("steps", "M tokens", "TFLOP", "hours", "GB on disk")
    ),
)


def choose_rate(
    config: GridConfig, grid: Grid, tflops: float | None, device: str | None
) -> Rate | None:
    """Returns the rate of the estimate.

    Args:
        config: The grid's settings.
        grid: The grid, whose finished runs give a rate if nothing else does.
        tflops: A rate that the user measured, in 10^12 operations per second.
        device: Name of the device: of a recorded rate, or of the user's.

    Raises:
        UserError: The device has no recorded rate.
    """
    if tflops is not None:
        return Rate(1e12 * tflops, device or "your device", "given with --rate")
    if device is not None:
        return cost.recorded_rate(device)
    seconds = [(run.cell, grid.seconds(run)) for run in grid.runs]
    done = [(cell, value) for cell, value in seconds if value is not None]
    return cost.rate_of_finished(config, done)


def dry_run(config: GridConfig, grid: Grid, rate: Rate | None) -> str:
    """Returns the runs with their cost, the total and the commands as text."""
    costs = {run.name: cost.cost_of(config, run.cell) for run in grid.runs}
    failures = grid.failures()
    rows: list[Row] = []
    for run in grid.runs:
        steps = run.macros["TRAIN_STEPS"]
        cells = _cells(costs[run.name], rate)
        rows.append([run.name, _state(grid, run), steps, *cells])
    left = [run for run in grid.runs if grid.seconds(run) is None]
    for title, runs in (("runs", grid.runs), ("runs to train", left)):
        total = sum((costs[run.name] for run in runs), Cost())
        rows.append([f"{len(runs)} {title}", "", "", *_cells(total, rate)])
    commands = "\n".join(commands_of(grid))
    blocks: list[Block] = [Table(_COLUMNS, rows), Paragraph(_about(rate))]
    blocks += [Paragraph(f"failed: {name}: {text}") for name, text in failures.items()]
    blocks += [
        Paragraph(f"no data: {cell.name}: the rows lack a field that the method reads")
        for cell in planning.cells_without_data(config)
    ]
    blocks.append(Heading("Commands"))
    return page.as_text(config.title, blocks) + f"\n{commands}\n"


def commands_of(grid: Grid) -> list[str]:
    """Returns one command for each run of a grid."""
    return [run.command(grid.output, grid.tfds_data_dir) for run in grid.runs]


def _state(grid: Grid, run: PlannedRun) -> str:
    if grid.seconds(run) is not None:
        return "done"
    if grid.error_file(run).exists():
        return "failed"
    started = any((grid.folder(run) / "checkpoints").glob("checkpoint_*"))
    return "started" if started else "to do"


def _cells(one: Cost, rate: Rate | None) -> list[str]:
    hours = NO_VALUE
    if rate is not None:
        hours = f"{one.operations / rate.operations / 3600:,.2f}"
    return [
        f"{one.tokens / 1e6:,.1f}",
        f"{one.operations / 1e12:,.1f}",
        hours,
        f"{one.bytes / 1e9:,.1f}",
    ]


def _about(rate: Rate | None) -> str:
    text = (
        "Tokens and operations are those of training without padding, from the mean "
        "lengths in TOKENS; evaluation and compilation are not counted. Disk space is "
        "that of the checkpoints; --remove_checkpoints removes those of finished runs. "
    )
    if rate is None:
        return text + (
            "Hours need a measured rate: --rate in TFLOP/s, --device with a recorded "
            f"one ({', '.join(cost.recorded_rates())}), or a finished run of this grid."
        )
    return text + (
        f"Hours are those of {rate.device} at {rate.operations / 1e12:.3g} TFLOP/s "
        f"({rate.source})."
    )
