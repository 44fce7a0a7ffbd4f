"""`dsbs-jax prompt init`: a prompt file for a user's task."""

from typing import Annotated

import typer

from dsbs_jax.commands import options

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


def init(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="Rows with `input` and `label`.")
    ],
    output: Annotated[str, typer.Option(metavar="<file>", help="The new prompt file.")],
    labels: Annotated[
        str,
        typer.Option(
            metavar="<list of text>",
            help="The task's labels, separated by commas.",
        ),
    ],
    zero_shot: Annotated[
        bool,
        typer.Option(
            "--zero_shot", help="Write no exemplars; the file is then ready to use."
        ),
    ] = False,
) -> None:
    """Writes the file and prints its path and what to do next."""
    from dsbs_jax.api import prompts

    path = prompts.init_prompt(
        data, output, labels=options.list_of(labels), zero_shot=zero_shot
    )
    print(path)
    if not zero_shot:
        print("Replace each placeholder in the file by a rationale before you use it.")
