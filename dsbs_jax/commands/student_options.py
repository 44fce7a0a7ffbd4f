"""Arguments and options of the subcommands that use a trained student."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dsbs_jax.commands import options

if TYPE_CHECKING:  # imports JAX
    from dsbs_jax.api.student import Student

Path = Annotated[
    str,
    typer.Argument(
        metavar="STUDENT",
        help="Run folder, Hugging Face folder, hub:<id> or T5X checkpoint.",
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        metavar="<text,text>",
        help="The closed label set; by default the run's label set.",
    ),
]
AbstainBelow = Annotated[
    float | None,
    typer.Option(
        "--abstain_below",
        min=0.0,
        max=1.0,
        metavar="<0 to 1>",
        help="Answer 'unknown' if the best label is less probable.",
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch_size", min=1, metavar="<int>", help="Inputs computed at a time."
    ),
]
Engine = Annotated[
    str,
    typer.Option(
        metavar="<jax or ctranslate2 or auto>",
        help="What computes the answers; auto is the faster one that is installed.",
    ),
]

Precision = Annotated[
    str | None,
    typer.Option(
        metavar="<float32 or mixed or bfloat16>",
        help="Types of the computation of engine jax; by default the run's precision.",
    ),
]


def load(
    path: str,
    labels: str | None,
    batch_size: int | None,
    engine: str | None = None,
    precision: str | None = None,
) -> Student:
    """Loads a student, without TensorFlow's messages."""
    from dsbs_jax import tensorflow_import

    tensorflow_import.import_quietly()
    from dsbs_jax.api.student import Student

    return Student.load(
        path,
        labels=options.list_of(labels) if labels is not None else None,
        batch_size=batch_size,
        engine=engine,
        precision=precision,
    )
