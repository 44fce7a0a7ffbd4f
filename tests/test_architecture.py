"""Checks the structure that docs/architecture.md describes.

The import rules themselves are in pyproject.toml, and import-linter checks them.
"""

import ast
import importlib.metadata
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "dsbs_jax"
# The largest share of dsbs_jax's lines that one package may have.
PACKAGE_SHARE = 0.20
LONGEST_FUNCTION = 120
# Nine of ten functions are at most this long.
TYPICAL_FUNCTION = 30


def contracts():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return settings["tool"]["importlinter"]["contracts"]


def line_counts():
    """Number of lines of each package; modules at the top level count as one."""
    counts = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).parts
        package = parts[0] if len(parts) > 1 else "top level"
        counts[package] = counts.get(package, 0) + len(path.read_text().splitlines())
    return counts


def functions():
    """Yields the place and the length in lines of every function."""
    for folder in (PACKAGE, ROOT / "tasks"):
        for path in sorted(folder.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    place = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
                    yield place, node.end_lineno - node.lineno + 1


def test_import_rules_hold():
    pytest.importorskip("importlinter")
    command = shutil.which("lint-imports") or shutil.which(
        "lint-imports", path=str(pathlib.Path(sys.executable).parent)
    )
    if command is None:
        pytest.skip("lint-imports is not on the path")
    result = subprocess.run(
        [command, "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr


def test_architecture_page_shows_the_layers_of_the_import_rules():
    (layers,) = [c["layers"] for c in contracts() if c["type"] == "layers"]
    page = (ROOT / "docs/architecture.md").read_text()
    assert "```\n" + "\n".join(layers) + "\n```" in page


def test_architecture_page_describes_every_package():
    page = (ROOT / "docs/architecture.md").read_text()
    described = page.partition("## Packages")[2].partition("\n## ")[0]
    names = {p.parent.name for p in PACKAGE.glob("*/__init__.py")}
    names |= {p.stem for p in PACKAGE.glob("*.py")} - {"__init__"}
    assert [n for n in sorted(names) if f"`{n}`" not in described] == []


def imported_packages():
    """The names of the packages outside this project that dsbs_jax imports."""
    names = set()
    for path in [*PACKAGE.rglob("*.py"), *(ROOT / "tasks").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - {"dsbs_jax"}


def test_every_imported_package_is_a_declared_dependency():
    declared = set(re.findall(r'"([a-z0-9_-]+)[>\[]', (ROOT / "setup.py").read_text()))
    # launch/t5x.txt installs T5X. Packages of an extra need not be installed.
    missing = imported_packages() - {"t5x"}
    missing = {name for name in missing if name.replace("_", "-") not in declared}
    for name, distributions in importlib.metadata.packages_distributions().items():
        if any(d.lower().replace("_", "-") in declared for d in distributions):
            missing.discard(name)
    assert missing == set()


def test_no_package_is_too_large():
    counts = line_counts()
    total = sum(counts.values())
    shares = {name: count / total for name, count in counts.items()}
    assert {n: f"{s:.0%}" for n, s in shares.items() if s > PACKAGE_SHARE} == {}


def test_functions_are_short():
    lengths = dict(functions())
    too_long = {place: n for place, n in lengths.items() if n > LONGEST_FUNCTION}
    assert too_long == {}
    ordered = sorted(lengths.values())
    assert ordered[int(0.9 * len(ordered))] <= TYPICAL_FUNCTION
