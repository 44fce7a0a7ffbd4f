"""Typed settings: one dataclass field states a setting once.

A field holds the setting's type, range, default and help text. Commands read the same
fields from gin macros (`TRAIN_STEPS = 10_000`) or flags (`--output=runs/card`), Python
code passes them as arguments, and `--help` and the documentation list them:

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class LoopConfig(Settings):
        train_steps: PositiveInt = setting(10_000, help="Optimizer updates of the run.")

    LoopConfig(train_steps=0)  # UserError: TRAIN_STEPS is 0, expected int >= 1

The macro's name is the field's name in capitals, or the one given to `setting`.
"""

import dataclasses
import difflib
import functools
import inspect
import math
import os
import textwrap
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from dsbs_jax import files
from dsbs_jax.errors import UserError

PositiveInt = Annotated[int, Meta(ge=1)]
NonNegativeInt = Annotated[int, Meta(ge=0)]
PositiveFloat = Annotated[float, Meta(gt=0)]
NonNegativeFloat = Annotated[float, Meta(ge=0)]
# A number from 0 to 1, both included.
Fraction = Annotated[float, Meta(ge=0, le=1)]
# A text of one character or more.
Text = Annotated[str, Meta(min_length=1)]
# Paths of any kind, or on this machine only; a leading "~" is the home folder.
AnyPath = Annotated[str, Meta(min_length=1, extra={"path": "any"})]
LocalPath = Annotated[str, Meta(min_length=1, extra={"path": "local"})]

_HELP, _MACRO, _UNSET = "help", "macro", "unset"


def setting(
    default: Any = dataclasses.MISSING,
    *,
    help: str,
    macro: str | None = None,
    unset: str = "required",
) -> Any:
    """Declares a field of a `Settings` class.

    Args:
        default: The default value; without one, the setting is required.
        help: One or two sentences: what the setting does, with its unit.
        macro: The gin macro's name, where it is not the field's name in capitals.
        unset: Where the value comes from if nothing sets it, for settings without a
            default.
    """
    metadata = {_HELP: help, _MACRO: macro, _UNSET: unset}
    if isinstance(default, dict | list):
        return dataclasses.field(
            default_factory=functools.partial(type(default), default),
            metadata=metadata,
        )
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, slots=True)
class SettingInfo:
    """Name, type, default and help text of one setting.

    Attributes:
        field: Name of the dataclass field.
        macro: Name of the gin macro.
        type: The annotated type, with its range.
        default: The default value; `dataclasses.MISSING` for a setting without one.
        help: What the setting does.
        unset: For a setting without a default: where its value comes from if nothing
            sets it, or "required".
    """

    field: str
    macro: str
    type: Any
    default: Any
    help: str
    unset: str

    @property
    def required(self) -> bool:
        """Whether the setting has no default."""
        return self.default is dataclasses.MISSING

    def default_text(self) -> str:
        """Returns the default as Python code, or the text of `unset`."""
        return self.unset if self.required else repr(self.default)


S = TypeVar("S", bound="Settings")


class Settings:
    """Base class of settings dataclasses; checks types and ranges on construction.

    A subclass that checks several fields together extends `__post_init__`.

    Raises:
        UserError: A value has another type or is out of range; the message names the
            setting by its macro.
    """

    def __post_init__(self) -> None:
        """Replaces each value by the checked one (a list by a tuple, 1 by 1.0)."""
        for info in settings_of(type(self)):
            value = check(info, getattr(self, info.field))
            object.__setattr__(self, info.field, value)


def settings_of(cls: type) -> tuple[SettingInfo, ...]:
    """Lists the settings of a dataclass, in the order of its fields.

    Fields that are not declared with `setting` are left out.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    infos = []
    for field in dataclasses.fields(cls):
        if _HELP not in field.metadata:
            continue
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        infos.append(
            SettingInfo(
                field=field.name,
                macro=field.metadata[_MACRO] or field.name.upper(),
                type=hints[field.name],
                default=default,
                help=field.metadata[_HELP],
                unset=field.metadata[_UNSET],
            )
        )
    return tuple(infos)


def check(info: SettingInfo, value: Any) -> Any:
    """Returns a setting's value, converted to its type without loss.

    Raises:
        UserError: The value has another type or is out of range.
    """
    if is_path(info):
        value = _map_paths(value, _as_text)
    try:
        converted = msgspec.convert(value, info.type)
    except msgspec.ValidationError as error:
        raise UserError(
            f"{info.macro} is {value!r:.80}, expected {type_text(info.type)}"
        ) from error
    if is_path(info):
        expand = _local_path if "local" in _path_kinds(info.type) else _expanded
        try:
            converted = _map_paths(converted, expand)
        except UserError as error:
            raise UserError(f"{info.macro}: {error}") from error
    if isinstance(converted, float) and not math.isfinite(converted):
        raise UserError(f"{info.macro} is {value}, expected a finite number")
    return converted


def is_path(info: SettingInfo) -> bool:
    """Whether a setting is a path, a list of paths or a dictionary of paths."""
    return any(_path_kinds(info.type))


def _path_kinds(hint: Any) -> Iterator[str]:
    """Yields the kinds of paths in a type: LocalPath | None -> "local"."""
    if isinstance(hint, Meta):
        kind = (hint.extra or {}).get("path")
        if kind is not None:
            yield kind
    for argument in typing.get_args(hint):
        yield from _path_kinds(argument)


def _map_paths(value: Any, change: Callable[[Any], Any]) -> Any:
    """Changes a path, or the paths of a list or dictionary; None remains None."""
    if isinstance(value, tuple | list):
        return type(value)(_map_paths(one, change) for one in value)
    if isinstance(value, dict):
        return {name: _map_paths(one, change) for name, one in value.items()}
    return None if value is None else change(value)


def _as_text(value: Any) -> Any:
    """Returns a `pathlib.Path` as text, and other values unchanged."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _expanded(path: str) -> str:
    """Replaces "~" in a path."""
    return _local_path(path) if path.startswith("~") else path


