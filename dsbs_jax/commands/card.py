"""`dsbs-jax card`: the card of a set of rationales, or of a trained student."""

import os
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from dsbs_jax.commands import options
from dsbs_jax.errors import UserError
from dsbs_jax.rationales.card.config import BiasConfig, CardConfig, SourceConfig
from dsbs_jax.rationales.filters import FilterConfig
from dsbs_jax.settings import settings_of

_HELP = "Writes the quality card of a set of rationales, or the page of a student."
_EXAMPLES = options.examples(
    "dsbs-jax card runs/teacher",
    "dsbs-jax card rationales.jsonl --output runs/card --min_words 5",
    "dsbs-jax card runs/tickets",
    "dsbs-jax card --release datasets.zip --dataset cqa --output runs/card",
)
_GROUPS = {
    "Rationales": SourceConfig,
    "Filters": FilterConfig,
    "Groups and swapped terms": BiasConfig,
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
            help="File of rows with rationales, the folder of an extraction, or the "
            "run folder of a student.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            metavar="<folder>",
            help="Folder to write the card to; by default the folder DATA.",
        ),
    ] = None,
    test_data: Annotated[
        str | None,
        typer.Option(
            "--test_data",
            metavar="<file>",
            help="For a student: rows to score it on, with the teacher's rationales; "
            "by default the run's report and test rows.",
        ),
    ] = None,
    **settings: Any,
) -> None:
    """Writes the card and prints its headline and the path of the page."""
    if data is not None and os.path.exists(os.path.join(data, "student.json")):
        headline, page = _student_card(data, output, test_data, settings)
    elif test_data is not None:
        raise UserError("--test_data is for the card of a student, found rationales")
    else:
        from dsbs_jax.api import cards

        written = cards.write_card(data, output, **settings)
        headline, page = written.headline, str(written.page)
    print(headline)
    print(page)


def _student_card(
    run: str, output: str | None, test_data: str | None, settings: Mapping[str, Any]
) -> tuple[str, str]:
    """Writes the page of a student; returns its headline and path."""
    groups = ("group_by", "group_file")
    for info in settings_of(CardConfig):
        given = settings.get(info.field, info.default)
        if given != info.default and info.field not in groups:
            raise UserError(
                f"--{info.field} is for the card of rationales, and {run} is a student"
            )
    from dsbs_jax import tensorflow_import

    tensorflow_import.import_quietly()
    from dsbs_jax.api import student_cards

    written = student_cards.write_student_card(
        run, output, test_data=test_data, **{name: settings[name] for name in groups}
    )
    return written.headline, str(written.page)
