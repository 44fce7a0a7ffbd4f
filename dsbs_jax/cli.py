"""The edge of the program: flags, gin files, `--help` and exit statuses of commands.

Two kinds of commands read the same `Settings` dataclasses (`dsbs_jax.settings`):

- Commands of an experiment read gin files and bindings, with the flags and macro names
  of T5X (`--gin_file`, `--gin.NAME=value`, `--gin_search_paths`, `--tfds_data_dir`).
- Other commands read one flag per setting (`--output=runs/card`).

Beyond what gin checks, a macro given on the command line must be a setting of the
command, and a macro that a file reads must be set: gin accepts the first silently and
reports the second only when the value is used.
"""

import contextlib
import copy
import difflib
import inspect
import os
import pathlib
import re
import sys
import tokenize
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import gin
from absl import app, flags, logging

from dsbs_jax import settings
from dsbs_jax.errors import UserError

_MACRO = re.compile(r"^\s*([A-Za-z_]\w*)\s*=")


def config_dir() -> pathlib.Path:
    """The folder of the project's gin files: installed, or in the checkout."""
    package = pathlib.Path(__file__).resolve().parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "gin"


def quiet_tensorflow() -> None:
    """Imports TensorFlow, which only feeds data here, without accelerators.

    Its libraries write about missing accelerators to standard error, whatever its log
    level says; an error of the import itself is raised as usual.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        import tensorflow as tf
        import tensorflow_text  # noqa: F401

        tf.config.set_visible_devices([], "GPU")
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def define_flags() -> None:
    """Defines the flags that the gin-configured binaries share."""
    flags.DEFINE_multi_string("gin_file", [], "Gin files, later ones override.")
    flags.DEFINE_multi_string(
        "gin_bindings", [], "Single bindings; --gin.NAME=value is the same."
    )
    flags.DEFINE_list("gin_search_paths", ["."], "Where gin files are looked for.")
    flags.DEFINE_string("tfds_data_dir", None, "Where prepared datasets stand.")


def configure(
    files: Sequence[str],
    bindings: Sequence[str] = (),
    search_paths: Sequence[str] = (".",),
    known: Sequence[type[settings.Settings]] = (),
) -> None:
    """Replaces gin's configuration by these files and bindings, and checks it.

    Args:
        files: Gin files, searched in `search_paths` and then in `config_dir()`.
        bindings: `NAME = value` strings that override the files. A value of a text
            setting needs no quotes.
        search_paths: Folders.
        known: The settings classes of the command, whose macros `bindings` may set.

    Raises:
        UserError: A file or a name is unknown, a value does not parse, a required macro
            is missing, a macro is read but never set, or one of `bindings` sets a macro
            that nothing reads.
    """
    gin.clear_config()
    # Gin keeps what earlier calls added, and has no public way to forget it.
    gin.config._LOCATION_PREFIXES[:] = ["", *search_paths, str(config_dir())]
    # Gin also looks for packages named like a file's folder, and fails where the
    # working folder happens to hold a folder of that name.
    gin.config._FILE_READERS[:] = [
        (reader, is_there)
        for reader, is_there in gin.config._FILE_READERS
        if is_there is not gin.resource_reader.system_path_file_exists
    ]
    with _gin_errors("gin"):
        gin.parse_config_files_and_bindings(files, (), finalize_config=False)
    types = {i.macro: i.type for cls in known for i in settings.settings_of(cls)}
    for binding in bindings:
        with _gin_errors(f"gin: --gin.{binding.replace(' = ', '=', 1)}"):
            gin.parse_config(_quoted(binding, types))
    _check_macros(bindings, types.keys())
    try:
        gin.finalize()
    except ValueError as error:
        raise UserError(f"gin: {_first_line(error)}") from error


@contextlib.contextmanager
def _gin_errors(place: str) -> Iterator[None]:
    """Names the place, and what to do about it where a text is not in quotes."""
    try:
        yield
    except SyntaxError as error:
        hint = "a text needs quotes of its own: --gin.NAME=\"'text'\""
        raise UserError(f"{place}: {_first_line(error)}; {hint}") from error
    except (ValueError, TypeError, OSError, ImportError) as error:
        raise UserError(f"{place}: {_first_line(error)}") from error
    except (AttributeError, NameError) as error:
        raise UserError(f"{place}: unknown name: {_first_line(error)}") from error
    except tokenize.TokenError as error:
        raise UserError(f"{place}: {error.args[0]}: a bracket is not closed") from error


def _quoted(binding: str, types: Mapping[str, Any]) -> str:
    """Puts the value of a text setting in quotes: `MODEL_DIR = runs/cqa`.

    A value that gin can read as a text, `None`, a macro or a reference stays as it is.
    """
    name, separator, value = binding.partition("=")
    name, value = name.strip(), value.strip()
    if not separator or not _accepts_text(types.get(name)):
        return binding
    if value.startswith(("%", "@")):
        return binding
    try:
        parsed = gin.config.parse_value(value)
    # What the parser raises depends on where it stops reading.
    except Exception:  # noqa: BLE001
        return f"{name} = {value!r}"
    if isinstance(parsed, str) or parsed is None or not isinstance(parsed, int | float):
        return binding
    return binding if _accepts_number(types[name]) else f"{name} = {value!r}"


def _accepts_text(hint: Any) -> bool:
    arguments = typing.get_args(hint)
    return (
        hint is str
        or any(map(_accepts_text, arguments))
        or (typing.get_origin(hint) is typing.Literal and isinstance(arguments[0], str))
    )


def _accepts_number(hint: Any) -> bool:
    return hint in (int, float) or any(map(_accepts_number, typing.get_args(hint)))


S = TypeVar("S", bound=settings.Settings)


def read(cls: type[S]) -> S:
    """Builds a settings dataclass from the macros of gin's current configuration.

    Raises:
        UserError: A required setting is not set, or a value is wrong.
    """
    values = given(cls)
    for info in settings.settings_of(cls):
        if info.required and info.macro not in values:
            raise UserError(
                f"{info.macro} is required and not set; give --gin.{info.macro}=value"
            )
    return settings.from_values(cls, values)


def given(cls: type) -> dict[str, Any]:
    """The settings of a dataclass that gin's configuration sets, by macro name."""
    values = {}
    for info in settings.settings_of(cls):
        try:
            value = gin.query_parameter(f"%{info.macro}")
        except ValueError:
            continue  # not set
        # The copy of a gin reference (`%OTHER`, `@function()`) is its value.
        with _gin_errors(f"gin: {info.macro}"):
            values[info.macro] = copy.deepcopy(value)
    return values


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _macros_in(config: dict) -> set[str]:
    macro = gin.get_configurable(gin.config.macro)
    return {ref.config_key[0] for ref in gin.config.iterate_references(config, macro)}


