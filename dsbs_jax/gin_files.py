"""Gin files that hold settings: `NAME = value`, one macro for each setting.

A file may also include another file, refer to another macro (`%OTHER`) and import a
module, which can then register a dataset:

    include 'datasets/jsonl.gin'
    import my_datasets.tickets
    DATASET = 'tickets'
    DATA_FILES = %DATASET_FOLDER

Gin's own parser reads the statements. Gin's bindings of functions are not needed here,
because commands pass settings as values; T5X reads the files in `gin/t5x` itself.

An import runs the module, so a gin file is a program: read only files that you trust.
The exception is a run folder's `config.gin`, which often comes from another person: it
holds only values, and a file of this name cannot import a module.

Files of version 0.1 (the `config.gin` of a run folder, or a user's file) also hold
bindings and references of functions. `read` keeps the settings that they hold.
"""

import dataclasses
import importlib
import io
import pathlib
import re
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gin.config_parser as config_parser

from dsbs_jax.errors import UserError

# Old name of a setting: its name now.
RENAMED = {
    "ACTIVATION_DTYPE": "PRECISION",
    "FILES": "DATA_FILES",
    "MODEL": "TEACHER_MODEL",
}

# The settings of a run, which commands read from run folders.
_RUN_CONFIG = "config.gin"
# Packages that the `config.gin` of version 0.1 names; nothing of them is needed.
_OLD_IMPORTS = {"dsbs_jax", "optax", "__gin__"}

_NAME = re.compile(r"[A-Za-z_]\w*")

# What files of version 0.1 bind, by the last part of the function's name. Other
# bindings of that version only pass a macro's value to a function.
_OLD_ARGUMENTS = {
    "adamw.b1": "ADAM_B1",
    "adamw.b2": "ADAM_B2",
    "adamw.eps": "ADAM_EPS",
    "adamw.weight_decay": "WEIGHT_DECAY",
    "adamw.clip_norm": "CLIP_NORM",
    "adafactor.decay_rate": "ADAFACTOR_DECAY_RATE",
    "Decoder.length_penalty": "LENGTH_PENALTY",
    # The size that version 0.1 read from a checkpoint.
    "student_config.vocab_size": "VOCAB_SIZE",
    "student_config.emb_dim": "EMB_DIM",
    "student_config.num_heads": "NUM_HEADS",
    "student_config.head_dim": "HEAD_DIM",
    "student_config.num_encoder_layers": "NUM_ENCODER_LAYERS",
    "student_config.num_decoder_layers": "NUM_DECODER_LAYERS",
    "student_config.mlp_dim": "MLP_DIM",
    "student_config.mlp_activations": "MLP_ACTIVATIONS",
    "student_config.logits_via_embedding": "LOGITS_VIA_EMBEDDING",
}
# The schedule of version 0.1 that this argument belongs to always started from 0.
_OLD_CONSTANTS = {"warmup_cosine_decay_schedule.init_value": 0.0}
# Functions that version 0.1 referred to, and the values that replace them, by setting.
_CONSTANT = "constant_schedule"
_OLD_REFERENCES = {
    "OPTIMIZER": {"adamw": "adamw", "adafactor": "adafactor"},
    "SCHEDULE": {
        "linear_decay": "linear",
        _CONSTANT: "constant",
        "warmup_cosine_decay_schedule": "cosine",
    },
}
_OLD_VALUES = {k: v for values in _OLD_REFERENCES.values() for k, v in values.items()}
# Functions that version 0.1 referred to, and that need no setting.
_OLD_FUNCTIONS = {"Transformer", "mixture_name", "test_task_name"}
# Settings that no longer exist, and what replaces them.
_REMOVED = {"TEST_TASK_NAME": "set TEST_DATASET to the dataset whose test split counts"}


@dataclasses.dataclass(frozen=True)
class _Macro:
    """The value `%NAME`: the value of another macro."""

    name: str


@dataclasses.dataclass(frozen=True)
class _Reference:
    """The value `@name` or `@name()`: a function that gin would look up."""

    name: str

    @property
    def function(self) -> str:
        """The last part of the function's name."""
        return self.name.strip("@()").rpartition(".")[2]


_REQUIRED = _Macro("gin.REQUIRED")


class _Delegate(config_parser.ParserDelegate):
    """Represents references as values instead of looking them up."""

    def configurable_reference(self, name: str, evaluate: bool) -> _Reference:
        return _Reference(f"@{name}()" if evaluate else f"@{name}")

    def macro(self, name: str) -> _Macro:
        return _Macro(name)


