"""`dsbs-jax export`: a student in another format, and on the hub."""

import os
from typing import Annotated

import typer

from dsbs_jax.commands import options, student_options
from dsbs_jax.errors import UserError

_HELP = "Writes a student in another format, and pushes it to the Hugging Face hub."
_EXAMPLES = options.examples(
    "dsbs-jax export runs/tickets --output runs/tickets_hf",
    "dsbs-jax export runs/tickets --push_to_hub my-name/tickets --license apache-2.0 "
    "--language en",
    "dsbs-jax export runs/tickets --format t5x --output runs/tickets_t5x",
    "dsbs-jax export runs/tickets --format ctranslate2 --quantization int8 "
    "--output runs/tickets_int8",
)
_PUSH, _CARD = "Push to the hub", "Model card"


def add(app: typer.Typer) -> None:
    """Adds the subcommand to the app."""
    app.command("export", help=_HELP, epilog=_EXAMPLES)(export)


def export(
    student: student_options.Path,
    output: Annotated[
        str | None, typer.Option(metavar="<folder>", help="The new folder.")
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            metavar="<hf or t5x or t5x_orbax or ctranslate2 or stablehlo or peft>",
            help="hf is for transformers; t5x and t5x_orbax are for T5X; ctranslate2 "
            "is for CTranslate2; stablehlo has programs for jax. The answers of these "
            "two are compared with the student's. peft has the adapters of a run with "
            "lora_rank.",
        ),
    ] = "hf",
    quantization: Annotated[
        str,
        typer.Option(
            metavar="<name>",
            help="Weights of format ctranslate2: float32, bfloat16, int8, int8_float32 "
            "or int8_bfloat16.",
        ),
    ] = "float32",
    platforms: Annotated[
        str,
        typer.Option(
            metavar="<text,text>",
            help="Platforms of format stablehlo: cpu, cuda, rocm, tpu.",
        ),
    ] = "cpu,cuda,tpu",
    push_to_hub: Annotated[
        str | None,
        typer.Option(
            "--push_to_hub",
            metavar="<owner/name>",
            help="Repository that gets the folder; it is created if it does not exist.",
            rich_help_panel=_PUSH,
        ),
    ] = None,
    public: Annotated[
        bool,
        typer.Option(
            "--public",
            help="Make a new repository public.",
            rich_help_panel=_PUSH,
        ),
    ] = False,
    token_variable: Annotated[
        str | None,
        typer.Option(
            "--token_variable",
            metavar="<name>",
            help="Environment variable of the token; by default HF_TOKEN, or the token "
            "that `hf auth login` has stored.",
            rich_help_panel=_PUSH,
        ),
    ] = None,
    allow_other_files: Annotated[
        bool,
        typer.Option(
            "--allow_other_files",
            help="Keep files of the repository that the folder does not have.",
            rich_help_panel=_PUSH,
        ),
    ] = False,
    license: Annotated[
        str | None,
        typer.Option(
            metavar="<text>",
            help="License in the hub's spelling, such as apache-2.0.",
            rich_help_panel=_CARD,
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(
            metavar="<text,text>",
            help="Language codes of the data, such as en,de.",
            rich_help_panel=_CARD,
        ),
    ] = None,
    base_model: Annotated[
        str | None,
        typer.Option(
            "--base_model",
            metavar="<owner/name>",
            help="Model from which the training started.",
            rich_help_panel=_CARD,
        ),
    ] = None,
) -> None:
    """Writes the folder, pushes it, and prints its path and its address."""
    token = _token(token_variable)
    from dsbs_jax import tensorflow_import

    tensorflow_import.import_quietly()
    from dsbs_jax.api import exporting

    exported = exporting.export_student(
        student,
        output,
        format=format,
        quantization=quantization,
        platforms=options.list_of(platforms),
        push_to_hub=push_to_hub,
        public=public,
        token=token,
        allow_other_files=allow_other_files,
        license=license,
        language=options.list_of(language or ""),
        base_model=base_model,
    )
    if exported.agreement is not None:
        print(exported.agreement.text())
    for place in (exported.folder, exported.address):
        if place is not None:
            print(place)


def _token(variable: str | None) -> str | None:
    if variable is None:
        return None
    token = os.environ.get(variable)
    if not token:
        raise UserError(f"--token_variable: the variable {variable} is not set")
    return token
