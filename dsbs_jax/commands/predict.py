"""`dsbs-jax predict`: answers the rows of a file with a student."""

import re
from typing import Annotated, Any

import typer

from dsbs_jax.commands import options, student_options
from dsbs_jax.counts import counted
from dsbs_jax.data.column_config import ColumnConfig
from dsbs_jax.errors import UserError

_HELP = "Predicts a label, and optionally a rationale, for each row of a file."
_EXAMPLES = options.examples(
    "dsbs-jax predict runs/tickets new.jsonl --output answers.jsonl --rationales",
    "dsbs-jax predict runs/tickets_int8 new.parquet --output answers.parquet "
    "--shard 0/4",
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
        str,
        typer.Option(
            metavar="<file>",
            help="File of the answers: .jsonl, .csv, .tsv or .parquet.",
        ),
    ],
    rationales: Annotated[
        bool,
        typer.Option("--rationales", help="Also generate a rationale for each input."),
    ] = False,
    labels: student_options.Labels = None,
    abstain_below: student_options.AbstainBelow = None,
    batch_size: student_options.BatchSize = None,
    engine: student_options.Engine = "auto",
    precision: student_options.Precision = None,
    shard: Annotated[
        str,
        typer.Option(
            metavar="<number>/<count>",
            help="Label one of several shards, numbered from 0; the file's name gets "
            "the numbers.",
        ),
    ] = "0/1",
    **columns: Any,
) -> None:
    """Writes the answers and prints the path of their file."""
    numbers = _shard(shard)
    loaded = student_options.load(student, labels, batch_size, engine, precision)
    done = loaded.predict_file(
        options.source_of(data),
        output,
        columns=ColumnConfig(**columns).columns,
        rationales=rationales,
        abstain_below=abstain_below,
        shard=numbers,
    )
    rate = done.new_rows / max(done.seconds, 1e-9)
    print(
        f"{counted(done.rows, 'answer is', 'answers are')} in {done.path} (engine "
        f"{done.facts['engine']}, {rate:,.0f} rows/s)"
    )
    if rates := done.facts["engine_rates"]:
        measured = ", ".join(f"{name} {rate:,.0f}" for name, rate in rates.items())
        print(f"engines on the first rows: {measured} rows/s")
    if cost := done.facts.get("label_scoring"):
        print(
            f"scoring {counted(cost['labels'], 'label')} takes "
            f"{1000 * cost['seconds_per_row']:,.1f} ms for a row, "
            f"{1000 * cost['seconds_per_row_and_label']:,.2f} ms for a label"
        )


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if match is None:
        raise UserError(f"--shard is {text!r}, expected two numbers such as 0/4")
    return int(match[1]), int(match[2])