def _check_macros(bindings: Sequence[str], known: Collection[str]) -> None:
    config = gin.config._CONFIG  # Gin has no public view of its parsed bindings.
    values = {scope: v for (scope, name), v in config.items() if name == "gin.macro"}
    read = _macros_in({k: v for k, v in config.items() if k[1] != "gin.macro"})
    pending = set(read)
    while pending:
        name = pending.pop()
        found = _macros_in({name: values[name]}) - read if name in values else set()
        read |= found
        pending |= found
    unset = sorted(read - values.keys())
    if unset:
        raise UserError(
            f"gin: {', '.join(unset)} is read but never set; "
            f"give --gin.{unset[0]}=value or a gin file that sets it"
        )
    given = {m.group(1) for b in bindings if (m := _MACRO.match(b))}
    usable = {*read, *known}
    for name in sorted(given - usable):
        near = difflib.get_close_matches(name, usable, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(
            f"gin: {name} is not a setting of this command{hint} "
            f"(known: {', '.join(sorted(usable))})"
        )
    for name in sorted(read):
        value = values[name].get("value")
        selector = getattr(value, "scoped_selector", "")
        if selector.endswith("REQUIRED/gin.constant"):
            raise UserError(
                f"gin: {name} is required and not set; give --gin.{name}=value"
            )


def _rewrite(arguments: Sequence[str]) -> list[str]:
    rewritten = []
    for argument in arguments:
        if argument.startswith("--gin."):
            name, separator, value = argument.removeprefix("--gin.").partition("=")
            if not separator:
                raise UserError(f"{argument}: expected --gin.NAME=value")
            argument = f"--gin_bindings={name} = {value}"
        rewritten.append(argument)
    return rewritten


def _parse_flags(arguments: Sequence[str]) -> list[str]:
    try:
        return flags.FLAGS(_rewrite(arguments))
    except (flags.Error, UserError) as error:
        print(f"error: {_first_line(error)}", file=sys.stderr)
        sys.exit(2)


def use_tfds_data_dir() -> None:
    """Lets SeqIO look for prepared datasets in `--tfds_data_dir`, as T5X does."""
    # Slow to import, and only needed here.
    import seqio

    if flags.FLAGS.tfds_data_dir:
        seqio.set_tfds_data_dir_override(flags.FLAGS.tfds_data_dir)


def run(
    main: Callable[[list[str]], None], positional: int = 0, help_text: str = ""
) -> None:
    """Runs a command; bad input ends in one line and exit status 2.

    Args:
        main: Takes what is left of the command line after the flags, program name first.
        positional: The largest number of arguments besides flags.
        help_text: What `--help` prints.
    """
    if {"--help", "-h", "--helpfull"} & set(sys.argv[1:]):
        print(help_text)
        sys.exit(0)

    def guarded(arguments: list[str]) -> None:
        logging.set_verbosity(logging.ERROR)
        try:
            if len(arguments) > 1 + positional:
                raise UserError(f"unexpected argument {arguments[-1]!r}")
            main(arguments)
        except UserError as error:
            # Gin adds lines that say where in its bindings the error was raised.
            print(f"error: {_first_line(error)}", file=sys.stderr)
            sys.exit(2)
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            reason = error.strerror or _first_line(error)
            print(f"error: {place}{reason}", file=sys.stderr)
            sys.exit(2)

    app.run(guarded, flags_parser=_parse_flags)


def run_configured(
    main: Callable[[], None],
    known: Sequence[type[settings.Settings]] = (),
    description: str = "",
    tensorflow: bool = True,
) -> None:
    """Runs a command that reads gin files.

    Args:
        main: Takes nothing; it reads its settings with `read`.
        known: The settings classes of the command.
        description: What the command does, for `--help`; usually the module's docstring.
        tensorflow: Whether the command reads data with TensorFlow, which takes seconds
            to import.
    """
    define_flags()

    def configured(_: list[str]) -> None:
        if not flags.FLAGS.gin_file:
            raise UserError("no --gin_file given; --help shows the settings")
        if tensorflow:
            quiet_tensorflow()
        configure(
            flags.FLAGS.gin_file,
            flags.FLAGS.gin_bindings,
            flags.FLAGS.gin_search_paths,
            known,
        )
        if tensorflow:
            use_tfds_data_dir()
        main()

    run(configured, help_text=help_text(description, known, prefix="--gin."))


def run_with_flags(main: Callable[[S], None], cls: type[S], description: str) -> None:
    """Runs a command whose settings are plain flags: `output` is `--output=…`.

    Args:
        main: Takes the settings.
        cls: The settings class.
        description: What the command does, for `--help`.
    """
    for info in settings.settings_of(cls):
        _define_flag(info)

    def with_settings(_: list[str]) -> None:
        names = [info.field for info in settings.settings_of(cls)]
        values = {n: flags.FLAGS[n].value for n in names if flags.FLAGS[n].present}
        for info in settings.settings_of(cls):
            if info.required and info.field not in values:
                raise UserError(f"--{info.field} is required")
        main(cls(**values))

    run(with_settings, help_text=help_text(description, [cls]))


def _define_flag(info: settings.SettingInfo) -> None:
    """Defines the absl flag of a setting, by the setting's type."""
    hint = info.type
    default = None if info.required else info.default
    while typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    bases = {hint, *typing.get_args(hint)}
    bases |= {b for hint in bases for b in typing.get_args(hint)[:1]}
    if bool in bases:
        flags.DEFINE_bool(info.field, default, info.help)
    elif typing.get_origin(hint) in (tuple, list):
        flags.DEFINE_list(info.field, default and list(default), info.help)
    elif float in bases:
        flags.DEFINE_float(info.field, default, info.help)
    elif int in bases:
        flags.DEFINE_integer(info.field, default, info.help)
    else:
        flags.DEFINE_string(info.field, default, info.help)


def help_text(
    description: str, known: Sequence[type[settings.Settings]], prefix: str = "--"
) -> str:
    """Makes what `--help` prints: a description and every setting with its default."""
    lines = [inspect.cleandoc(description), "", "Settings:"]
    seen = set()
    for cls in known:
        for info in settings.settings_of(cls):
            if info.macro in seen:
                continue
            seen.add(info.macro)
            name = info.macro if prefix == "--gin." else info.field
            default = "required" if info.required else f"default {info.default!r}"
            lines.append(
                f"  {prefix}{name}  ({settings.type_text(info.type)}; {default})"
            )
            lines.append(f"      {info.help}")
    if prefix == "--gin.":
        lines += ["", "Flags:", *_flag_lines()]
    return "\n".join(lines)


def _flag_lines() -> list[str]:
    module = flags.FLAGS.flags_by_module_dict()
    lines = []
    for flag in [
        f
        for name in module
        if "dsbs" in name or name == "__main__" or name == sys.argv[0]
        for f in module[name]
    ]:
        lines += [f"  --{flag.name}  (default {flag.default!r})", f"      {flag.help}"]
    return lines
