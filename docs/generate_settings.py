"""Writes docs/settings.md from the settings dataclasses and the gin files.

python docs/generate_settings.py            # writes the page
python docs/generate_settings.py --stdout   # prints it
"""

import contextlib
import dataclasses
import inspect
import pathlib
import re
import runpy
import sys
from collections.abc import Sequence
from typing import Any
from unittest import mock

from dsbs_jax import cli, settings

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/settings.md"
# Commands that read gin files, and commands that read plain flags.
COMMANDS = (
    "dsbs_jax.train",
    "dsbs_jax.eval",
    "dsbs_jax.infer",
    "dsbs_jax.teacher.extract",
    "dsbs_jax.rationales.card",
    "dsbs_jax.train_vocabulary",
    "dsbs_jax.released.prepare",
    "dsbs_jax.weights.convert",
    "dsbs_jax.experiments.demo",
)
INTRODUCTION = """\
# Settings

<!-- Written by docs/generate_settings.py; do not edit. -->

This page lists every setting. A command's `--help` lists the settings of the command.

Commands that read gin files take a setting as `NAME = value` in a gin file, or as
`--gin.NAME=value` on the command line. The command line overrides the files, and a
later file overrides an earlier one. Text needs no inner quotes on the command line:
`--gin.MODEL_DIR=runs/own`. Text in gin files needs quotes: `MODEL_DIR = 'runs/own'`.
T5X's commands need inner quotes on the command line too:
`--gin.MODEL_DIR="'runs/own'"`.

"Required" means that a gin file or the command line must set the value. The files in
`sizes/` set the settings of T5Config, except `VOCAB_SIZE`, which follows from the
vocabulary unless it is set. The files in `methods/` set `METHOD`, `ALPHA` and
`BATCH_SIZE`, and the files in `datasets/` set `DATASET`. `dsbs_jax.tasks.show` reads
the settings of DataConfig.
"""
GIN_FOLDERS = ("sizes", "methods", "datasets", "local", "teacher", "experiments", "t5x")
# Values that refer to gin functions are left out.
T5X_SETTING = re.compile(r"^([A-Z][A-Z0-9_]+) = ([^@%].*)$")


@dataclasses.dataclass(frozen=True)
class Command:
    """The settings that a command reads.

    Attributes:
        module: The module that `python -m` runs.
        classes: Its settings classes.
        is_gin: Whether it reads gin files.
    """

    module: str
    classes: tuple[type[settings.Settings], ...]
    is_gin: bool


class _Captured(Exception):
    """Ends a command before it does anything."""


def capture(module: str) -> Command:
    """Finds the settings classes that a command gives to `cli`."""
    calls: list[Command] = []

    def run_configured(
        main: Any,
        known: Sequence[type[settings.Settings]] = (),
        *_: Any,
        **__: Any,
    ) -> None:
        calls.append(Command(module, tuple(known), is_gin=True))
        raise _Captured

    def run_with_flags(main: Any, cls: type[settings.Settings], *_: Any) -> None:
        calls.append(Command(module, (cls,), is_gin=False))
        raise _Captured

    replaced = {"run_configured": run_configured, "run_with_flags": run_with_flags}
    with mock.patch.multiple(cli, **replaced), contextlib.suppress(_Captured):
        runpy.run_module(module, run_name="__main__")
    (command,) = calls
    return command


def cell(text: str) -> str:
    """Escapes a text for a table cell."""
    return text.replace("|", "\\|").replace("\n", " ")


def default_text(info: settings.SettingInfo) -> str:
    """Formats a setting's default."""
    return info.unset if info.required else f"`{cell(info.default_text())}`"


def settings_table(cls: type[settings.Settings], is_gin: bool) -> list[str]:
    """Makes the table of a class's settings."""
    lines = ["| setting | type | default | meaning |", "| --- | --- | --- | --- |"]
    for info in settings.settings_of(cls):
        name = info.macro if is_gin else f"--{info.field}"
        kind = cell(settings.type_text(info.type))
        lines.append(
            f"| `{name}` | {kind} | {default_text(info)} | {cell(info.help)} |"
        )
    return lines


def summary(cls: type) -> str:
    """The first line of a class's docstring."""
    return (inspect.getdoc(cls) or "").partition("\n")[0]


def gin_sections(commands: Sequence[Command]) -> list[str]:
    """Makes a section for each settings class of the gin commands."""
    users: dict[type[settings.Settings], list[str]] = {}
    for command in commands:
        for cls in command.classes:
            users.setdefault(cls, []).append(command.module)
    lines = []
    for cls, modules in users.items():
        used = ", ".join(f"`{module}`" for module in modules)
        lines += [f"## {cls.__name__}", "", f"{summary(cls)} Read by {used}.", ""]
        lines += [*settings_table(cls, is_gin=True), ""]
    return lines


def flag_sections(commands: Sequence[Command]) -> list[str]:
    """Makes a section for each command with plain flags."""
    lines = []
    for command in commands:
        (cls,) = command.classes
        lines += [f"## {command.module}", "", summary(cls), ""]
        lines += [*settings_table(cls, is_gin=False), ""]
    return lines


def header(path: pathlib.Path) -> str:
    """The first sentence of a gin file's header."""
    comment = []
    for line in path.read_text().splitlines():
        if not line.startswith("# "):
            break
        comment.append(line.removeprefix("# "))
    return " ".join(comment).partition(". ")[0].rstrip(".") + "."


def gin_files() -> list[str]:
    """Makes the table of the gin files."""
    lines = ["## Gin files", "", "| file | contents |", "| --- | --- |"]
    for folder in GIN_FOLDERS:
        for path in sorted((ROOT / "gin" / folder).glob("*.gin")):
            lines.append(f"| `{folder}/{path.name}` | {cell(header(path))} |")
    return [*lines, ""]


def t5x_settings() -> list[str]:
    """Makes the table of the macros that the files for T5X set."""
    lines = [
        "## T5X",
        "",
        "The files in `t5x/` set these macros.",
    ]
    lines += ["", "| setting | value | file |", "| --- | --- | --- |"]
    for path in sorted((ROOT / "gin/t5x").glob("*.gin")):
        for line in path.read_text().splitlines():
            match = T5X_SETTING.match(line)
            if match:
                name, value = match.groups()
                lines.append(f"| `{name}` | `{cell(value)}` | `t5x/{path.name}` |")
    return [*lines, ""]


def page() -> str:
    """Makes the page."""
    commands = [capture(module) for module in COMMANDS]
    gin = [command for command in commands if command.is_gin]
    flags = [command for command in commands if not command.is_gin]
    lines = [*gin_sections(gin), *flag_sections(flags), *gin_files(), *t5x_settings()]
    return INTRODUCTION + "\n" + "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Writes or prints the page."""
    text = page()
    if "--stdout" in sys.argv[1:]:
        sys.stdout.write(text)
    else:
        PAGE.write_text(text)


if __name__ == "__main__":
    main()
