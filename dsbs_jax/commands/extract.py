"""`dsbs-jax extract`: labels and rationales from a teacher."""

from typing import Annotated, Any

import typer

from dsbs_jax.commands import options
from dsbs_jax.data.column_config import ColumnConfig
from dsbs_jax.rationales.filters import FilterConfig
from dsbs_jax.teacher.budget import BudgetConfig
from dsbs_jax.teacher.config import BatchConfig, ExtractionConfig, RunnerConfig
from dsbs_jax.teacher.endpoint import EndpointConfig
from dsbs_jax.teacher.judge_config import JudgeConfig
from dsbs_jax.teacher.reading import ReadingConfig
from dsbs_jax.teacher.sampling import SamplingConfig

_HELP = "Asks a teacher for a label and a rationale of each input."
_EXAMPLES = options.examples(
    "dsbs-jax extract tickets.jsonl --prompt prompt.txt --output rationales.jsonl "
    "--base_url http://localhost:8000/v1 --model the-teacher --dry_run"
)
_GROUPS = {
    "Task": ExtractionConfig,
    "Columns of DATA": ColumnConfig,
    "How the teacher answers": SamplingConfig,
    "Server": EndpointConfig,
    "Concurrency": RunnerConfig,
    "Batch API": BatchConfig,
    "Cost": BudgetConfig,
    "Reading of replies": ReadingConfig,
    "Judge of the rationales": JudgeConfig,
    "Filters": FilterConfig,
}


def add(app: typer.Typer) -> None:
    """Adds the subcommand to the app."""
    app.command("extract", help=_HELP, epilog=_EXAMPLES)(extract)


@options.with_settings(_GROUPS, without=("input_file", "output_dir"))
def extract(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Rows with an input, and optionally a label and an id.",
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            metavar="<path>",
            help="A JSONL file for the kept rows, with a folder of all other files "
            "next to it; or only a folder. An existing folder is resumed.",
        ),
    ],
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry_run",
            help="Print the first request and the estimated cost; send nothing.",
        ),
    ] = False,
    **settings: Any,
) -> int:
    """Runs the extraction and returns its exit status."""
    from dsbs_jax.api import extraction

    result = extraction.extract(data, output=output, dry_run=dry_run, **settings)
    return result.status
