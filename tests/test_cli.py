import pathlib

import gin
import pytest

from dsbs_jax import cli
from dsbs_jax.errors import UserError


def value(name):
    return gin.query_parameter(f"%{name}")


@pytest.fixture(autouse=True)
def clean():
    yield
    gin.clear_config()


def test_flags_override_files_and_later_files_earlier_ones(tmp_path, tiny_settings):
    own = tmp_path / "own.gin"
    own.write_text("ALPHA = 0.25\nTRAIN_STEPS = 7\n")
    files, bindings = tiny_settings()
    bindings = [b for b in bindings if not b.startswith("TRAIN_STEPS")]
    cli.configure([*files, str(own)], [*bindings, "MODEL_DIR = 'x'"])
    assert value("ALPHA") == 0.25
    assert value("TRAIN_STEPS") == 7
    cli.configure([*files, str(own)], [*bindings, "MODEL_DIR = 'x'", "ALPHA = 0.75"])
    assert value("ALPHA") == 0.75


def test_search_paths_come_before_the_projects_files(tmp_path, tiny_settings):
    (tmp_path / "methods").mkdir()
    method = (cli.config_dir() / "methods/step_by_step.gin").read_text()
    (tmp_path / "methods/step_by_step.gin").write_text(f"{method}\nALPHA = 0.125\n")
    files, bindings = tiny_settings(MODEL_DIR="x")
    cli.configure(files, bindings, search_paths=[str(tmp_path)])
    assert value("ALPHA") == 0.125


@pytest.mark.parametrize("engine_files", ["local"])
def test_every_gin_file_of_the_project_parses(engine_files, tiny_settings):
    folder = cli.config_dir()
    _, bindings = tiny_settings(MODEL_DIR="x")
    kept = [b for b in bindings if b.split()[0] not in ("DATASET", "FILES")]
    kept = [b for b in kept if not b.startswith("TASK_FEATURE_LENGTHS")]
    for dataset in sorted(folder.glob("datasets/*.gin")):
        if dataset.name == "common.gin":
            continue
        own = ["FILES = 'x.jsonl'"] if dataset.name == "jsonl.gin" else []
        cli.configure(
            [
                "sizes/tiny.gin",
                "methods/distill.gin",
                f"datasets/{dataset.name}",
                f"{engine_files}/train.gin",
            ],
            [*kept, *own],
        )
    for name in ("methods", "sizes"):
        for path in sorted(folder.glob(f"{name}/*.gin")):
            files = {"methods": "methods/finetune.gin", "sizes": "sizes/tiny.gin"}
            files[name] = f"{name}/{path.name}"
            cli.configure(
                [
                    files["sizes"],
                    files["methods"],
                    "datasets/jsonl.gin",
                    f"{engine_files}/train.gin",
                ],
                ["MODEL_DIR = 'x'", "FILES = 'x.jsonl'"],
            )


@pytest.mark.parametrize(
    ("bindings", "message"),
    [
        (["NO_SUCH_MACRO = 3"], "NO_SUCH_MACRO was given, but none"),
        (["EMB_DIM = @missing.thing()"], "gin: "),
        (["no.such.module = 3"], "gin: "),
        (["EMB_DIM = [1,"], r"gin: --gin.EMB_DIM=\[1,: "),
        (["EMB_DIM"], "gin: --gin.EMB_DIM: "),
        (["MODEL_DIR = /runs/own"], "gin: --gin.MODEL_DIR=/runs/own: .* needs quotes"),
        (["MODEL_DIR = runs"], "gin: --gin.MODEL_DIR=runs: .* needs quotes"),
        (["loop.train.no_such_argument = 3"], "gin: .*no_such_argument"),
        (["EMB_DIM = %NEVER_SET"], "NEVER_SET is read but never set"),
    ],
)
def test_bad_bindings_end_in_one_line(bindings, message, tiny_settings):
    files, good = tiny_settings(MODEL_DIR="x")
    with pytest.raises(UserError, match=message) as caught:
        cli.configure(files, [*good, *bindings])
    assert "\n" not in str(caught.value)


def test_required_macros_are_named(tiny_settings):
    files, bindings = tiny_settings()
    with pytest.raises(UserError, match="MODEL_DIR is required and not set"):
        cli.configure(files, bindings)
    without = [b for b in bindings if not b.startswith("FILES")]
    with pytest.raises(UserError, match="--gin.FILES=value"):
        cli.configure(files, [*without, "MODEL_DIR = 'x'"])


def test_macros_that_are_read_and_never_set_are_named(tiny_settings):
    files, bindings = tiny_settings(MODEL_DIR="x")
    # Without the method's file nothing says how the two losses are weighed.
    files = [f for f in files if not f.startswith("methods/")]
    with pytest.raises(UserError, match="ALPHA, METHOD is read but never set"):
        cli.configure(files, bindings)


def test_macros_of_the_run_config_need_not_be_read(tmp_path, tiny_settings):
    """A file may set what only another binary reads; a flag may not."""
    own = tmp_path / "own.gin"
    own.write_text("INPUT_FILE = 'questions.jsonl'\n")
    files, bindings = tiny_settings(MODEL_DIR="x")
    cli.configure([*files, str(own)], bindings)
    with pytest.raises(UserError, match="INPUT_FILE was given"):
        cli.configure(files, [*bindings, "INPUT_FILE = 'questions.jsonl'"])


def test_missing_gin_file_is_named(tiny_settings):
    files, bindings = tiny_settings(MODEL_DIR="x")
    with pytest.raises(UserError, match="nowhere.gin"):
        cli.configure([*files, "nowhere.gin"], bindings)


def test_folder_of_ones_own_may_have_any_name(tmp_path, tiny_settings, monkeypatch):
    """With `python -m` the working folder is where packages are looked for, too."""
    for name in ("sizes", "methods", "datasets", "local", "teacher"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    files, bindings = tiny_settings(MODEL_DIR="x")
    cli.configure(files, bindings)
    assert value("MODEL_DIR") == "x"


def test_gin_flags_are_rewritten():
    rewrite = cli._rewrite
    assert rewrite(["p", "--gin.A=1", "--gin_file=x.gin"]) == [
        "p",
        "--gin_bindings=A = 1",
        "--gin_file=x.gin",
    ]
    assert rewrite(["--gin.A='b=c'"]) == ["--gin_bindings=A = 'b=c'"]
    with pytest.raises(UserError, match="--gin.A: expected --gin.NAME=value"):
        rewrite(["--gin.A"])


def test_config_dir_holds_the_gin_files():
    folder = cli.config_dir()
    assert isinstance(folder, pathlib.Path)
    assert (folder / "local/train.gin").is_file()


def test_readme_of_a_file_is_a_command_that_parses(tiny_settings):
    """Each file under sizes, methods and datasets says what it is and how to use it."""
    for name in ("sizes", "methods", "datasets"):
        for path in cli.config_dir().glob(f"{name}/*.gin"):
            text = path.read_text()
            assert text.startswith("# "), path
            assert "Commonly overridden" in text, path
