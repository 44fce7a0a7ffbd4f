"""`dsbs-jax eval`: scores a student on labeled rows."""

from typing import Annotated, Any

import typer

from dsbs_jax.commands import options, student_options
from dsbs_jax.data.column_config import ColumnConfig

_HELP = "Scores a student on labeled rows, and writes a report."
_EXAMPLES = options.examples(
    "dsbs-jax eval runs/tickets test.jsonl --output runs/tickets/report"
)


def add(app: typer.Typer) -> None:
    """Adds the subcommand to the app."""
    app.command("eval", help=_HELP, epilog=_EXAMPLES)(evaluate)


@options.with_settings({"Columns": ColumnConfig})
def evaluate(
    student: student_options.Path,
    data: Annotated[
        list[str],
        typer.Argument(metavar="DATA", help="Rows with a label, in any format."),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            metavar="<folder>",
            help="Folder for report.json, report.txt, report.html and the predictions.",
        ),
    ] = None,
    labels: student_options.Labels = None,
    abstain_below: student_options.AbstainBelow = None,
    batch_size: student_options.BatchSize = None,
    precision: student_options.Precision = None,
    **columns: Any,
) -> None:
    """Prints the report and the path of its page."""
    loaded = student_options.load(student, labels, batch_size, precision=precision)
    report = loaded.evaluate(
        options.source_of(data),
        columns=ColumnConfig(**columns).columns,
        output=output,
        abstain_below=abstain_below,
    )
    print(report.to_text())
    if output is not None:
        print(f"The report is in {output}/report.html")
