"""Quality cards of rationales."""

import os
import pathlib
from typing import Any

from dsbs_jax import settings
from dsbs_jax.errors import UserError
from dsbs_jax.rationales import output_files
from dsbs_jax.rationales.card import making
from dsbs_jax.rationales.card.config import CardConfig
from dsbs_jax.reports.page import WrittenPage

_Path = str | os.PathLike[str]


def write_card(
    data: _Path | None = None,
    output: _Path | None = None,
    *,
    release: _Path | None = None,
    **options: Any,
) -> WrittenPage:
    """Writes the quality card of a set of rationales.

    Args:
        data: File of rows with rationales, or the folder of an extraction.
        output: Folder to write the card to; by default the folder `data`.
        release: Folder or zip file of the authors' released data, in place of `data`.
        **options: Other fields of `CardConfig`, such as `dataset` and the filters.

    Raises:
        UserError: An argument is wrong, or the rationales cannot be read.
        OSError: A file cannot be written.
    """
    if (data is None) == (release is None):
        raise UserError("a card needs either a file of rationales or released data")
    folder = None
    if data is not None and not os.path.exists(data):
        raise UserError(f"{os.fspath(data)}: No such file or directory")
    if data is not None and os.path.isdir(data):
        folder, data = data, pathlib.Path(data) / output_files.KEPT
        if not data.exists():
            raise UserError(
                f"{os.fspath(folder)} has no {output_files.KEPT} of an extraction and "
                "no student.json of a student; expected one of these folders, or a "
                "file of rows with rationales"
            )
    output = output or folder
    if output is None:
        raise UserError("the output of the card is not given, expected a folder")
    config = settings.from_fields(
        CardConfig,
        {
            **options,
            "data_files": None if data is None else os.fspath(data),
            "release": None if release is None else os.fspath(release),
            "output_dir": os.fspath(output),
        },
    )
    return making.make(config)