@dataclasses.dataclass(frozen=True)
class Macros:
    """The macros of gin files and bindings.

    Attributes:
        values: The value of each macro by its name, with references resolved.
        references: Names of the macros that another macro refers to.
        old: Names of the macros in files of version 0.1.
    """

    values: Mapping[str, Any]
    references: frozenset[str]
    old: frozenset[str]


def read(
    files: Sequence[str],
    bindings: Sequence[str] = (),
    search_paths: Sequence[str] = (),
) -> Macros:
    """Reads gin files and bindings; later ones override earlier ones.

    Args:
        files: Paths, relative to the working folder or to one of `search_paths`.
        bindings: `NAME = value` strings that override the files.
        search_paths: Folders; the first one that holds the file counts.

    Raises:
        UserError: A file or module does not exist, a statement cannot be parsed, or a
            macro refers to one that is not set.
    """
    macros: dict[str, Any] = {}
    bound: set[str] = set()
    old_names: set[str] = set()
    for file in files:
        _read_file(file, search_paths, macros, old_names)
    for binding in bindings:
        name, _, value = binding.partition("=")
        place = f"--gin.{name.strip()}={value.strip()}"
        bound.add(name.strip())
        for statement in _statements(binding, place):
            _apply(statement, place, macros, old=False)
    given = {name: value for name, value in macros.items() if value != _REQUIRED}
    _replace_references(given, bound)
    return Macros(
        {name: _resolve(value, name, given) for name, value in given.items()},
        frozenset(name for value in given.values() for name in _macros_in(value)),
        frozenset(old_names),
    )


def _replace_references(macros: dict[str, Any], bound: set[str]) -> None:
    """Replaces the functions that files of version 0.1 refer to by settings.

    Args:
        macros: All macros; changed in place.
        bound: Names of the macros that bindings set.
    """
    for name, value in list(macros.items()):
        if isinstance(value, _Reference):
            macros[name] = _OLD_VALUES[value.function]
            # A constant learning rate did not use WARMUP_STEPS.
            if value.function == _CONSTANT and "WARMUP_STEPS" not in bound:
                macros["WARMUP_STEPS"] = 0


def parses(binding: str) -> bool:
    """Returns whether gin can parse `NAME = value`."""
    try:
        return bool(list(_statements(binding, "")))
    except UserError:
        return False


def _read_file(
    name: str,
    search_paths: Sequence[str],
    macros: dict[str, Any],
    old_names: set[str],
    may_import: bool = True,
) -> None:
    """Adds the macros of a file, and of the files that it includes.

    Args:
        name: Path of the file.
        search_paths: Folders to search it in.
        macros: The macros so far; changed in place.
        old_names: Names of the macros in files of version 0.1; changed in place.
        may_import: Whether the file that includes this one can import modules.
    """
    folders = [pathlib.Path(), *map(pathlib.Path, search_paths)]
    path = next((f / name for f in folders if (f / name).is_file()), None)
    if path is None:
        places = ", ".join(map(str, folders))
        raise UserError(f"gin file {name} does not exist; searched in {places}")
    may_import = may_import and path.name != _RUN_CONFIG
    text = _read_text(path)
    # Version 0.1 wrote this line into each file that refers to functions.
    first = r"^from __gin__ import dynamic_registration"
    old = re.search(first, text, re.MULTILINE) is not None
    for statement in _statements(text, str(path)):
        if isinstance(statement, config_parser.IncludeStatement):
            included = statement.filename
            _read_file(included, search_paths, macros, old_names, may_import)
        elif not may_import and isinstance(statement, config_parser.ImportStatement):
            _check_old_import(statement, path)
        else:
            place = f"{path}: line {statement.location.line_num}"
            _apply(statement, place, macros, old)
            if old and isinstance(statement, config_parser.BindingStatement):
                old_names.add(RENAMED.get(statement.selector, statement.selector))


def _read_text(path: pathlib.Path) -> str:
    """Reads a file with or without a byte order mark, and with any line ends.

    Raises:
        UserError: The file is not UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: byte {error.start} is not UTF-8, expected a gin file in UTF-8"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _check_old_import(statement: Any, path: pathlib.Path) -> None:
    """Checks that a run's file imports nothing but what version 0.1 wrote.

    Raises:
        UserError: The file imports another module.
    """
    if statement.module.partition(".")[0] not in _OLD_IMPORTS:
        raise UserError(
            f"{path}: line {statement.location.line_num} imports {statement.module}, "
            f"but a run's {_RUN_CONFIG} imports nothing; if you trust the file, move "
            "the line to a gin file with another name"
        )


def _statements(text: str, place: str) -> Iterator[Any]:
    """Yields the statements of a file; errors of gin's parser become one line."""
    try:
        yield from config_parser.ConfigParser(io.StringIO(text), _Delegate())
    except SyntaxError as error:
        location = error.args[1]
        line = location.line_content.strip()
        if "\n" in text.strip():
            place = f"{place}: line {location.line_num}"
        raise UserError(
            f"{place}: cannot parse {line!r}; expected NAME = value with quoted text"
        ) from error
    except tokenize.TokenError as error:
        raise UserError(f"{place}: a bracket is not closed") from error
    except ValueError as error:
        raise UserError(f"{place}: {str(error).partition(chr(10))[0]}") from error


