"""Training on a user's rows in one call."""

import concurrent.futures
import csv
import json
import pathlib
import shutil

import numpy as np
import pytest
from conftest import tiny_rows

import dsbs_jax
from dsbs_jax import gin_files
from dsbs_jax.data.tables import ColumnMap
from dsbs_jax.errors import UserError
from dsbs_jax.local import loop
from dsbs_jax.local.config import TrainSettings
from dsbs_jax.weights import open_checkpoint

# Every test trains a student.
pytestmark = pytest.mark.slow

# Two steps of the smallest student.
SHORT = {
    "train_steps": 2,
    "batch_size": 8,
    "num_encoder_layers": 1,
    "num_decoder_layers": 1,
}


def parameters(folder):
    reader = open_checkpoint(str(folder))
    return {name: reader.read(name) for name in reader.shapes()}


def assert_same_student(one, other):
    first, second = parameters(one), parameters(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


@pytest.fixture(scope="module")
def compared(tiny_jsonl, tmp_path_factory):
    """A fit with its baseline."""
    folder = tmp_path_factory.mktemp("runs") / "jars"
    return dsbs_jax.fit(str(tiny_jsonl), folder, compare=True, **SHORT)


def test_run_folder_is_a_student(compared):
    student = compared.student()
    assert student.spec.method == "step_by_step"
    prediction = student.predict(["Jar 9: 3 red, 2 blue marbles."])[0]
    assert set(prediction.probabilities) == set(compared.plan.rows.labels)
    assert len(student.explain(["Jar 9: 3 red, 2 blue marbles."])) == 1


def test_result_has_scores_and_paths(compared):
    assert compared.results["last"]["step"] == 2
    assert compared.metrics["accuracy"]["total"] == 12
    report = json.loads((compared.folder / "report/report.json").read_text())
    assert report["accuracy"] == compared.metrics["accuracy"]
    for name in ("plan.gin", "config.gin", "student.json", "report/report.html"):
        assert (compared.folder / name).exists()
    assert "Jar" in compared.card.read_text()
    assert [point.step for point in compared.curve] == [2]
    assert compared.curve[-1].validation and compared.curve[-1].training


def test_baseline_has_the_same_label_rows_in_a_batch(compared):
    loops = [r.plan.settings.loop for r in (compared, compared.baseline)]
    assert [one.batch_size for one in loops] == [8, 4]
    assert [one.alpha for one in loops] == [0.5, 1.0]
    assert compared.baseline.plan.rows.method == "finetune"
    sets = [r.plan.rows.splits for r in (compared, compared.baseline)]
    assert sets[0] == sets[1]


def test_comparison_is_of_the_rows_of_both_reports(compared):
    comparison = compared.comparison
    right = [
        result.metrics["accuracy"]["count"] for result in (compared.baseline, compared)
    ]
    assert [comparison.first.count, comparison.second.count] == right
    written = json.loads((compared.folder / "comparison.json").read_text())
    assert written == comparison.to_json()


def test_plan_file_repeats_the_run(compared, tmp_path):
    values = dict(gin_files.read([str(compared.folder / "plan.gin")]).values)
    values["MODEL_DIR"] = str(tmp_path / "again")
    loop.train(TrainSettings.from_macros(values))
    assert_same_student(compared.folder, tmp_path / "again")


def test_same_call_resumes(compared, tiny_jsonl, capsys):
    before = parameters(compared.folder)
    dsbs_jax.fit(str(tiny_jsonl), compared.folder, **SHORT)
    assert "Resuming from step 2" in capsys.readouterr().out
    after = parameters(compared.folder)
    assert all((before[name] == after[name]).all() for name in before)


def test_renamed_run_resumes(compared, tiny_jsonl, tmp_path, capsys):
    renamed = shutil.copytree(compared.folder, tmp_path / "renamed")
    dsbs_jax.fit(str(tiny_jsonl), renamed, **SHORT)
    assert "Resuming from step 2" in capsys.readouterr().out
    assert_same_student(compared.folder, renamed)


def test_folder_of_other_rows_is_refused_and_unchanged(compared, tmp_path):
    rows = [{**row, "input": f"{row['input']} Look."} for row in tiny_rows()]
    data = tmp_path / "other.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    train = compared.folder / "data/train.jsonl"
    before = train.read_bytes()
    with pytest.raises(
        UserError, match="the training rows of DATA_FILES .* differ .* use a new"
    ):
        dsbs_jax.fit(str(data), compared.folder, **SHORT)
    with pytest.raises(UserError, match="METHOD is 'finetune', was 'step_by_step'"):
        dsbs_jax.fit(
            str(compared.folder / "data/train.jsonl"),
            compared.folder,
            method="finetune",
            **SHORT,
        )
    assert train.read_bytes() == before


def test_dry_run_writes_nothing(tiny_jsonl, tmp_path, capsys):
    folder = tmp_path / "run"
    result = dsbs_jax.fit(str(tiny_jsonl), folder, dry_run=True, **SHORT)
    assert not folder.exists()
    assert (result.results, result.report, result.metrics) == (None, None, {})
    out = capsys.readouterr().out
    assert "step_by_step" in out and "Expected:" in out


def tables(folder, rows):
    """Writes the same rows in every format."""
    import datasets
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    table = pa.Table.from_pylist(rows)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "jars.jsonl").write_text(lines)
    with open(folder / "jars.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    pyarrow.parquet.write_table(table, folder / "jars.parquet")
    datasets.Dataset.from_list(rows).save_to_disk(folder / "jars")
    return [
        folder / name for name in ("jars.jsonl", "jars.csv", "jars.parquet", "jars")
    ]


def test_every_format_gives_the_same_student(tmp_path):
    folders = []
    for number, data in enumerate(tables(tmp_path, tiny_rows())):
        folders.append(tmp_path / str(number) / "run")
        dsbs_jax.fit(str(data), folders[-1], **SHORT)
    for folder in folders[1:]:
        assert_same_student(folders[0], folder)


def test_columns_and_a_template(tmp_path):
    rows = [
        {
            "where": f"Jar {n}",
            "what": row["input"].partition(": ")[2],
            "kind": row["label"],
            "why": row["rationale"],
        }
        for n, row in enumerate(tiny_rows())
    ]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = dsbs_jax.fit(
        str(data),
        tmp_path / "run",
        template="{where}: {what}",
        label_column="kind",
        rationale_column="why",
        **SHORT,
    )
    inputs = {record.input for record in result.plan.rows.splits["train"]}
    assert inputs <= {row["input"] for row in tiny_rows()}
    assert result.plan.rows.method == "step_by_step"
    student = dsbs_jax.Student.load(str(result.folder))
    assert student.spec.template == "{where}: {what}"
    student.predict_file(str(data), str(tmp_path / "answers.jsonl"))
    answers = [json.loads(x) for x in (tmp_path / "answers.jsonl").open()]
    assert [row["input"] for row in answers] == [row["input"] for row in tiny_rows()]
    # A template of the user's replaces that of the student.
    (tmp_path / "own.jsonl").write_text('{"text": "Jar 1: 2 red."}\n')
    own = ColumnMap(template="{text}")
    student.predict_file(
        str(tmp_path / "own.jsonl"), str(tmp_path / "own_out.jsonl"), columns=own
    )
    assert json.loads((tmp_path / "own_out.jsonl").read_text())["input"] == (
        "Jar 1: 2 red."
    )
    with pytest.raises(UserError, match="where"):
        student.predict_file(str(tmp_path / "own.jsonl"), str(tmp_path / "none.jsonl"))
    exported = tmp_path / "hf"
    dsbs_jax.export_student(result.folder, exported)
    assert dsbs_jax.Student.load(str(exported)).spec == student.spec


def test_student_starts_from_the_weights_of_another(compared, tiny_jsonl, tmp_path):
    result = dsbs_jax.fit(
        str(tiny_jsonl),
        tmp_path / "run",
        initial_checkpoint=str(compared.folder),
        train_steps=1,
        learning_rate=1e-9,
        method="finetune",
    )
    assert result.plan.words.vocab_size == compared.plan.words.vocab_size
    first, second = parameters(compared.folder), parameters(result.folder)
    for name, value in first.items():
        np.testing.assert_allclose(value, second[name], atol=1e-6)


def test_a_second_fit_in_the_same_folder_uses_its_own_vocabulary(tmp_path):
    """A notebook's user deletes the folder and runs the cell again with other rows."""
    answers = []
    for word in ("marbles", "τὰ μάρμαρα"):
        rows = [
            {**row, "input": row["input"].replace("marbles", word)}
            for row in tiny_rows()
        ]
        data = tmp_path / "rows.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        result = dsbs_jax.fit(str(data), tmp_path / "run", **SHORT)
        student = result.student()
        assert student.vocabulary.decode(student.vocabulary.encode(word)) == word
        answers.append(student.predict([rows[0]["input"]])[0])
        shutil.rmtree(tmp_path / "run")
    assert answers[0] != answers[1]


def test_two_datasets_of_the_same_name_in_two_threads(tmp_path):
    def run(number):
        folder = tmp_path / str(number) / "jars"
        rows = [{**row, "input": f"{number} {row['input']}"} for row in tiny_rows()]
        folder.parent.mkdir()
        data = folder.parent / "rows.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        dsbs_jax.fit(str(data), folder, **SHORT)
        return folder

    alone = run(1), run(2)
    for folder in alone:
        shutil.move(folder.parent, f"{folder.parent}-alone")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        together = list(pool.map(run, (1, 2)))
    for folder in together:
        assert_same_student(pathlib.Path(f"{folder.parent}-alone") / "jars", folder)


def test_comparison_needs_rationales(tiny_jsonl, tmp_path):
    with pytest.raises(UserError, match="compare needs a method with rationales"):
        dsbs_jax.fit(str(tiny_jsonl), tmp_path / "run", method="finetune", compare=True)


def test_unknown_option_is_named(tiny_jsonl, tmp_path):
    with pytest.raises(UserError, match="sise is not a setting; did you mean size"):
        dsbs_jax.fit(str(tiny_jsonl), tmp_path / "run", sise="tiny")
