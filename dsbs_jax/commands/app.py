"""Runs the command `dsbs-jax`.

Results go to standard output, notes and errors to standard error. Exit statuses: 0
done, 2 bad input, 130 after Ctrl-C, 143 after SIGTERM; a subcommand may return further
ones.
"""

import contextlib
import os
import sys
import typing
from collections.abc import Sequence

from dsbs_jax import interruption, malloc

PROGRAM = "dsbs-jax"
# Subcommands that handle signals themselves: extract waits for requests it has sent.
OWN_SIGNALS = frozenset({"extract"})
BAD_INPUT = 2
# The status that shells report for a process that SIGINT ended.
INTERRUPTED = 130
# The status of Python itself after a write to a pipe without a reader.
BROKEN_PIPE = 1


def main() -> typing.NoReturn:
    """Runs the command line of the process and exits with its status."""
    malloc.keep_freed_memory()
    if not OWN_SIGNALS.intersection(sys.argv[1:2]):
        interruption.install()
    try:
        status = run(sys.argv[1:])
    except KeyboardInterrupt:
        status = INTERRUPTED
    sys.exit(status)


def run(arguments: Sequence[str]) -> int:
    """Runs a command line.

    Args:
        arguments: The arguments after the program's name.

    Returns:
        The exit status. An error that the user can correct is printed as one line.
    """
    # Imported here, so that an interrupt during an import ends without a traceback.
    import typer
    from absl import flags

    from dsbs_jax import cli, errors
    from dsbs_jax.commands import subcommands

    cli.set_up_output()
    # Typer parses the arguments. Otherwise absl warns that no flags are parsed.
    flags.FLAGS.mark_as_parsed()
    app = subcommands.build()
    try:
        status = app(list(arguments), prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # Otherwise the interpreter fails again when it flushes the output at its end.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        return BROKEN_PIPE
    except typer.TyperException as error:
        return _fail(error.format_message())
    except typer.Abort:
        return INTERRUPTED
    except (errors.UserError, OSError) as error:
        return _fail(errors.describe(error))
    return status or 0


def _fail(message: str) -> int:
    if message:  # Without a subcommand, only the help is printed.
        # The error comes last, also in a file with both outputs.
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        print(f"error: {message}", file=sys.stderr)
    return BAD_INPUT
