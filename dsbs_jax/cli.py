"""The command line: flags, gin files, `--help`, logging and exit statuses.

Two kinds of commands read the same `Settings` dataclasses (`dsbs_jax.settings`):

- Commands of a run read gin files and bindings, with the flags and macro names of T5X
  (`--gin_file`, `--gin.NAME=value`, `--gin_search_paths`, `--tfds_data_dir`).
- Other commands read one flag for each setting (`--output_dir=runs/card`).

Results and progress go to standard output, notes and errors to standard error. Bad
input ends a command with one line and exit status 2.
"""

import contextlib
import difflib
import inspect
import io
import logging as python_logging
import pathlib
import re
import sys
import textwrap
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from absl import app, flags, logging

from dsbs_jax import errors, gin_files, settings, tensorflow_import
from dsbs_jax.errors import UserError

S = TypeVar("S", bound=settings.Settings)

_PACKAGE = pathlib.Path(__file__).resolve().parent
# The status that shells report for a process that SIGINT ended.
_INTERRUPTED = 130
# Settings of the command that runs; `configure` replaces them.
_macros = gin_files.Macros({}, frozenset(), frozenset())


def config_dir() -> pathlib.Path:
    """Returns the folder of the project's gin files: installed, or in the checkout."""
    installed = _PACKAGE / "configs"
    return installed if installed.is_dir() else _PACKAGE.parent / "gin"


def use_tfds_data_dir() -> None:
    """Makes SeqIO look for prepared datasets in `--tfds_data_dir`, as T5X does."""
    if flags.FLAGS.tfds_data_dir:
        import seqio  # takes seconds

        seqio.set_tfds_data_dir_override(flags.FLAGS.tfds_data_dir)


# Settings from gin files.


def configure(
    files: Sequence[str],
    bindings: Sequence[str] = (),
    search_paths: Sequence[str] = (".",),
    known: Iterable[type[settings.Settings]] = (),
) -> None:
    """Reads gin files and bindings, from which `read` then builds settings.

    Args:
        files: Gin files, searched in `search_paths` and then in `config_dir()`.
        bindings: `NAME = value` strings that override the files. A value of a text
            setting needs no quotes.
        search_paths: Folders.
        known: The settings classes of the command. `bindings` may set only their
            macros. Files may also set the macros of other commands. Both may set a
            macro that a file refers to. Without `known`, names are not checked.

    Raises:
        UserError: A file does not exist, a statement cannot be parsed, a macro is not a
            setting, or a macro refers to one that is not set.
    """
    global _macros
    types = {i.macro: i.type for cls in known for i in settings.settings_of(cls)}
    bindings = [_quote(binding, types) for binding in bindings]
    places = [*search_paths, str(config_dir())]
    macros = gin_files.read(files, bindings, places)
    if types:
        _check_names(macros, bindings, types.keys() | macros.references)
    _macros = macros


def _check_names(
    macros: gin_files.Macros, bindings: Iterable[str], usable: set[str]
) -> None:
    """Checks that each macro is a setting.

    Args:
        macros: All macros.
        bindings: The bindings of the command line.
        usable: Names that the command reads.
    """
    for binding in bindings:
        name = binding.partition("=")[0].strip()
        if name not in usable:
            raise UserError(
                f"gin: {name} is not a setting of this command; {_hint(name, usable)}"
            )
    # Settings that version 0.1 wrote may no longer exist.
    unknown = sorted(macros.values.keys() - usable - macros.old)
    every = usable | _project_macros() if unknown else set()
    for name in unknown:
        if name not in every:
            raise UserError(
                f"gin: {name} is not a setting of any command; {_hint(name, every)}"
            )


def _hint(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(names), 1)
    return f"did you mean {near[0]}?" if near else "--help lists the settings"


def _project_macros() -> set[str]:
    """Returns the macros in the project's gin files.

    The files of a command list all its settings, some of them as comments. T5X's files
    refer to further macros as `%NAME`.
    """
    pattern = re.compile(
        r"^(?:# )?([A-Z][A-Z0-9_]*) =|%([A-Z][A-Z0-9_]*)", re.MULTILINE
    )
    texts = [path.read_text(encoding="utf-8") for path in config_dir().glob("*/*.gin")]
    return {name for text in texts for pair in pattern.findall(text) for name in pair}


