import json
import pathlib
import subprocess
import sys

import pytest

from dsbs_jax.errors import UserError
from dsbs_jax.rationales import filters
from dsbs_jax.rationales.card.config import CardConfig
from dsbs_jax.settings import settings_of
from support.cards import table

ROOT = pathlib.Path(__file__).resolve().parents[3]
RELEASE = ROOT / "tests/fixtures/release"


def run(*arguments, folder=ROOT):
    return subprocess.run(
        [sys.executable, "-m", "dsbs_jax.rationales.card", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=120,
    )


@pytest.mark.slow
def test_the_command_on_released_data(tmp_path):
    done = run(
        f"--release={RELEASE}",
        "--dataset=cqa",
        f"--output_dir={tmp_path / 'card'}",
        "--drop_disagreement",
        "--nodrop_duplicate_rows",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == str(tmp_path / "card/card.html")
    text = (tmp_path / "card/card.md").read_text()
    dropped = {name: (value, n) for name, value, n in table(text, "reason to drop")}
    assert dropped[filters.DISAGREES][0] == "DROP_DISAGREEMENT = True"
    assert dropped[filters.SAME_ROW][0] == "DROP_DUPLICATE_ROWS = False (off)"
    assert "teacher labels that are not one of the choices" in text


@pytest.mark.slow
def test_a_users_module_registers_the_dataset(tmp_path):
    (tmp_path / "tickets.py").write_text(
        "import dataclasses\n"
        "from dsbs_jax.data import dataset_spec, metrics\n"
        "ANY_CASE = metrics.Metric('any_case', lambda a, b: a.lower() == b.lower())\n"
        "dataset_spec.register(dataclasses.replace(\n"
        "    dataset_spec.DEFAULT, name='tickets', metric=ANY_CASE))\n"
    )
    row = {"input": "x", "label": "Yes", "teacher_label": "yes", "rationale": "R."}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    flags = ["--data_files=rows.jsonl", "--dataset=tickets", "--output_dir=card"]
    done = run(*flags, "--dataset_module=tickets", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "The teacher's label is right on 100.00 % of the 1 rows" in done.stdout
    # Without the module the dataset is unknown.
    done = run(*flags, folder=tmp_path)
    assert done.returncode == 2 and "'tickets', expected one of cqa" in done.stderr


def test_help_lists_the_settings_and_the_filters():
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    # --help wraps long lines.
    text = " ".join(done.stdout.split())
    for info in settings_of(CardConfig):
        assert f"--{info.field}" in text and " ".join(info.help.split()) in text
    assert {i.field for i in settings_of(filters.FilterConfig)} <= {
        i.field for i in settings_of(CardConfig)
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --data_files, or --release and --dataset"),
        (["--release=x", "--data_files=y"], "give either --data_files, or --release"),
        (["--release=x"], "--release needs --dataset"),
        (["--release=/none", "--dataset=cqa"], "/none: no such folder or zip file"),
        ([f"--release={RELEASE}", "--dataset=cqa", "--split=valid"], "cqa has no raw"),
        (["--data_files=/none.jsonl"], "/none.jsonl: No such file"),
        (["--data_files=/none.jsonl", "--dataset=nli"], "'nli', expected one of cqa"),
        (["--data_files=y", "--min_margin=2"], "MIN_MARGIN is 2.0, expected float >="),
        (["--data_files=y", "--dataset_module=none_such"], "DATASET_MODULE is 'none_s"),
        (["--data_files=y", "--targets_length=0"], "TARGETS_LENGTH is 0"),
    ],
)
@pytest.mark.slow
def test_bad_commands_end_with_one_line(tmp_path, arguments, message):
    done = run(*arguments, f"--output_dir={tmp_path / 'card'}")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and message in line
    assert not (tmp_path / "card").exists()


def test_the_output_folder_is_required():
    done = run("--data_files=x.jsonl")
    assert done.returncode == 2
    assert done.stderr == "error: --output_dir is required\n"
    with pytest.raises(UserError, match="OUTPUT_DIR is '', expected"):
        CardConfig(data_files="x.jsonl", output_dir="")


def test_a_bad_vocabulary_is_an_error(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"input": "x", "label": "a", "rationale": "R."}\n')
    done = run(
        f"--data_files={rows}",
        "--vocabulary_path=/none.model",
        f"--output_dir={tmp_path / 'card'}",
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: vocabulary /none.model: cannot be read as a")
    assert not (tmp_path / "card").exists()


def test_the_import_is_quick():
    """Nothing that trains a student or draws is imported before it is needed."""
    code = (
        "import sys; from dsbs_jax.rationales.card import making; "
        "heavy = {'tensorflow', 'seqio', 'jax', 'matplotlib', 'scipy'} & "
        "set(sys.modules); "
        "sys.exit(f'imports {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert (done.returncode, done.stderr) == (0, "")
