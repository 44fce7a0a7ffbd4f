"""The console script as a process: help, exit statuses, interrupts and pipes."""

import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest

import dsbs_jax
from dsbs_jax.commands import app, subcommands

PYTHON = pathlib.Path(sys.executable)
SUBCOMMANDS = [
    "prompt init",
    "extract",
    "card",
    "swap",
    "fit",
    "eval",
    "predict",
    "serve",
    "export",
    "paper",
    "report",
    "plan",
]


def commands():
    """Yields the arguments of each subcommand."""
    for name in SUBCOMMANDS:
        yield name.split()


def process(*arguments, code=None):
    start = ["-c", code] if code else ["-m", "dsbs_jax"]
    # As for a user, whose Python keeps the compiled modules.
    dropped = "PYTHONDONTWRITEBYTECODE"
    return subprocess.run(
        [PYTHON, *start, *arguments],
        env={name: value for name, value in os.environ.items() if name != dropped},
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_every_subcommand_is_listed():
    groups = [group.name for group in subcommands.build().registered_groups]
    names = [command.name for command in subcommands.build().registered_commands]
    assert {name.split()[0] for name in SUBCOMMANDS} == {*names, *groups}


@pytest.mark.parametrize("arguments", [[], *commands()], ids=" ".join)
def test_help_shows_one_line_options_and_examples(dsbs, arguments):
    done = dsbs(*arguments, "--help")
    assert (done.status, done.err) == (0, "")
    assert f"Usage: dsbs-jax {' '.join(arguments)}".strip() in done.out
    if arguments:
        ending = done.out.rpartition("╯")[2]
        assert f" dsbs-jax {' '.join(arguments)}" in ending
    # Option names have underscores.
    assert not re.search(r"--\w+-", done.out)


def test_heavy_packages_are_not_imported_for_help():
    """Importing them is what would make the help slow."""
    code = """
import sys
from dsbs_jax.commands import app
for arguments in {arguments!r}:
    assert app.run([*arguments, "--help"]) == 0
heavy = {{
    "tensorflow", "seqio", "jax", "flax", "matplotlib", "openai", "fastapi", "jinja2",
    "scipy", "statsmodels", "transformers", "torch",
}}
sys.exit(f"imports {{heavy & set(sys.modules)}}" if heavy & set(sys.modules) else 0)
"""
    done = process(code=code.format(arguments=[[], *commands()]))
    assert (done.returncode, done.stderr) == (0, "")


def test_the_console_script_is_the_module():
    script = PYTHON.parent / "dsbs-jax"
    if not script.exists():
        pytest.skip("the package is not installed")
    done = subprocess.run([script, "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{dsbs_jax.__version__}\n")
    assert process("--version").stdout == done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["crad"], "No such command 'crad'. Did you mean 'card'?"),
        (["card", "--outptu", "x"], "No such option: --outptu"),
        (["card", "/none.jsonl", "--output", "x"], "/none.jsonl: No such file"),
        (["card", "rows", "--min_words", "x"], "--min_words is 'x', expected int >= 0"),
    ],
)
def test_bad_input_ends_with_one_line(dsbs, arguments, message):
    done = dsbs(*arguments)
    assert (done.status, done.out) == (app.BAD_INPUT, "")
    (line,) = done.err.splitlines()
    assert line.startswith(f"error: {message}")


def test_without_a_subcommand_the_help_is_printed(dsbs):
    done = dsbs()
    assert (done.status, done.err) == (app.BAD_INPUT, "")
    assert "Commands" in done.out


@pytest.mark.parametrize("module", ["typer", "dsbs_jax.commands", None])
def test_an_interrupt_ends_without_a_traceback(module):
    """Also during an import; None interrupts the subcommand."""
    code = f"""
import builtins, signal, sys, time
# Background jobs of a shell ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
from dsbs_jax.commands import app
original = builtins.__import__
def interrupt(name, *arguments, **options):
    if name == {module!r} or name == "dsbs_jax.api" and {module is None}:
        signal.raise_signal(signal.SIGINT)
        time.sleep(60)  # a thread ends the process at once
    return original(name, *arguments, **options)
builtins.__import__ = interrupt
sys.argv = ["dsbs-jax", "card", "rows.jsonl", "--output", "x"]
app.main()
"""
    done = process(code=code)
    assert done.returncode == 128 + signal.SIGINT
    assert done.stderr == "SIGINT: stopped; run the same command again\n"


@pytest.mark.parametrize("arguments", [["card", "--help"], ["--version"]])
def test_a_closed_pipe_ends_quietly(arguments):
    with subprocess.Popen(
        [PYTHON, "-m", "dsbs_jax", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as done:
        done.stdout.close()
        assert done.stderr.read() == ""
    assert done.returncode == app.BROKEN_PIPE


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_text_that_the_terminal_lacks_is_printed_as_escapes(encoding, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"input": "ë – 🦊", "label": "x"}\n' * 2)
    done = subprocess.run(
        [PYTHON, "-m", "dsbs_jax", "fit", "rows.jsonl", "--output", "rün-🦊/~"],
        cwd=tmp_path,
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert done.stderr.startswith(b"error: ")