def _quote(binding: str, types: Mapping[str, Any]) -> str:
    """Puts the value of a text setting in quotes.

    MODEL_DIR = runs/cqa -> MODEL_DIR = 'runs/cqa'

    Quoted text, None, brackets and references (`%OTHER`) stay unchanged. A number is
    quoted unless the setting also takes numbers.
    """
    name, separator, value = (part.strip() for part in binding.partition("="))
    if not separator or not _takes_text(types.get(name)) or value == "None":
        return binding
    if value.startswith(("'", '"', "%", "@", "(", "[", "{")):
        return binding
    if gin_files.parses(binding) and _takes_numbers(types[name]):
        return binding
    return f"{name} = {value!r}"


def _takes_text(hint: Any) -> bool:
    return any(base is str for base in settings.base_types(hint))


def _takes_numbers(hint: Any) -> bool:
    return any(base in (bool, int, float) for base in settings.base_types(hint))


def values() -> Mapping[str, Any]:
    """Returns the macros that `configure` read, by name."""
    return _macros.values


def given(cls: type[settings.Settings]) -> dict[str, Any]:
    """Returns the values that are set for a dataclass, by macro name, unchecked."""
    names = [info.macro for info in settings.settings_of(cls)]
    return {name: _macros.values[name] for name in names if name in _macros.values}


def read(cls: type[S]) -> S:
    """Builds a settings dataclass from the macros that `configure` read.

    Raises:
        UserError: A required setting is not set, or a value has another type or is out
            of range.
    """
    return settings.from_values(cls, _macros.values)


# Commands.


def define_flags() -> None:
    """Defines the flags of commands that read gin files."""
    flags.DEFINE_multi_string(
        "gin_file", [], "Gin file of settings; may be repeated, later files override."
    )
    flags.DEFINE_multi_string(
        "gin_bindings", [], "NAME = value; --gin.NAME=value is the same."
    )
    flags.DEFINE_list("gin_search_paths", ["."], "Folders with gin files.")
    flags.DEFINE_string("tfds_data_dir", None, "Folder with prepared datasets.")


def run(
    main: Callable[[list[str]], object], positional: int = 0, help_text: str = ""
) -> None:
    """Runs a command; bad input ends it with one line and exit status 2.

    Args:
        main: Takes the command line without flags, program name first.
        positional: The largest number of arguments besides flags.
        help_text: The text of `--help`.
    """
    if {"--help", "-h", "--helpfull"} & set(sys.argv[1:]):
        print(help_text)
        sys.exit(0)

    def guarded(arguments: list[str]) -> None:
        set_up_output()
        try:
            if len(arguments) > 1 + positional:
                raise UserError(f"unexpected argument {arguments[-1]!r}")
            main(arguments)
        except (UserError, OSError) as error:
            _exit(errors.describe(error))
        except KeyboardInterrupt:
            # The command has printed what it saved.
            sys.exit(_INTERRUPTED)

    app.run(guarded, flags_parser=_parse_flags)


def _exit(message: str) -> typing.NoReturn:
    # The error comes last, also in a file with both outputs.
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def _parse_flags(arguments: Sequence[str]) -> list[str]:
    try:
        return flags.FLAGS(_as_bindings(arguments))
    except (flags.Error, UserError) as error:
        _exit(errors.first_line(error))


def _as_bindings(arguments: Sequence[str]) -> list[str]:
    """Rewrites --gin.NAME=value to the flag --gin_bindings=NAME = value."""
    rewritten = []
    for argument in arguments:
        if argument.startswith("--gin."):
            name, separator, value = argument.removeprefix("--gin.").partition("=")
            if not separator:
                raise UserError(f"{argument}: expected --gin.NAME=value")
            argument = f"--gin_bindings={name} = {value}"
        rewritten.append(argument)
    return rewritten


class _PackageNotes(python_logging.Filter):
    """Passes the records of this package, and of libraries only the errors."""

    def filter(self, record: python_logging.LogRecord) -> bool:
        own = pathlib.Path(record.pathname).is_relative_to(_PACKAGE)
        return own or record.levelno >= python_logging.ERROR


_PACKAGE_NOTES = _PackageNotes()


