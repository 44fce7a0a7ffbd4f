"""`dsbs-jax fit`: trains a student on a user's rows."""

import ast
import os
import pathlib
from typing import Annotated, Any

import typer

from dsbs_jax.commands import options
from dsbs_jax.data.column_config import TrainingColumnConfig
from dsbs_jax.errors import UserError
from dsbs_jax.fitting.config import FitConfig

_HELP = (
    "Trains a student on rows: inspects them, chooses the settings, and prints the "
    "reason for each choice."
)
_EXAMPLES = options.examples(
    "dsbs-jax fit tickets.jsonl --output runs/tickets --dry_run",
    "dsbs-jax fit tickets.jsonl --output runs/tickets --compare",
)

_NEXT = """
The student is the folder {output}. To use it:
  dsbs-jax predict {output} <inputs> --output answers.jsonl
  dsbs-jax eval {output} <rows with labels>
  dsbs-jax export {output} --output {output}_hf"""

_ADVICE = """
The student was trained without rationales. These commands ask a teacher for rationales
and train with them:
  dsbs-jax prompt init {data} --output prompt.txt --zero_shot
  dsbs-jax extract {data} --prompt prompt.txt --output rationales.jsonl \\
    --base_url http://localhost:8000/v1 --model <the teacher's name>
  dsbs-jax fit rationales.jsonl --output {output}_step_by_step"""


def add(app: typer.Typer) -> None:
    """Adds the subcommand to the app."""
    app.command("fit", help=_HELP, epilog=_EXAMPLES)(fit)


@options.with_settings({"Choices": FitConfig, "Columns": TrainingColumnConfig})
def fit(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Rows with an input and a label, and for step-by-step a rationale.",
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            metavar="<folder>",
            help="The run folder, which is a complete student. A run that was stopped "
            "is resumed.",
        ),
    ],
    dry_run: Annotated[
        bool,
        typer.Option("--dry_run", help="Print the plan only; write nothing."),
    ] = False,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Train the baseline without rationales too, and print the difference.",
        ),
    ] = False,
    set: Annotated[
        list[str] | None,
        typer.Option(
            metavar="<name=value>",
            help="Any other setting of a run, for example dropout_rate=0.1. May be "
            "given several times.",
        ),
    ] = None,
    **chosen: Any,
) -> None:
    """Trains, and prints how to add rationales to rows without them."""
    others = dict(map(_assignment, set or []))
    from dsbs_jax import tensorflow_import

    # The trial, the run and a repetition share compiled programs.
    os.environ.setdefault(
        "JAX_COMPILATION_CACHE_DIR", str(pathlib.Path.home() / ".cache" / "dsbs_jax")
    )
    tensorflow_import.import_quietly()
    from dsbs_jax.api import fitting

    result = fitting.fit(
        data, output, dry_run=dry_run, compare=compare, **chosen, **others
    )
    if not dry_run:
        print(_NEXT.format(output=output))
    if not result.plan.rows.has_rationales:
        print(_ADVICE.format(data=data, output=output))


def _assignment(text: str) -> tuple[str, Any]:
    """Reads a setting: "dropout_rate=0.1" -> ("dropout_rate", 0.1).

    Raises:
        UserError: The text has no name or no value.
    """
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise UserError(f"--set is {text!r}, expected a name, '=' and a value")
    try:
        return name.lower(), ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return name.lower(), value
