"""`dsbs-jax fit`: trains a student on a user's rows."""

import ast
import csv
import io
import os
import pathlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer

from dsbs_jax import settings
from dsbs_jax.commands import options
from dsbs_jax.data.column_config import TrainingColumnConfig
from dsbs_jax.errors import UserError
from dsbs_jax.fitting.config import FitConfig

_HELP = (
    "Trains a student on rows: inspects them, chooses the settings, and prints the "
    "reason for each choice."
)
# Options that are not settings.
_OPTIONS = {"data", "output", "dry_run", "compare"}
_EXAMPLES = options.examples(
    "dsbs-jax fit tickets.jsonl --output runs/tickets --dry_run",
    "dsbs-jax fit tickets.jsonl --output runs/tickets --compare",
)

_NEXT = """
The student is the folder {output}. To use it:
  dsbs-jax predict {output} <inputs> --output answers.jsonl
  dsbs-jax eval {output} <rows with labels>
  dsbs-jax export {output} --output {copy}"""

_ADVICE = """
This student learns without rationales. These commands ask a teacher for rationales and
train with them:
  dsbs-jax prompt init {prompt} --output prompt.txt --zero_shot
  dsbs-jax extract {extract} --prompt prompt.txt --output rationales.jsonl \\
    --base_url http://localhost:8000/v1 --model <name of the teacher>
  dsbs-jax fit {fit}"""

# Options of a fit that its next commands need too.
_PROMPT_OPTIONS = ("labels", "input_column", "label_column", "template")
_EXTRACT_OPTIONS = ("input_column", "label_column", "id_column", "template")


def add(app: typer.Typer) -> None:
    """Adds the subcommand to the app."""
    app.command("fit", help=_HELP, epilog=_EXAMPLES)(fit)


@options.with_settings({"Choices": FitConfig, "Columns": TrainingColumnConfig})
def fit(
    data: Annotated[
        list[str],
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
    for name in others.keys() & (chosen.keys() | _OPTIONS):
        raise UserError(f"--set is {name}=…, which has an option of its own: --{name}")
    from dsbs_jax import tensorflow_import

    # The trial, the run and a repetition share compiled programs.
    os.environ.setdefault(
        "JAX_COMPILATION_CACHE_DIR", str(pathlib.Path.home() / ".cache" / "dsbs_jax")
    )
    tensorflow_import.import_quietly()
    from dsbs_jax.api import fitting

    source = options.source_of(data)
    result = fitting.fit(
        source, output, dry_run=dry_run, compare=compare, **chosen, **others
    )
    if not dry_run:
        copy = shlex.quote(f"{output}_hf")
        print(_NEXT.format(output=shlex.quote(output), copy=copy))
    if not result.plan.rows.has_rationales:
        print(_advice(data, output, chosen, closed=result.plan.rows.labels is not None))


def _advice(
    data: Sequence[str], output: str, chosen: Mapping[str, Any], *, closed: bool
) -> str:
    """Returns the commands that add rationales to the rows.

    Args:
        data: The rows of the fit.
        output: Its run folder.
        chosen: Its options.
        closed: Whether the labels are a closed set.
    """
    given = _changed_columns(chosen)
    if chosen["labels"]:
        given["labels"] = _as_list(chosen["labels"])
    fit = _arguments("rationales.jsonl", given, ["labels"])
    if not closed:
        given["labels"] = "[]"
    rows = shlex.quote(data[0]) if len(data) == 1 else "<one file of the rows>"
    return _ADVICE.format(
        prompt=_arguments(rows, given, _PROMPT_OPTIONS),
        extract=_arguments(rows, given, _EXTRACT_OPTIONS),
        fit=f"{fit} --output {shlex.quote(f'{output}_step_by_step')}",
    )


def _changed_columns(chosen: Mapping[str, Any]) -> dict[str, str]:
    """Returns the columns that do not have their default names."""
    return {
        info.field: chosen[info.field]
        for info in settings.settings_of(TrainingColumnConfig)
        if chosen[info.field] != info.default
    }


def _as_list(labels: Iterable[str]) -> str:
    """Formats labels as the option that is read as these labels."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(labels)
    return text.getvalue()


def _arguments(rows_file: str, given: Mapping[str, str], names: Iterable[str]) -> str:
    """Formats arguments for a shell: "rows.csv --input_column text"."""
    options_of = [
        f"--{name} {shlex.quote(given[name])}" for name in names if name in given
    ]
    return " ".join([rows_file, *options_of])


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