def _local_path(path: str) -> str:
    """Replaces "~" in a path on this machine.

    Raises:
        UserError: The path is not on this machine.
    """
    return str(files.local_path(path))


def from_values(cls: type[S], values: Mapping[str, Any]) -> S:
    """Builds a settings dataclass from values by macro name; ignores other values.

    Raises:
        UserError: A required setting is missing, or a value is wrong.
    """
    arguments = {}
    for info in settings_of(cls):
        if info.macro in values:
            arguments[info.field] = values[info.macro]
        elif info.required:
            raise UserError(
                f"{info.macro} is required and not set; give --gin.{info.macro}=value "
                "or a gin file that sets it"
            )
    return cls(**arguments)


def from_fields(cls: type[S], values: Mapping[str, Any]) -> S:
    """Builds a settings dataclass from values by field name.

    Raises:
        UserError: A name is not a setting, a required setting is missing, or a value is
            wrong.
    """
    infos = {info.field: info for info in settings_of(cls)}
    check_names(values, infos)
    for name, info in infos.items():
        if info.required and name not in values:
            raise UserError(f"{name} is required and not given")
    return cls(**values)


def check_names(given: Iterable[str], known: Iterable[str]) -> None:
    """Checks that each name is a setting.

    Raises:
        UserError: A name is unknown; the message suggests the nearest name.
    """
    known = sorted(known)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = (
                f"did you mean {near[0]}?" if near else f"expected {', '.join(known)}"
            )
            raise UserError(f"{name} is not a setting; {hint}")


def values_of(instances: Iterable[Settings]) -> dict[str, Any]:
    """Returns the value of every setting by its macro.

    Args:
        instances: Settings dataclasses. Of two with the same macro, the first counts.
    """
    values: dict[str, Any] = {}
    for instance in instances:
        for info in settings_of(type(instance)):
            values.setdefault(info.macro, getattr(instance, info.field))
    return values


def as_gin(instances: Iterable[Settings]) -> str:
    """Returns settings as a gin file that holds every value, one macro on each line.

    Args:
        instances: Settings dataclasses, as for `values_of`.
    """
    values = values_of(instances)
    return "".join(f"{macro} = {values[macro]!r}\n" for macro in sorted(values))


def gin_reference(header: str, classes: Iterable[type[Settings]]) -> str:
    """Returns a gin file that lists settings and their defaults as comments.

    Args:
        header: Comment at the top, without `#`.
        classes: The settings classes.
    """
    lines = [f"# {line}".rstrip() for line in inspect.cleandoc(header).splitlines()]
    for cls in classes:
        lines += ["", f"# {title(cls)}"]
        for info in settings_of(cls):
            text = f"{info.help} ({type_text(info.type)})"
            indent = "#   "
            lines.append("#")
            lines += textwrap.wrap(
                text, 88, initial_indent=indent, subsequent_indent=indent
            )
            lines.append(f"# {info.macro} = {info.default_text()}")
    return "\n".join(lines) + "\n"


def title(cls: type[Settings]) -> str:
    """Returns the first line of a settings class's docstring, as a heading."""
    return inspect.cleandoc(cls.__doc__ or cls.__name__).splitlines()[0].rstrip(".")


def base_types(hint: Any) -> Iterator[Any]:
    """Yields the types of a union: `PositiveInt | None` -> int, NoneType."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Annotated:
        yield from base_types(arguments[0])
    elif typing.get_origin(hint) is typing.Literal:
        yield from map(type, arguments)
    elif typing.get_origin(hint) in (tuple, list, dict):
        yield typing.get_origin(hint)
    elif arguments:
        for argument in arguments:
            yield from base_types(argument)
    else:
        yield hint


def type_text(hint: Any) -> str:
    """Describes a setting's type in messages: `int >= 1`, `str or None`."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is Annotated:
        limits = " and ".join(_limits(arguments[1:]))
        return f"{type_text(arguments[0])} {limits}".rstrip()
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(map(repr, arguments))
    if arguments and type(None) in arguments:
        rest = [argument for argument in arguments if argument is not type(None)]
        return " or ".join([*map(type_text, rest), "None"])
    if typing.get_origin(hint) in (tuple, list):
        return f"list of {type_text(arguments[0])}"
    if arguments and typing.get_origin(hint) is dict:
        return f"dict of {type_text(arguments[0])} to {type_text(arguments[1])}"
    if arguments:
        return " or ".join(map(type_text, arguments))
    return getattr(hint, "__name__", str(hint))


def _limits(metas: Iterable[Any]) -> Iterator[str]:
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    for meta in metas:
        for name, sign in signs.items():
            limit = getattr(meta, name, None)
            if limit is not None:
                yield f"{sign} {limit}"
