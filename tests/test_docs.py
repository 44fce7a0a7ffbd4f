"""Checks the commands and links of the documentation.

Every command in a ```bash block must name existing modules, scripts and gin files, and
settings that the command has. Comments of gin files and module docstrings also contain
commands; they are checked in the same way.
"""

import ast
import functools
import importlib.util
import pathlib
import re
import runpy
import shlex
import subprocess
import sys

import pytest
import typer

from dsbs_jax import cli
from dsbs_jax.commands import subcommands

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        ROOT / "benchmarks/README.md",
    ]
)
SOURCES = sorted(
    [
        *(ROOT / "gin").rglob("*.gin"),
        *(ROOT / "dsbs_jax").rglob("*.py"),
        *(ROOT / "tasks").glob("*.py"),
        *(ROOT / "benchmarks").glob("*.py"),
    ]
)
T5X_COMMANDS = {"t5x.train", "t5x.eval", "t5x.infer", "t5x.main"}
# Flags of T5X's commands, and the gin flags of ours.
GIN_FLAGS = {
    "gin_file",
    "gin_search_paths",
    "gin_bindings",
    "tfds_data_dir",
    "run_mode",
}
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
MACRO = re.compile(r"^([A-Z][A-Z0-9_]+)\s*=|%([A-Z][A-Z0-9_]+)\b", re.MULTILINE)


def identify(path):
    return str(path.relative_to(ROOT))


def commands_in(text):
    """Yields the words of each command that runs a module, a script or a benchmark."""
    text = re.sub(r"\\\n\s*", " ", text)
    for line in text.splitlines():
        line = line.split(" # ")[0].strip()
        for part in re.split(r" && |; (?=do )|^for .*; do", line):
            try:
                words = shlex.split(part)
            except ValueError:
                continue
            for position, word in enumerate(words[:2] + words[2:6]):
                own = word in ("python", "bash", "dsbs-jax")
                if own or word.endswith("/python"):
                    yield words[position:]
                    break


def commands_of_page(path):
    for block in BLOCK.findall(path.read_text()):
        yield from commands_in(block)


def commands_of_source(path):
    """The commands in a docstring of a module or in the comments of a gin file."""
    if path.suffix == ".py":
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
    else:
        lines = path.read_text().splitlines()
        text = "\n".join(n.removeprefix("#") for n in lines if n.startswith("#"))
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    # Commands are indented; prose is not.
    yield from commands_in("\n".join(n for n in lines if n.startswith("  ")))


@functools.cache
def help_of(module):
    """What `--help` of a command prints; it must exit with status 0."""
    result = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@functools.cache
def t5x_macros():
    """Macros that the gin files for T5X set or read."""
    names = set()
    for path in cli.config_dir().rglob("*.gin"):
        for groups in MACRO.findall(path.read_text()):
            names |= set(groups)
    return names


def macros_of(module):
    if module in T5X_COMMANDS:
        # T5X's run files read these macros too.
        return t5x_macros() | {
            "EVAL_OUTPUT_DIR",
            "INFER_OUTPUT_DIR",
            "MODEL_PARALLEL_SUBMESH",
        }
    return set(re.findall(r"--gin\.([A-Z0-9_]+)", help_of(module)))


def flags_of(module):
    if module in T5X_COMMANDS:
        return GIN_FLAGS
    return set(re.findall(r"^ *--([a-z_0-9]+)\b", help_of(module), re.MULTILINE))


def check_module_command(module, arguments):
    """Yields what is wrong with `python -m module arguments…`."""
    if module not in T5X_COMMANDS:
        if not module.startswith("dsbs_jax"):
            return  # another project's module, such as pytest or venv
        if importlib.util.find_spec(module) is None:
            yield f"there is no module {module}"
            return
    for argument in arguments:
        name, _, value = argument.removeprefix("--").partition("=")
        if argument.startswith("--gin."):
            if name.removeprefix("gin.") not in macros_of(module):
                yield f"{module} has no setting {name.removeprefix('gin.')}"
        elif name == "gin_file":
            # Files of a run folder do not exist in the checkout.
            there = (cli.config_dir() / value).is_file() or value.startswith("runs/")
            if not there and "$" not in value:
                yield f"there is no gin file {value}"
        elif argument.startswith("--") and name.replace("-", "_") not in (
            flags_of(module) | {"help"}
        ):
            yield f"{module} has no flag --{name}"


def check_script_command(script, arguments):
    """Yields what is wrong with `bash script` or `python script`."""
    if not script.endswith((".sh", ".py")) and not script.startswith(".ci/"):
        return
    path = ROOT / script
    if not path.is_file():
        yield f"there is no script {script}"
        return
    text = path.read_text()
    for argument in arguments:
        name = argument.removeprefix("--").partition("=")[0]
        flag = script.endswith(".py") and argument.startswith("--")
        if flag and not re.search(rf'"(--)?{name}"|\b{name}:', text):
            yield f"{script} has no flag --{name}"
        if argument.startswith("--gin_file="):
            value = argument.partition("=")[2]
            if not (cli.config_dir() / value).is_file():
                yield f"there is no gin file {value}"


def check_subcommand(arguments):
    """Yields what is wrong with `dsbs-jax arguments…`."""
    command, place = typer.main.get_command(subcommands.build()), "dsbs-jax"
    while hasattr(command, "commands") and arguments:
        if arguments[0].startswith("--"):
            break
        name, *arguments = arguments
        if name not in command.commands:
            yield f"{place} has no subcommand {name}"
            return
        command, place = command.commands[name], f"{place} {name}"
    options = {name for parameter in command.params for name in parameter.opts}
    for argument in arguments:
        name = argument.partition("=")[0]
        if name.startswith("--") and name not in options | {"--help"}:
            yield f"{place} has no option {name}"


