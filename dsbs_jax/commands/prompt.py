"""`dsbs-jax prompt init`: a prompt file for a user's task."""

from typing import Annotated, Any

import typer

from dsbs_jax.commands import options
from dsbs_jax.data.column_config import ColumnConfig

_HELP = "Writes a commented prompt file from a few rows of the data."
_EXAMPLES = options.examples(
    "dsbs-jax prompt init tickets.jsonl --labels billing,login,other "
    "--output prompt.txt"
)


def add(app: typer.Typer) -> None:
    """Adds the subcommands to the app."""
    group = typer.Typer(help="Prompt files for a teacher.", no_args_is_help=True)
    group.command("init", help=_HELP, epilog=_EXAMPLES)(init)
    app.add_typer(group, name="prompt")


@options.with_settings({"Columns of DATA": ColumnConfig}, without=("id_column",))
def init(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="Rows with an input and a label.")
    ],
    output: Annotated[str, typer.Option(metavar="<file>", help="The new prompt file.")],
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="<text,text>",
            help="The task's labels, separated by commas, or \\[] for open answers; by "
            "default those of the data, if they are a small closed set.",
        ),
    ] = None,
    zero_shot: Annotated[
        bool,
        typer.Option(
            "--zero_shot", help="Write no exemplars; the file is then ready to use."
        ),
    ] = False,
    **columns: Any,
) -> None:
    """Writes the file and prints its path and what to do next."""
    from dsbs_jax.api import prompts

    given = None if labels is None else options.list_of(labels)
    path = prompts.init_prompt(
        data, output, labels=given, zero_shot=zero_shot, **columns
    )
    print(path)
    if not zero_shot:
        print("Replace each placeholder in the file by a rationale before you use it.")
