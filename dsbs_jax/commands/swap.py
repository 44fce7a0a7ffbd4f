"""`dsbs-jax swap`: rows with swapped terms, for the quality card."""

from typing import Annotated, Any

import typer

from dsbs_jax.commands import options
from dsbs_jax.counts import counted
from dsbs_jax.data.column_config import ColumnConfig

_HELP = "Writes the rows whose input contains a term, with pairs of terms swapped."
_EXAMPLES = options.examples(
    "dsbs-jax swap tickets.jsonl --pairs he:she,his:her --output swapped.jsonl"
)


def add(app: typer.Typer) -> None:
    """Adds the subcommand to the app."""
    app.command("swap", help=_HELP, epilog=_EXAMPLES)(swap)


@options.with_settings({"Columns of DATA": ColumnConfig}, without=("label_column",))
def swap(
    data: Annotated[str, typer.Argument(metavar="DATA", help="Rows with an input.")],
    pairs: Annotated[
        str,
        typer.Option(
            metavar="<term:term,…>",
            help="Pairs of terms; each term of a pair is replaced by the other one.",
        ),
    ],
    output: Annotated[
        str, typer.Option(metavar="<file>", help="The JSON lines file to write.")
    ],
    **columns: Any,
) -> None:
    """Writes the rows and prints their number."""
    from dsbs_jax.api import swaps

    rows = swaps.write_swapped(data, output, pairs=options.list_of(pairs), **columns)
    print(f"{counted(rows, 'row')} in {output}")
