"""Finds and reads the gin file of a table, a figure or another study."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from dsbs_jax import cli
from dsbs_jax.errors import UserError
from dsbs_jax.experiments.paper.config import GridConfig

FOLDER = "experiments"
# Files of the folder that are parts of a grid, or settings of runs.
_PARTS = {"demo", "paper", "tickets_run", "tickets_methods_run", "esnli_run"}


def names() -> list[str]:
    """Returns the names of the project's studies: "table1", "figure4", "asdiv"."""
    paths = sorted((cli.config_dir() / FOLDER).glob("*.gin"))
    return [path.stem for path in paths if path.stem not in _PARTS]


def file_of(table: int | None, figure: int | None, study: str | None) -> str:
    """Returns the gin file of a study.

    Args:
        table: Number of a table of the paper.
        figure: Number of a figure of the paper.
        study: Name of another study, or the path of a gin file.

    Raises:
        UserError: None or several of them are given, or no such study exists.
    """
    chosen = [
        *([f"table{table}"] if table is not None else []),
        *([f"figure{figure}"] if figure is not None else []),
        *([study] if study is not None else []),
    ]
    if len(chosen) != 1:
        raise UserError(
            f"{len(chosen)} of --table, --figure and --study are given, expected one; "
            f"the studies are {', '.join(names())}"
        )
    (name,) = chosen
    if study is not None and study.endswith(".gin"):
        return study
    if name not in names():
        raise UserError(_unknown(table, figure, study))
    return f"{FOLDER}/{name}.gin"


def _unknown(table: int | None, figure: int | None, study: str | None) -> str:
    """Describes the option that names no study."""
    for option, value in {"table": table, "figure": figure}.items():
        if value is not None:
            numbers = [n.removeprefix(option) for n in names() if n.startswith(option)]
            return f"--{option} is {value}, expected one of {', '.join(numbers)}"
    return (
        f"--study is {study!r}, expected the path of a gin file or one of "
        f"{', '.join(names())}"
    )


def read(file: str, changes: Mapping[str, Any]) -> GridConfig:
    """Reads the settings of a study.

    Args:
        file: The gin file, relative to the project's gin folder or to the working
            folder.
        changes: Fields of `GridConfig` that replace those of the file; empty values
            change nothing. A dictionary adds its entries to those of the file.

    Raises:
        UserError: The file or a value is wrong.
    """
    cli.configure([file], known=[GridConfig])
    config = cli.read(GridConfig)
    given: dict[str, Any] = {}
    for name, value in changes.items():
        if value:
            merged = isinstance(value, dict)
            given[name] = {**getattr(config, name), **value} if merged else value
    return dataclasses.replace(config, **given)


def parse_checkpoints(texts: Sequence[str]) -> dict[str, str]:
    """Reads SIZE=PATH options: ["base=hub:google/t5-v1_1-base"].

    A relative path becomes absolute, so that a run can be started from any folder.

    Raises:
        UserError: A text has no size or no path.
    """
    checkpoints = {}
    for text in texts:
        size, _, path = text.partition("=")
        if not size or not path:
            raise UserError(
                f"--initial_checkpoint is {text!r}, expected a size, '=' and a path or "
                "'hub:' and a repository: base=hub:google/t5-v1_1-base"
            )
        local = "://" not in path and not path.startswith("hub:")
        checkpoints[size] = str(pathlib.Path(path).resolve()) if local else path
    return checkpoints
