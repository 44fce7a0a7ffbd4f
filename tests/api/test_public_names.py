"""`import dsbs_jax`: quick, lazy, and without names that hide a submodule."""

import subprocess
import sys
import types

import pytest

import dsbs_jax

IMPORT_ALL = """
import importlib, pathlib, types
import dsbs_jax

root = pathlib.Path(dsbs_jax.__file__).parent
for path in sorted(root.rglob("*.py")):
    parts = path.relative_to(root.parent).with_suffix("").parts
    # Command lines run on import, and pods needs T5X.
    if parts[-1] not in ("__main__", "__init__") and parts[1] != "pods":
        importlib.import_module(".".join(parts))
for name in dsbs_jax.__all__:
    value = getattr(dsbs_jax, name)
    assert not isinstance(value, types.ModuleType), name
"""


def run(code, *options):
    return subprocess.run(
        [sys.executable, *options, "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_no_public_name_is_that_of_a_submodule():
    done = run(IMPORT_ALL)
    assert done.returncode == 0, done.stderr[-2000:]


def test_public_names_are_imported_when_used():
    assert dsbs_jax.UserError is dsbs_jax.errors.UserError
    assert set(dsbs_jax.__all__) <= set(dir(dsbs_jax))
    for name in dsbs_jax.__all__:
        assert not isinstance(getattr(dsbs_jax, name), types.ModuleType)
    with pytest.raises(AttributeError, match="'dsbs_jax' has no attribute 'teachers'"):
        dsbs_jax.teachers  # noqa: B018


def test_the_import_takes_less_than_a_second():
    done = run("import dsbs_jax", "-X", "importtime")
    last = done.stderr.splitlines()[-1]
    assert last.split("|")[2].strip() == "dsbs_jax"
    assert int(last.split("|")[1]) < 1_000_000
