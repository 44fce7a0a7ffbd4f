"""The app of `dsbs-jax` with all subcommands.

Each subcommand is a module with a function `add(app)`. Packages that take long to
import are imported when the subcommand runs, so `--help` prints at once.
"""

from typing import Annotated

import typer

import dsbs_jax
from dsbs_jax.commands import (
    card,
    evaluate,
    export,
    extract,
    fit,
    paper,
    plan,
    predict,
    prompt,
    report,
    serve,
    swap,
)

_SUBCOMMANDS = (
    prompt,
    extract,
    card,
    swap,
    fit,
    evaluate,
    predict,
    serve,
    export,
    paper,
    report,
    plan,
)


def build() -> typer.Typer:
    """Builds the app."""
    app = typer.Typer(
        help="Trains small students from a teacher's labels and rationales.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback()(_program)
    for subcommand in _SUBCOMMANDS:
        subcommand.add(app)
    return app


def _print_version(given: bool) -> None:
    if given:
        print(dsbs_jax.__version__)
        raise typer.Exit


def _program(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version and exit.",
            callback=_print_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    pass