def problems(words):
    """Yields what is wrong with one command."""
    if len(words) < 2:
        return
    if words[0] == "dsbs-jax":
        yield from check_subcommand(words[1:])
    elif words[1] == "-m" or words[1].endswith("launch/run.sh"):
        yield from check_module_command(words[2], words[3:])
    else:
        yield from check_script_command(words[1], words[2:])


@pytest.mark.parametrize("path", PAGES, ids=identify)
@pytest.mark.slow
def test_commands_of_a_page_exist(path):
    listed = [p for words in commands_of_page(path) for p in problems(words)]
    assert listed == []


@pytest.mark.parametrize("path", SOURCES, ids=identify)
@pytest.mark.slow
def test_commands_of_headers_and_docstrings_exist(path):
    listed = [p for words in commands_of_source(path) for p in problems(words)]
    assert listed == []


@pytest.mark.parametrize("path", PAGES, ids=identify)
def test_links_resolve(path):
    missing = []
    for target in LINK.findall(path.read_text()):
        file, _, anchor = target.partition("#")
        if file.startswith(("http://", "https://", "mailto:")):
            continue
        page = path.parent / file if file else path
        if not page.exists() or anchor and anchor not in anchors(page):
            missing.append(target)
    assert missing == []


def anchors(page):
    """The anchors of a page's headings, as Markdown renderers make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {
        re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip())
        for heading in headings
    }


# A block of Python and, if it follows directly, the block of what it prints.
EXAMPLE = re.compile(r"^```python\n(.*?)^```\n(?:\n```\n(.*?)^```\n)?", re.M | re.S)


@pytest.mark.slow
def test_examples_of_closed_labels_print_what_the_page_shows(tmp_path):
    examples = EXAMPLE.findall((ROOT / "docs/closed_labels.md").read_text())
    assert len(examples) == 2
    for code, shown in examples:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert not shown or done.stdout.split() == shown.split()


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 180


@pytest.mark.parametrize(
    "name", [pytest.param("settings", marks=pytest.mark.slow), "tolerance", "plan"]
)
def test_generated_page_is_current(name):
    script = ROOT / f"docs/generate_{name}.py"
    printed = subprocess.run([sys.executable, script, "--stdout"], capture_output=True)
    assert printed.returncode == 0, printed.stderr.decode()
    page = (ROOT / f"docs/{name}.md").read_bytes()
    assert page == printed.stdout, f"run: python docs/generate_{name}.py"


def test_plan_table_names_what_does_not_fit_and_what_is_not_compiled():
    module = runpy.run_path(str(ROOT / "docs/generate_plan.py"))
    run, other, *_ = module["RUNS"]
    record = {
        "date": "2026-01-02",
        "versions": {"jax": "1"},
        "mesh": {"data": 4, "model": 1},
        "needed": 20 * 2**30,
        "compile_seconds": 61.2,
    }
    lines = module["table"]([(run, record), (other, None)]).splitlines()
    head, _, row = (line.split(" | ") for line in lines[:3])
    assert len(row) == len(head)
    assert "does not fit: 20.0" in row
    assert "Compiled on 2026-01-02 with jax 1." in lines
    assert f"Not compiled: {other.size} on {other.topology}." in lines


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text()
    pages = [p.relative_to(ROOT / "docs") for p in (ROOT / "docs").rglob("*.md")]
    # results/README.md lists the reports of studies.
    pages = [page for page in pages if not page.match("results/*/report.md")]
    assert [str(p) for p in pages if f"{p}\n" not in navigation] == []


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("python -m dsbs_jax.nothing", "there is no module dsbs_jax.nothing"),
        ("python -m dsbs_jax.train --gin_file=no.gin", "there is no gin file no.gin"),
        ("python -m t5x.train --gin.NO=1", "t5x.train has no setting NO"),
        ("dsbs-jax prompt int x", "dsbs-jax prompt has no subcommand int"),
        ("dsbs-jax card x --out y", "dsbs-jax card has no option --out"),
        ("bash launch/nothing.sh", "there is no script launch/nothing.sh"),
        ("python benchmarks/memory.py --no=1", "benchmarks/memory.py has no flag --no"),
        ("A=1 \\\n  bash launch/x.sh --dry-run", "there is no script launch/x.sh"),
    ],
)
def test_wrong_commands_are_reported(command, problem):
    (words,) = commands_in(command)
    assert list(problems(words)) == [problem]


@functools.cache
def texts_of_the_code():
    """Every text in the code of dsbs_jax."""
    return [
        node.value
        for path in (ROOT / "dsbs_jax").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def quoted_messages():
    """Yields the messages in the tables of docs/troubleshooting.md."""
    page = (ROOT / "docs/troubleshooting.md").read_text()
    for table in re.findall(r"^\| message .*?\n\n", page, re.MULTILINE | re.DOTALL):
        for row in table.splitlines()[2:]:
            yield from re.findall(r"`([^`]+)`", row.split(" | ")[0])


def test_quoted_error_messages_exist():
    missing = []
    for message in quoted_messages():
        fixed = [part.strip() for part in re.split("…|int >= 1", message)]
        for part in filter(None, fixed):
            if not any(part in text for text in texts_of_the_code()):
                missing.append((message, part))
    assert missing == []
