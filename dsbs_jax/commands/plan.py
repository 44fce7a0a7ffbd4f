"""`dsbs-jax plan`: compiles a run's programs for a TPU slice, without a TPU."""

from typing import Any

import typer

from dsbs_jax.commands import options
from dsbs_jax.planning.config import PlanConfig

_HELP = (
    "Compiles the training step and decoding for a TPU slice, without a TPU, and "
    "prints whether they fit, their costs and the least time of a run."
)
_EXAMPLES = options.examples(
    "dsbs-jax plan --size=base --topology=v5e:2x4 --num_microbatches=2",
    "dsbs-jax plan --size=xl --topology=v4:2x2x4 --num_partitions=8 --scan_layers",
)
# The status of a run that does not fit.
_DOES_NOT_FIT = 1


def add(app: typer.Typer) -> None:
    """Adds the subcommand to the app."""
    app.command("plan", help=_HELP, epilog=_EXAMPLES)(plan)


@options.with_settings({"Run": PlanConfig})
def plan(**chosen: Any) -> int:
    """Prints the plan; the status is 1 if the run does not fit."""
    from dsbs_jax.api import planning

    made = planning.plan(**chosen)
    print(made.text())
    return 0 if made.fits else _DOES_NOT_FIT
