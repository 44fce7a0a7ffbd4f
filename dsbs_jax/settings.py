"""Flags and gin: how every binary of the project reads its settings.

The flags are those of T5X (`--gin_file`, `--gin.NAME=value`, `--gin_search_paths`,
`--tfds_data_dir`), and so are the names of the macros. Beyond what gin checks by
itself, a macro given by flag has to be read by something, and a macro that is read
has to be set: gin accepts the first silently and reports the second only when the
value is used.
"""

import contextlib
import os
import pathlib
import re
import sys
import tokenize
from collections.abc import Callable, Iterator, Sequence

import gin
from absl import app, flags, logging

from dsbs_jax.errors import UserError

_MACRO = re.compile(r"^\s*([A-Za-z_]\w*)\s*=")


def config_dir() -> pathlib.Path:
    """The folder of the project's gin files: installed, or in the checkout."""
    package = pathlib.Path(__file__).resolve().parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "gin"


def use_huge_pages() -> None:
    """Starts this process anew, once, with memory in pages of 2 MiB (Linux).

    A step on a CPU takes gigabytes from the C library and gives them back; in pages of
    4 KiB a tenth of its time goes into the kernel handing them out. The C library reads
    this setting only when a process starts. A GLIBC_TUNABLES of one's own is respected.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


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
) -> None:
    """Replaces gin's configuration by these files and bindings, and checks it.

    Args:
      files: gin files, looked for in `search_paths` and then in `config_dir()`.
      bindings: `NAME = value` strings that override the files.
      search_paths: folders.

    Raises:
      UserError: a file or a name is unknown, a value does not parse, a required macro
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
    for binding in bindings:
        with _gin_errors(f"gin: --gin.{binding.replace(' = ', '=', 1)}"):
            gin.parse_config(binding)
    _check_macros(bindings)
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


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _macros_in(config: dict) -> set[str]:
    macro = gin.get_configurable(gin.config.macro)
    return {ref.config_key[0] for ref in gin.config.iterate_references(config, macro)}


def _check_macros(bindings: Sequence[str]) -> None:
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
    unread = sorted(given - read)
    if unread:
        raise UserError(
            f"gin: {', '.join(unread)} was given, but none of the gin files reads it; "
            f"known here: {', '.join(sorted(read))}"
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


def run(main: Callable[[list[str]], None], positional: int = 0) -> None:
    """Runs a binary; bad input ends in one line and exit status 2.

    Args:
      main: takes what is left of the command line after the flags, program name first.
      positional: how many arguments besides flags it takes at most.
    """

    def guarded(arguments: list[str]) -> None:
        logging.set_verbosity(logging.ERROR)
        try:
            if len(arguments) > 1 + positional:
                raise UserError(f"unexpected argument {arguments[-1]!r}")
            main(arguments)
        except UserError as error:
            # Gin adds lines on where in its bindings the error came up.
            print(f"error: {_first_line(error)}", file=sys.stderr)
            sys.exit(2)
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            reason = error.strerror or _first_line(error)
            print(f"error: {place}{reason}", file=sys.stderr)
            sys.exit(2)

    app.run(guarded, flags_parser=_parse_flags)


def run_configured(main: Callable[[], None], tensorflow: bool = True) -> None:
    """Runs a gin-configured binary.

    Args:
      main: takes nothing; its settings have been parsed when it is called.
      tensorflow: whether it reads data by TensorFlow, which takes long to import.
    """
    define_flags()

    def configured(_: list[str]) -> None:
        if not flags.FLAGS.gin_file:
            raise UserError("no --gin_file given; see README.md for a whole command")
        if tensorflow:
            quiet_tensorflow()
        configure(
            flags.FLAGS.gin_file, flags.FLAGS.gin_bindings, flags.FLAGS.gin_search_paths
        )
        if tensorflow:
            use_tfds_data_dir()
        main()

    run(configured)
