"""Options that are made from settings, and the examples of help pages.

A setting states its type, range, default and help text once (`dsbs_jax.settings`). A
subcommand takes the settings of several classes as options with the fields' names:

    @with_settings({"Filters": FilterConfig})
    def card(data: Annotated[str, typer.Argument()], **options: Any) -> None:
        ...  # options["min_words"] is an integer

`dsbs-jax card rows.jsonl --min_words 5` calls it with `min_words=5`.
"""

import ast
import contextlib
import csv
import functools
import inspect
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, Any

import msgspec
import typer

from dsbs_jax import settings
from dsbs_jax.errors import UserError
from dsbs_jax.settings import SettingInfo, Settings

Command = Callable[..., int | None]
# The type of a list on the help page.
_LIST = "<text,text>"


def with_settings(
    groups: Mapping[str, type[Settings]], without: Collection[str] = ()
) -> Callable[[Command], Command]:
    """Returns a decorator that gives a subcommand the options of settings classes.

    Args:
        groups: Settings classes by the title of their options on the help page. A
            setting that several classes have belongs to the first.
        without: Names of fields that are not options.
    """
    chosen: dict[str, tuple[str, SettingInfo]] = {}
    for title, cls in groups.items():
        for info in settings.settings_of(cls):
            if info.field not in without:
                chosen.setdefault(info.field, (title, info))

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_values(**given: Any) -> int | None:
            for name, (_, info) in chosen.items():
                given[name] = _value(info, given.pop(_option_name(info)))
            return command(**given)

        own = inspect.signature(command).parameters.values()
        parameters = [p for p in own if p.kind is not inspect.Parameter.VAR_KEYWORD]
        parameters += [_parameter(title, info) for title, info in chosen.values()]
        # Typer reads the signature.
        with_values.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
        )
        with_values.__annotations__ = {p.name: p.annotation for p in parameters}
        return with_values

    return decorate


def source_of(paths: Sequence[str]) -> str | tuple[str, ...]:
    """Returns the paths of an argument as a source of rows: one, or several."""
    return paths[0] if len(paths) == 1 else tuple(paths)


def examples(*lines: str) -> str:
    """Returns the end of a help page: example commands, one on each line."""
    return "\n\n".join(["Example:" if len(lines) == 1 else "Examples:", *lines])


def _parameter(title: str, info: SettingInfo) -> inspect.Parameter:
    """Makes the parameter from which Typer makes the option of a setting."""
    kind: Any = str if info.required else str | None
    default: Any = None if info.required else _text(info.default)
    help_text, metavar = info.help, f"<{_type_text(info.type)}>"
    if _is_list(info):
        # Each use of the option gives one value or more.
        kind, default = list[str] | None, [default] if default else None
        metavar = "<text>" if str in set(settings.base_types(info.type)) else _LIST
        help_text += " May be given several times."
    if info.type is bool:
        kind, metavar, default = bool, "", False
        if info.default:
            help_text = f"Turns this off: {help_text}"
    option = typer.Option(
        f"--{_option_name(info)}",
        # Square brackets would be markup.
        help=help_text.replace("[", "\\["),
        metavar=metavar,
        show_default=bool(default),
        rich_help_panel=title,
    )
    return inspect.Parameter(
        _option_name(info),
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if info.required else default,
        annotation=Annotated[kind, option],
    )


def _is_list(info: SettingInfo) -> bool:
    bases = set(settings.base_types(info.type))
    return bool(bases & {tuple, list}) and dict not in bases


def _option_name(info: SettingInfo) -> str:
    """Names an option: "samples"; "no_send_stop" for a switch that is on by default."""
    return f"no_{info.field}" if info.default is True else info.field


def _text(value: Any) -> str | None:
    """Formats a default as the text that `_value` reads."""
    if value is None or value == () or value == {}:
        return None
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return json.dumps(value) if isinstance(value, dict) else str(value)


def _value(info: SettingInfo, given: Any) -> Any:
    """Converts what Typer read to the value of a setting.

    Raises:
        UserError: The text is not a value of the setting's type.
    """
    if given is None:
        return info.default
    bases = set(settings.base_types(info.type))
    if isinstance(given, bool):
        return given != info.default  # the option changes the default
    if _is_list(info):
        if not given:
            return info.default
        if str in bases:  # one path or several
            return source_of(given)
        given = [value for text in given for value in list_of(text)]
    try:
        if str in bases:
            return msgspec.convert(given, info.type)
        if dict in bases:
            given = json.loads(given)
        return msgspec.convert(given, info.type, strict=False)
    # msgspec's error is not a ValueError before version 0.20.
    except (ValueError, msgspec.ValidationError) as error:
        raise UserError(
            f"--{info.field} is {given!r:.80}, expected {_type_text(info.type)}"
        ) from error


def list_of(text: str) -> list[str]:
    """Reads a comma-separated list; a comma in quotes belongs to its item.

    'billing, "yes, now"' -> ["billing", "yes, now"]
    "['billing', 'login']" -> ["billing", "login"]
    "[]" -> []
    """
    if text.startswith("[") and text.endswith("]"):
        with contextlib.suppress(ValueError, SyntaxError):
            return [str(value) for value in ast.literal_eval(text)]
    return next(csv.reader([text], skipinitialspace=True), [])


def _type_text(hint: Any) -> str:
    """Describes the type of an option, for help pages and messages.

    "text", "int >= 1", "0 to 1", "number >= 0" (int or float), "chat or completion"
    """
    if dict in set(settings.base_types(hint)):
        return "JSON object"
    text = settings.type_text(hint).removesuffix(" or None").replace("'", "")
    text = re.sub(r"int( >= \S+.*?) or float\1", r"number\1", text)
    text = re.sub(r"\w+ >= (\S+) and <= (\S+)", r"\1 to \2", text)
    return re.sub(r"\bstr\b", "text", text)
