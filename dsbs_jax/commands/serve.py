"""`dsbs-jax serve`: students behind HTTP."""

from typing import Annotated, Any

import typer

from dsbs_jax import settings
from dsbs_jax.commands import options
from dsbs_jax.data.column_config import ColumnConfig
from dsbs_jax.errors import UserError
from dsbs_jax.serving import config

_HELP = "Serves students over HTTP, with a web page and OpenAI's chat protocol."
_EXAMPLES = options.examples(
    "dsbs-jax serve runs/tickets",
    "dsbs-jax serve runs/tickets runs/spam --host 0.0.0.0 --api_key_variable API_KEY",
)


def add(app: typer.Typer) -> None:
    """Adds the subcommand to the app."""
    app.command("serve", help=_HELP, epilog=_EXAMPLES)(serve)


@options.with_settings(
    {**config.GROUPS, "Columns of inputs that are objects": ColumnConfig},
    without=("label_column", "id_column"),
)
def serve(
    students: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDENT",
            help="Run folders, Hugging Face folders or hub:<id>. Requests name a "
            "student by the last part of its path.",
        ),
    ],
    **given: Any,
) -> None:
    """Serves until a signal arrives."""
    fields = {info.field for info in settings.settings_of(config.ServerConfig)}
    columns = {name: given.pop(name) for name in [*given] if name not in fields}
    checked = config.ServerConfig(**given)
    try:
        from dsbs_jax.serving import server
    except ModuleNotFoundError as error:
        raise UserError(
            f"the package {error.name} is not installed: pip install 'dsbs-jax[serve]'"
        ) from error
    server.run(students, checked, ColumnConfig(**columns).columns)
