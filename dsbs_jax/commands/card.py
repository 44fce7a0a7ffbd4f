"""`dsbs-jax card`: the quality card of a set of rationales."""

from typing import Annotated, Any

import typer

from dsbs_jax.commands import options
from dsbs_jax.rationales.card.config import CardConfig, SourceConfig
from dsbs_jax.rationales.filters import FilterConfig

_HELP = "Writes the quality card of a set of rationales."
_EXAMPLES = options.examples(
    "dsbs-jax card runs/teacher",
    "dsbs-jax card rationales.jsonl --output runs/card --min_words 5",
    "dsbs-jax card --release datasets.zip --dataset cqa --output runs/card",
)
_GROUPS = {
    "Rationales": SourceConfig,
    "Filters": FilterConfig,
    "Limits of the student": CardConfig,
}


def add(app: typer.Typer) -> None:
    """Adds the subcommand to the app."""
    app.command("card", help=_HELP, epilog=_EXAMPLES)(card)


@options.with_settings(_GROUPS, without=("data_files", "output_dir"))
def card(
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="File of rows with rationales, or the folder of an extraction.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            metavar="<folder>",
            help="Folder to write the card to; by default the folder DATA.",
        ),
    ] = None,
    **settings: Any,
) -> None:
    """Writes the card and prints its headline and the path of the page."""
    from dsbs_jax.api import cards

    written = cards.write_card(data, output, **settings)
    print(written.headline)
    print(written.page)