def _apply(statement: Any, place: str, macros: dict[str, Any], old: bool) -> None:
    """Adds the macro of a statement to the macros.

    Args:
        statement: A statement of gin's parser.
        place: File and line, for errors.
        macros: The macros so far; changed in place.
        old: Whether the file has the format of version 0.1.
    """
    if isinstance(statement, config_parser.ImportStatement):
        # `from … import …` only names functions for gin's references.
        if not statement.is_from:
            _import(statement.module, place)
    elif isinstance(statement, config_parser.BindingStatement):
        name, value = statement.selector, statement.value
        if statement.arg_name or statement.scope or not _NAME.fullmatch(name):
            _apply_old_binding(statement, place, macros)
        elif isinstance(value, _Reference):
            _apply_reference(name, value, place, macros, old)
        elif name in _REMOVED:
            raise UserError(f"{place}: {name} is not a setting; {_REMOVED[name]}")
        elif name in RENAMED and not old:
            raise UserError(f"{place}: {name} is now {RENAMED[name]}")
        else:
            macros[RENAMED.get(name, name)] = value


def _apply_reference(
    name: str, value: _Reference, place: str, macros: dict[str, Any], old: bool
) -> None:
    """Adds the macro `NAME = @function()` of a file of version 0.1.

    Raises:
        UserError: The file is not of version 0.1, or no setting replaces the function.
    """
    if old and value.function in _OLD_VALUES:
        macros[name] = value  # `_replace_references` replaces it
    elif old and value.function in _OLD_FUNCTIONS:
        macros.pop(name, None)  # the default
    else:
        expected = "a value"
        if value.function in _OLD_VALUES:
            expected = repr(_OLD_VALUES[value.function])
        elif name in _OLD_REFERENCES:
            expected = " or ".join(map(repr, _OLD_REFERENCES[name].values()))
        raise UserError(f"{place}: {name} is {value.name}, expected {expected}")


def _apply_old_binding(statement: Any, place: str, macros: dict[str, Any]) -> None:
    """Adds the setting that version 0.1 bound as `function.argument = value`."""
    value = statement.value
    name = f"{statement.selector.rpartition('.')[2]}.{statement.arg_name}"
    if name in _OLD_ARGUMENTS:
        setting = _OLD_ARGUMENTS[name]
        if isinstance(value, _Reference):
            raise UserError(f"{place}: {setting} is {value.name}, expected a value")
        if value != _Macro(setting):  # `student_config.emb_dim = %EMB_DIM`
            macros[setting] = value
    elif isinstance(value, _Macro | _Reference) and name not in _OLD_CONSTANTS:
        return  # passes the value of a macro to a function
    elif name not in _OLD_CONSTANTS or _OLD_CONSTANTS[name] != value:
        raise UserError(
            f"{place}: {statement.selector}.{statement.arg_name} is not a setting; "
            "expected NAME = value (--help lists the names)"
        )


def _import(module: str, place: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"{place}: cannot import {module}: {error}") from error


def _macros_in(value: Any) -> set[str]:
    if isinstance(value, _Macro):
        return {value.name}
    if isinstance(value, Mapping):
        return set().union(*map(_macros_in, [*value, *value.values()]))
    if isinstance(value, list | tuple):
        return set().union(*map(_macros_in, value))
    return set()


def _resolve(
    value: Any, name: str, macros: Mapping[str, Any], seen: tuple[str, ...] = ()
) -> Any:
    """Replaces references to other macros by their values."""
    if isinstance(value, _Macro):
        if value.name in seen:
            raise UserError(f"gin: {name} refers to itself through {value.name}")
        if value.name not in macros:
            raise UserError(
                f"gin: {name} refers to {value.name}, which is not set; "
                f"give --gin.{value.name}=value or a gin file that sets it"
            )
        return _resolve(macros[value.name], name, macros, (*seen, value.name))
    if isinstance(value, _Reference):
        raise UserError(f"gin: {name} contains {value.name}, expected a value")
    if isinstance(value, Mapping):
        pairs = value.items()
        return {
            _resolve(k, name, macros, seen): _resolve(v, name, macros, seen)
            for k, v in pairs
        }
    if isinstance(value, list | tuple):
        return type(value)(_resolve(v, name, macros, seen) for v in value)
    return value
