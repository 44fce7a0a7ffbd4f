"""`dsbs-jax paper`: the paper's tables and figures as grids of runs."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dsbs_jax import files
from dsbs_jax.commands import options
from dsbs_jax.errors import UserError

if TYPE_CHECKING:
    from dsbs_jax.experiments.paper.config import GridConfig
    from dsbs_jax.experiments.paper.execution import Grid

_HELP = (
    "Trains the runs of one of the paper's tables or figures, and writes a report. The "
    "same command resumes a grid that was stopped. Exit status 1: a run failed."
)
_EXAMPLES = options.examples(
    "dsbs-jax paper --table=1 --dry_run --rate=100",
    "dsbs-jax paper --table=1 --output runs/paper --tfds_data_dir data",
    "dsbs-jax paper --figure=6 --sizes=base,large --list > commands.txt",
    "dsbs-jax paper --study=tickets --output runs/tickets_grid",
)
FAILED = 1

Table = Annotated[
    int | None, typer.Option("--table", help="Table of the paper: 1 or 2.")
]
Figure = Annotated[
    int | None, typer.Option("--figure", help="Figure of the paper: 4 to 9.")
]
Study = Annotated[
    str | None,
    typer.Option(
        metavar="<name>",
        help="Another study: asdiv, alpha, tickets, tickets_sizes, tickets_methods, "
        "rationale_controls, esnli_released, esnli_methods, rationale_controls_esnli, "
        "esnli_pretrained; or your own gin file.",
    ),
]


def add(app: typer.Typer) -> None:
    """Adds the subcommand to the app."""
    app.command("paper", help=_HELP, epilog=_EXAMPLES)(paper)


def paper(
    table: Table = None,
    figure: Figure = None,
    study: Study = None,
    output: Annotated[
        str,
        typer.Option(
            metavar="<folder>",
            help="Folder of the run folders and of the report. Studies in one folder "
            "share the runs that both have.",
        ),
    ] = "runs/paper",
    tfds_data_dir: Annotated[
        str | None,
        typer.Option(
            "--tfds_data_dir", metavar="<folder>", help="The prepared datasets."
        ),
    ] = None,
    release: Annotated[
        str | None,
        typer.Option(
            metavar="<path>", help="The released data, for studies of e-SNLI."
        ),
    ] = None,
    initial_checkpoint: Annotated[
        list[str] | None,
        typer.Option(
            "--initial_checkpoint",
            metavar="<size=path>",
            help="Weights that a size starts from: 'hub:' and a repository, a Hugging "
            "Face folder, or a T5X folder. May be given several times.",
        ),
    ] = None,
    vocabulary: Annotated[
        str | None,
        typer.Option(metavar="<path>", help="VOCABULARY_PATH of the runs."),
    ] = None,
    datasets: Annotated[
        str | None, typer.Option(metavar="<text,text>", help="Only these datasets.")
    ] = None,
    sizes: Annotated[
        str | None, typer.Option(metavar="<text,text>", help="Only these sizes.")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="<int,int>", help="Seeds of the runs.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry_run",
            help="Print runs, commands, tokens, operations and hours; train nothing.",
        ),
    ] = False,
    list_commands: Annotated[
        bool,
        typer.Option(
            "--list",
            help="Print one command for each run, for other schedulers; train nothing.",
        ),
    ] = False,
    prepare: Annotated[
        bool,
        typer.Option("--prepare", help="Write the generated datasets; train nothing."),
    ] = False,
    rate: Annotated[
        float | None,
        typer.Option(
            metavar="<number>",
            help="Rate of the estimate that you measured, in TFLOP/s of training.",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="<name>", help="Device of the estimate: cpu-2-cores."),
    ] = None,
    remove_checkpoints: Annotated[
        bool,
        typer.Option(
            "--remove_checkpoints", help="Remove the checkpoints of finished runs."
        ),
    ] = False,
) -> int:
    """Prints, prepares or trains a grid; returns the exit status."""
    from dsbs_jax.experiments.paper import execution, listing, planning

    if rate is not None and rate <= 0:
        raise UserError(f"--rate is {rate}, expected a number above 0")
    changes = {
        "initial_checkpoints": initial_checkpoint,
        "vocabulary": vocabulary,
        "datasets": datasets,
        "sizes": sizes,
        "seeds": seeds,
    }
    file, config = read_config(table, figure, study, changes)
    folder = files.local_path(output)
    grid = execution.Grid(
        planning.plan(config, folder),
        folder,
        tfds_data_dir,
        release,
        keep_checkpoints=not remove_checkpoints,
    )
    if dry_run:
        chosen = listing.choose_rate(config, grid, rate, device)
        print(listing.dry_run(config, grid, chosen), end="")
    elif list_commands:
        print("\n".join(listing.commands_of(grid)))
        _note_generated(grid)
    elif prepare:
        execution.prepare(grid)
    else:
        return _train(config, grid, file)
    return 0


def read_config(
    table: int | None, figure: int | None, study: str | None, changes: dict[str, Any]
) -> tuple[str, "GridConfig"]:
    """Returns the file of a study, and its settings with those of the command line."""
    from dsbs_jax.experiments.paper import study as studies

    def seeds_of(text: str) -> tuple[int, ...]:
        try:
            return tuple(int(seed) for seed in options.list_of(text))
        except ValueError:
            raise UserError(f"--seeds is {text!r}, expected <int,int>") from None

    readers: dict[str, Callable[[Any], Any]] = {
        "initial_checkpoints": studies.parse_checkpoints,
        "datasets": lambda text: tuple(options.list_of(text)),
        "sizes": lambda text: tuple(options.list_of(text)),
        "seeds": seeds_of,
    }
    read = {n: readers.get(n, str)(value) for n, value in changes.items() if value}
    file = studies.file_of(table, figure, study)
    return file, studies.read(file, read)


def _note_generated(grid: "Grid") -> None:
    from dsbs_jax.experiments.paper import generated

    if any(run.cell.dataset in generated.DATASETS for run in grid.runs):
        note = "note: these runs read generated data; write it with --prepare first"
        print(note, file=sys.stderr)


def _train(config: "GridConfig", grid: "Grid", file: str) -> int:
    """Trains the grid and writes its report; returns the exit status."""
    from dsbs_jax.experiments.paper import execution

    number = execution.execute(grid)
    if number is not None:
        print("stopped; run the same command to resume", flush=True)
        return 128 + number
    failures = grid.failures()
    done = [run for run in grid.runs if run.name not in failures]
    print(f"{len(done)} of {len(grid.runs)} runs are finished, {len(failures)} failed")
    for name, text in failures.items():
        print(f"  {name}: {text}")
    if any(not run.cell.is_pretraining for run in done):
        from dsbs_jax.experiments.paper import report

        made = report.of_grid(config, grid.runs, grid.output, failures)
        print(made.write(report.folder_of(grid.output, file)))
    return FAILED if failures else 0
