"""Tests of T5X's gin files as text; tests/pods/test_run.py runs them."""

import re

import pytest

pytest.importorskip("t5x", reason="T5X is not installed", exc_type=ImportError)

from dsbs_jax import cli  # noqa: E402

FILES = sorted((cli.config_dir() / "t5x").glob("*.gin"))


def test_headers_state_needs_overrides_and_a_command():
    assert {path.name for path in FILES} >= {"train.gin", "eval.gin", "infer.gin"}
    for path in FILES:
        text = path.read_text()
        assert "# Needs: " in text and "# Commonly overridden: " in text, path
        # The others include these two.
        if path.name not in ("data.gin", "student.gin"):
            assert "python -m t5x." in text, path


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_in_the_example_command_exist(path):
    for name in re.findall(r"--gin_file=(\S+)", path.read_text()):
        included = cli.config_dir() / name
        assert included.exists(), (path, name)


@pytest.mark.parametrize("engine", ["train", "eval", "infer"])
def test_t5xs_run_file_is_included_and_every_macro_is_set(
    engine, pod_settings, monkeypatch
):
    import importlib
    import sys

    import gin

    module = importlib.import_module(f"t5x.{engine}")
    monkeypatch.setitem(sys.modules, "__main__", module)
    text = (cli.config_dir() / f"t5x/{engine}.gin").read_text()
    assert "include 't5x/configs/runs/" in text and "include 't5x/student.gin'" in text
    files, bindings = pod_settings(engine)
    for folder in (cli.config_dir(), *module._DEFAULT_GIN_SEARCH_PATHS):
        gin.add_config_file_search_path(str(folder))
    gin.clear_config()
    gin.parse_config_files_and_bindings(files, bindings, finalize_config=False)
    config = gin.config._CONFIG
    set_here = {scope for scope, name in config if name == "gin.macro"}
    macro = gin.get_configurable(gin.config.macro)
    read = {r.config_key[0] for r in gin.config.iterate_references(config, macro)}
    gin.clear_config()
    assert {"ALPHA", "EMB_DIM", "MIXTURE_OR_TASK_NAME", "NUM_PARTITIONS"} <= read
    assert read - set_here == set()
