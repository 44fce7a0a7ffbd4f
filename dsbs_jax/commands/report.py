"""`dsbs-jax report`: the report of trained runs."""

import pathlib
from typing import TYPE_CHECKING, Annotated

import typer

from dsbs_jax import files
from dsbs_jax.commands import options
from dsbs_jax.commands import paper as paper_command
from dsbs_jax.errors import UserError

if TYPE_CHECKING:
    from dsbs_jax.experiments.paper.report import GridReport

_HELP = (
    "Writes the report of runs: accuracies over seeds, published numbers, comparisons "
    "and signatures, as HTML, Markdown, CSV and JSON, with plots."
)
_EXAMPLES = options.examples(
    "dsbs-jax report runs/paper --table=1",
    "dsbs-jax report runs/first runs/second --output runs/comparison",
    "dsbs-jax report runs/tickets_grid --study=tickets --record --output record",
)


def add(app: typer.Typer) -> None:
    """Adds the subcommand to the app."""
    app.command("report", help=_HELP, epilog=_EXAMPLES)(report)


def report(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUNS", help="Run folders, folders of them, or one grid's folder."
        ),
    ],
    table: paper_command.Table = None,
    figure: paper_command.Figure = None,
    study: paper_command.Study = None,
    output: Annotated[
        str | None,
        typer.Option(
            metavar="<folder>",
            help="Folder to write; by default `report` and the study's name in RUNS.",
        ),
    ] = None,
    record: Annotated[
        bool,
        typer.Option(
            "--record",
            help="Write only Markdown, CSV and plots: small files for a repository.",
        ),
    ] = False,
) -> None:
    """Writes the report and prints the path of its page."""
    from dsbs_jax.experiments.paper import finished
    from dsbs_jax.experiments.paper import report as reports

    first = files.local_path(runs[0])
    if table is None and figure is None and study is None:
        made = reports.make(finished.find_runs(runs))
        folder = first / "report"
    else:
        if len(runs) > 1:
            raise UserError(f"{len(runs)} folders are given, expected that of one grid")
        made, folder = _of_study(first, table, figure, study)
    print(made.write(files.local_path(output) if output else folder, record))


def _of_study(
    runs: pathlib.Path, table: int | None, figure: int | None, study: str | None
) -> tuple["GridReport", pathlib.Path]:
    """Returns the report of a study, and the folder for it."""
    from dsbs_jax.experiments.paper import execution, planning
    from dsbs_jax.experiments.paper import report as reports
    from dsbs_jax.experiments.paper import study as studies

    file = studies.file_of(table, figure, study)
    config = studies.read(file, {})
    grid = execution.Grid(planning.plan(config, runs), runs)
    made = reports.of_grid(config, grid.runs, runs, grid.failures())
    return made, reports.folder_of(runs, file)