def set_up_output() -> None:
    r"""Prepares the standard streams.

    Each note and warning is one line on standard error. Characters that the terminal's
    encoding lacks are printed as escapes, such as \xeb.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    logging.set_verbosity(logging.INFO)
    logging.use_absl_handler()
    handler = logging.get_absl_handler()
    handler.addFilter(_PACKAGE_NOTES)
    handler.setFormatter(_LineFormatter())


class _LineFormatter(python_logging.Formatter):
    """Formats a record as `note: message` or `warning: message`."""

    def format(self, record: python_logging.LogRecord) -> str:
        kind = record.levelname.lower()
        return f"{'note' if kind == 'info' else kind}: {record.getMessage()}"


def run_configured(
    main: Callable[[], object],
    known: Sequence[type[settings.Settings]] = (),
    description: str = "",
    tensorflow: bool = True,
) -> None:
    """Runs a command that reads gin files.

    Args:
        main: Takes nothing; it reads its settings with `read`.
        known: The settings classes of the command.
        description: What the command does, for `--help`: the module's docstring.
        tensorflow: Whether the command reads data with TensorFlow, which takes seconds
            to import.
    """
    define_flags()

    def configured(_: list[str]) -> None:
        if not flags.FLAGS.gin_file:
            raise UserError("no --gin_file given; --help shows the settings")
        if tensorflow:
            tensorflow_import.import_quietly()
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


def run_with_flags(main: Callable[[S], object], cls: type[S], description: str) -> None:
    """Runs a command whose settings are plain flags: `output_dir` is `--output_dir=…`.

    Args:
        main: Takes the settings.
        cls: The settings class.
        description: What the command does, for `--help`.
    """
    infos = settings.settings_of(cls)
    for info in infos:
        _define_flag(info)

    def with_settings(_: list[str]) -> None:
        names = [info.field for info in infos]
        values = {n: flags.FLAGS[n].value for n in names if flags.FLAGS[n].present}
        for info in infos:
            if info.required and info.field not in values:
                raise UserError(f"--{info.field} is required")
            words = values.get(info.field)
            if isinstance(words, list):
                values[info.field] = _as_numbers(words, info.type)
        main(cls(**values))

    run(with_settings, help_text=help_text(description, [cls]))


def _as_numbers(words: list[str], hint: Any) -> list[Any]:
    """Converts a list flag to the numbers that its setting expects, if possible."""
    try:
        return msgspec.convert(words, hint, strict=False)
    except msgspec.ValidationError:
        return words  # the settings class reports it


def _define_flag(info: settings.SettingInfo) -> None:
    """Defines the absl flag of a setting, by the setting's type."""
    default = None if info.required else info.default
    bases = set(settings.base_types(info.type))
    if bool in bases:
        flags.DEFINE_bool(info.field, default, info.help)
    elif bases & {tuple, list}:
        words = None if default is None else [str(word) for word in default]
        flags.DEFINE_list(info.field, words, info.help)
    elif float in bases:
        flags.DEFINE_float(info.field, default, info.help)
    elif int in bases:
        flags.DEFINE_integer(info.field, default, info.help)
    else:
        flags.DEFINE_string(info.field, default, info.help)


# Help.


def help_text(
    description: str,
    known: Iterable[type[settings.Settings]],
    prefix: str = "--",
) -> str:
    """Returns the text of `--help`: description, settings with defaults, and flags.

    Args:
        description: What the command does.
        known: The settings classes of the command.
        prefix: `--gin.` where settings are macros, `--` where they are flags.
    """
    lines = [inspect.cleandoc(description), ""]
    macros = prefix == "--gin."
    for cls in known:
        lines.append(f"{settings.title(cls)}:")
        for info in settings.settings_of(cls):
            name = info.macro if macros else info.field
            default = "required" if info.required else f"default: {info.default!r}"
            kind = settings.type_text(info.type)
            lines += _entry(f"{prefix}{name}", f"{kind}; {default}", info.help)
        lines.append("")
    own = list(_flags_of_command(known, macros))
    if own:
        lines.append("Flags:")
        for flag in own:
            # absl adds a second line about lists.
            text = flag.help.partition(";\n")[0]
            lines += _entry(f"--{flag.name}", f"default: {flag.default!r}", text)
    return "\n".join(lines).rstrip()


def _entry(name: str, facts: str, text: str) -> list[str]:
    wrapped = textwrap.wrap(text, 88, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return [f"  {name}  ({facts})", *wrapped]


def _flags_of_command(
    known: Iterable[type[settings.Settings]], macros: bool
) -> Iterator[flags.Flag]:
    """Yields the flags that this package defined and that are not settings."""
    listed = set()
    if not macros:
        listed = {info.field for cls in known for info in settings.settings_of(cls)}
    by_module = flags.FLAGS.flags_by_module_dict()
    for module, defined in by_module.items():
        # The module that runs as a command is known by its path.
        own = module.startswith("dsbs_jax") or str(_PACKAGE.parent) in module
        for flag in defined if own or module == sys.argv[0] else []:
            if flag.name not in listed:
                yield flag
