"""`dsbs-jax predict`: answers the rows of a file with a student."""

from typing import Annotated, Any

import typer

from dsbs_jax.commands import options, student_options
from dsbs_jax.data.column_config import ColumnConfig

_HELP = "Predicts a label, and optionally a rationale, for each row of a file."
_EXAMPLES = options.examples(
    "dsbs-jax predict runs/tickets new.jsonl --output answers.jsonl --rationales"
)


def add(app: typer.Typer) -> None:
    """Adds the subcommand to the app."""
    app.command("predict", help=_HELP, epilog=_EXAMPLES)(predict)


@options.with_settings({"Columns": ColumnConfig}, without=("label_column",))
def predict(
    student: student_options.Path,
    data: Annotated[
        list[str],
        typer.Argument(metavar="DATA", help="Rows with an input, in any format."),
    ],
    output: Annotated[
        str, typer.Option(metavar="<file>", help="JSONL file of the answers.")
    ],
    rationales: Annotated[
        bool,
        typer.Option("--rationales", help="Also generate a rationale for each input."),
    ] = False,
    labels: student_options.Labels = None,
    abstain_below: student_options.AbstainBelow = None,
    batch_size: student_options.BatchSize = None,
    **columns: Any,
) -> None:
    """Writes the answers and prints the path of their file."""
    loaded = student_options.load(student, labels, batch_size)
    number = loaded.predict_file(
        options.source_of(data),
        output,
        columns=ColumnConfig(**columns).columns,
        rationales=rationales,
        abstain_below=abstain_below,
    )
    print(f"{number:,} answers are in {output}")
