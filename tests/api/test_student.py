"""The Python API of a trained student.

More kills of `dsbs-jax predict` than the suite's, with a log:

    DSBS_KILLS=20 python -m pytest tests/api/test_student.py -k killed -s
"""

import concurrent.futures
import dataclasses
import json
import os
import random
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

import dsbs_jax
from dsbs_jax.api import engine_choice
from dsbs_jax.api import student as student_module
from dsbs_jax.engines import ctranslate2_engine
from dsbs_jax.errors import UserError

# Every test needs a trained student.
pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("DSBS_KILLS", "2"))
ROWS = 20_000
INPUTS = ["Jar 99: 8 red, 2 blue marbles.", "Jar 7: 1 white, 2 amber marbles."]


@pytest.fixture(scope="module")
def run(train_tiny, tmp_path_factory):
    """A run folder that was moved, and whose training data and vocabulary are gone."""
    folder = tmp_path_factory.mktemp("runs")
    train_tiny(folder / "made", TRAIN_STEPS=20, EVAL_PERIOD=20, MAX_DECODE_LENGTH=12)
    (folder / "made/config.gin").unlink()
    return shutil.move(folder / "made", folder / "moved")


@pytest.fixture(scope="module")
def student(run):
    return dsbs_jax.Student.load(str(run))


def test_label_is_the_most_probable_one_of_the_set(student):
    predictions = student.predict(INPUTS)
    assert len(predictions) == 2
    for prediction in predictions:
        shares = prediction.probabilities
        assert set(shares) == {"amber", "blue", "green", "red", "white"}
        assert sum(shares.values()) == pytest.approx(1)
        assert prediction.predicted_label == max(shares, key=shares.get)
        assert prediction.log_probability < 0
        assert prediction.predicted_rationale is None


def test_path_object_is_a_path(run, student):
    other = dsbs_jax.Student.load(run)
    assert other.predict(INPUTS[:1]) == student.predict(INPUTS[:1])


def test_order_and_number_of_inputs_do_not_change_an_answer(student):
    both, second = student.predict(INPUTS), student.predict(INPUTS[1:])
    assert both[1].predicted_label == second[0].predicted_label
    assert both[1].log_probability == pytest.approx(second[0].log_probability, abs=1e-5)
    assert student.predict([]) == []


@pytest.mark.parametrize("precision", ["mixed", "bfloat16"])
def test_student_answers_alike_in_another_precision(run, student, precision):
    other = dsbs_jax.Student.load(str(run), precision=precision)
    assert (student.spec.network.precision, other.spec.network.precision) == (
        "float32",
        precision,
    )
    for one, two in zip(student.predict(INPUTS), other.predict(INPUTS), strict=True):
        assert one.probabilities == pytest.approx(two.probabilities, abs=0.02)


def test_unknown_precision(run):
    with pytest.raises(UserError, match=r"(?i)precision is 'float16', expected"):
        dsbs_jax.Student.load(str(run), precision="float16")


def test_description_of_an_earlier_version_names_the_type_of_activations(run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    values = json.loads((folder / "student.json").read_text())
    values["network"]["dtype"] = values["network"].pop("precision")
    (folder / "student.json").write_text(json.dumps(values))
    assert dsbs_jax.Student.load(str(folder)).spec.network.precision == "float32"


def test_rationales_are_those_of_explain(student):
    predictions = student.predict(INPUTS, rationales=True)
    assert [p.predicted_rationale for p in predictions] == student.explain(INPUTS)


def test_engines_answer_alike(run, student):
    pytest.importorskip("ctranslate2", reason="needs the extra `serve`")
    fast = dsbs_jax.Student.load(str(run), engine="ctranslate2")
    assert (student.engine.name, fast.engine.name) == ("jax", "ctranslate2")
    ours, theirs = (s.predict(INPUTS, rationales=True) for s in (student, fast))
    for one, other in zip(ours, theirs, strict=True):
        assert one.predicted_label == other.predicted_label
        assert one.predicted_rationale == other.predicted_rationale
        assert one.log_probability == pytest.approx(other.log_probability, abs=1e-3)
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)


@pytest.mark.parametrize(
    ("settings", "installed", "engine"),
    [
        ({"free_answers": True}, True, "ctranslate2"),
        ({"free_answers": True}, False, "jax"),
        # JAX scores the labels of a closed set faster.
        ({}, True, "jax"),
    ],
)
def test_engine_auto(run, monkeypatch, settings, installed, engine):
    if installed:
        pytest.importorskip("ctranslate2", reason="needs the extra `serve`")
    monkeypatch.setattr(ctranslate2_engine, "is_installed", lambda: installed)
    student = dsbs_jax.Student.load(str(run), engine="auto", **settings)
    assert student.engine.name == engine


def write_inputs(path, count):
    path.write_text("".join(f'{{"input": "Jar {i}: 2 red."}}\n' for i in range(count)))
    return str(path)


def facts_of(output):
    return json.loads(output.with_name(f"{output.name}.json").read_text())


@pytest.mark.parametrize("fastest", ["jax", "ctranslate2"])
def test_a_long_job_uses_the_engine_that_is_measured_to_be_faster(
    run, tmp_path, monkeypatch, fastest
):
    pytest.importorskip("ctranslate2", reason="needs the extra `serve`")
    measured = []

    def measure(names, answer, inputs):
        for name in names:
            answer(name, inputs)
            measured.append((name, len(inputs)))
        return {name: 2.0 if name == fastest else 1.0 for name in names}

    monkeypatch.setattr(engine_choice, "measure", measure)
    monkeypatch.setattr(student_module, "FEWEST_ROWS", 9)
    student = dsbs_jax.Student.load(str(run), engine="auto")
    source, output = write_inputs(tmp_path / "rows.jsonl", 9), tmp_path / "out.jsonl"
    done = student.predict_file(source, str(output), window=4)
    assert measured == [("jax", 4), ("ctranslate2", 4)]
    assert done.facts == facts_of(output)
    assert done.facts["engine"] == fastest
    assert done.facts["engine_rates"][fastest] == 2.0
    # The rows of the measurement are not in the cost.
    assert done.facts["label_scoring"]["rows"] == 9
    assert done.facts["label_scoring"]["labels"] == 5
    few = write_inputs(tmp_path / "few.jsonl", 8)
    done = student.predict_file(few, str(tmp_path / "few_out.jsonl"))
    assert (done.facts["engine"], done.facts["engine_rates"]) == ("jax", None)
    assert len(measured) == 2


def test_a_killed_job_continues_with_the_engine_of_its_record(
    run, tmp_path, monkeypatch
):
    pytest.importorskip("ctranslate2", reason="needs the extra `serve`")
    monkeypatch.setattr(student_module, "FEWEST_ROWS", 9)
    student = dsbs_jax.Student.load(str(run), engine="auto")
    source, output = write_inputs(tmp_path / "rows.jsonl", 9), tmp_path / "out.jsonl"

    def rates(**found):
        monkeypatch.setattr(engine_choice, "measure", lambda *_: found)

    def kill(*_):
        raise KeyboardInterrupt

    rates(jax=1.0, ctranslate2=2.0)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(dsbs_jax.labeling.parts.Parts, "write", kill)
        student.predict_file(source, str(output), window=4)
    rates(jax=2.0, ctranslate2=1.0)
    facts = student.predict_file(source, str(output), window=4).facts
    assert facts["engine"] == "ctranslate2"
    assert facts["engine_rates"] == {"jax": 1.0, "ctranslate2": 2.0}
    free = dsbs_jax.Student.load(str(run), engine="jax", free_answers=True)
    facts = free.predict_file(source, str(tmp_path / "free.jsonl")).facts
    assert "label_scoring" not in facts and facts["engine_rates"] is None


def test_engine_that_is_unknown(run):
    with pytest.raises(UserError, match="engine is 'torch', expected jax, ctranslate2"):
        dsbs_jax.Student.load(str(run), engine="torch")


def test_export_for_ctranslate2_is_a_student(run, student, tmp_path):
    pytest.importorskip("ctranslate2", reason="needs the extra `serve`")
    folder = tmp_path / "fast"
    dsbs_jax.export_student(run, folder, format="ctranslate2")
    fast = dsbs_jax.Student.load(str(folder))
    assert fast.engine.name == "ctranslate2"
    labels = [p.predicted_label for p in student.predict(INPUTS)]
    assert [p.predicted_label for p in fast.predict(INPUTS)] == labels
    assert fast.explain(INPUTS) == student.explain(INPUTS)
    with pytest.raises(UserError, match="which the engine jax cannot read; use the"):
        dsbs_jax.Student.load(str(folder), engine="jax")


def test_student_abstains_below_a_probability(student):
    never = student.predict(INPUTS, abstain_below=0.0)
    always = student.predict(INPUTS, abstain_below=1.0)
    assert all(p.predicted_label != "unknown" for p in never)
    assert all(p.predicted_label == "unknown" for p in always)


def test_label_may_be_called_unknown(run, tmp_path):
    rows = [{"input": text, "label": "unknown"} for text in INPUTS]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    student = dsbs_jax.Student.load(str(run), labels=["unwon", "known"])
    assert student.evaluate(str(data)).abstained == 0
    student = dsbs_jax.Student.load(str(run), labels=["unknown", "known"])
    answered = [p.predicted_label for p in student.predict(INPUTS)].count("unknown")
    report = student.evaluate(str(data))
    assert (report.accuracy.count, report.abstained) == (answered, 0)


def test_metric_of_another_package_is_named(run, tiny_jsonl):
    student = dsbs_jax.Student.load(str(run), free_answers=True)
    student.spec = dataclasses.replace(student.spec, metric="bleu")
    with pytest.raises(UserError, match="metric of the student is 'bleu'"):
        student.evaluate(str(tiny_jsonl))


def test_free_answers_have_no_probabilities(run):
    student = dsbs_jax.Student.load(str(run), free_answers=True)
    prediction = student.predict(INPUTS)[0]
    assert prediction.probabilities is None
    with pytest.raises(UserError, match="abstain_below needs a closed label set"):
        student.predict(INPUTS, abstain_below=0.5)


def test_declared_labels_replace_those_of_the_run(run):
    student = dsbs_jax.Student.load(str(run), labels=["red", "blue"])
    assert set(student.predict(INPUTS)[0].probabilities) == {"red", "blue"}


def test_evaluation_writes_a_report_and_every_prediction(student, tiny_jsonl, tmp_path):
    report = student.evaluate(str(tiny_jsonl), output=str(tmp_path))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"report.json", "report.txt", "report.html", "predictions.jsonl"}
    lines = (tmp_path / "predictions.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    correct = sum(row["label"] == row["predicted_label"] for row in rows)
    assert (report.accuracy.count, report.accuracy.total) == (correct, 60)


def test_student_without_rationales_refuses_to_explain(train_tiny, tmp_path):
    train_tiny(tmp_path / "run", "finetune")
    student = dsbs_jax.Student.load(str(tmp_path / "run"))
    with pytest.raises(UserError, match="not trained to give rationales"):
        student.predict(INPUTS, rationales=True)


def test_two_students_in_two_threads_answer_as_each_alone(
    student, train_tiny, tmp_path
):
    from dsbs_jax.data import vocabulary

    model = tmp_path / "other.model"
    vocabulary.train(["Jar: red blue marbles amber green white"], model, vocab_size=101)
    train_tiny(tmp_path / "run", VOCABULARY_PATH=str(model))
    other = dsbs_jax.Student.load(str(tmp_path / "run"))
    alone = student.predict(INPUTS), other.predict(INPUTS)
    assert alone[0] != alone[1]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        futures = [
            (pool.submit(student.predict, INPUTS), pool.submit(other.predict, INPUTS))
            for _ in range(5)
        ]
        for first, second in futures:
            assert (first.result(), second.result()) == alone


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("one text", "inputs is a text, expected a list of texts"),
        (["good", " "], r"inputs\[1\]: input is blank"),
        ([3], r"inputs\[0\]: input must be text, found int"),
    ],
)
def test_wrong_inputs_are_named(student, inputs, message):
    with pytest.raises(UserError, match=message):
        student.predict(inputs)


def test_method_and_vocabulary_of_a_run_folder_cannot_change(
    train_tiny, tiny_vocabulary, tmp_path
):
    run = tmp_path / "run"
    train_tiny(run)
    saved = sorted(path.name for path in (run / "checkpoints").iterdir())
    with pytest.raises(UserError, match="METHOD is 'finetune', was 'step_by_step'"):
        train_tiny(run, "finetune")
    other = tmp_path / "other.model"
    shutil.copy(tiny_vocabulary, other)
    train_tiny(run, VOCABULARY_PATH=str(other))  # the same content
    from dsbs_jax.data import vocabulary

    vocabulary.train(["Jar: red blue marbles amber green"], other, vocab_size=101)
    changed = shutil.copy(other, tmp_path / "changed.model")
    with pytest.raises(UserError, match="the vocabulary of VOCABULARY_PATH .* differ"):
        train_tiny(run, VOCABULARY_PATH=str(changed))
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == saved


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("}", "", "broken JSON"),
        ('"schema_version": 1', '"schema_version": 9', "expected 1"),
        ('"num_heads": 4', '"num_heads": "four"', "must be integer, found text"),
        ('"num_heads": 4', '"num_heads": -4', "must be integer >= 1"),
    ],
)
def test_damaged_student_file_is_reported(run, tmp_path, old, new, message):
    copy = shutil.copytree(run, tmp_path / "copy")
    path = copy / "student.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(UserError, match=message) as error:
        dsbs_jax.Student.load(str(copy))
    assert "student.json" in str(error.value)


def test_run_of_an_earlier_version_names_the_command_that_converts_it(tmp_path):
    (tmp_path / "config.gin").write_text("")
    with pytest.raises(UserError, match="python -m dsbs_jax.train --gin_file="):
        dsbs_jax.Student.load(str(tmp_path))


def test_exported_weights_answer_as_the_run(student, run, tmp_path):
    from dsbs_jax.weights import convert

    folder = tmp_path / "hf"
    convert.convert(
        convert.ConvertConfig(
            checkpoint_path=str(run),
            output_dir=str(folder),
            vocabulary_path=str(run / "vocabulary/sentencepiece.model"),
        )
    )
    exported = dsbs_jax.Student.load(str(folder), labels=student.spec.labels)
    expected = [p.log_probability for p in student.predict(INPUTS)]
    actual = [p.log_probability for p in exported.predict(INPUTS)]
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "column",
    ["predicted_label", "log_probability", "probabilities", "predicted_rationale"],
)
def test_answers_replace_no_column_of_the_rows(student, tmp_path, column):
    data, output = tmp_path / "rows.jsonl", tmp_path / "answers.jsonl"
    data.write_text(json.dumps({"input": INPUTS[0], column: 1, "label": "mine"}))
    with pytest.raises(UserError, match=f"column '{column}', which the answers would"):
        student.predict_file(str(data), str(output))
    assert not output.exists()


def test_answers_keep_every_other_column(student, tmp_path):
    data, output = tmp_path / "rows.jsonl", tmp_path / "answers.jsonl"
    row = {
        "id": "a",
        "input": INPUTS[0],
        "label": "mine",
        "score": 1,
        "note": "ë\u2028",
    }
    data.write_text(json.dumps({**row, "half": "\ud83e", "nan": float("nan")}))
    student.predict_file(str(data), str(output))
    (answer,) = [json.loads(line) for line in output.read_bytes().splitlines()]
    assert {name: answer[name] for name in row} == row
    assert (answer["half"], answer["nan"]) == ("\ud83e", None)


@pytest.mark.parametrize("as_source", [str, lambda path: f"{path.parent}/*.jsonl"])
def test_answers_replace_no_file_of_the_rows(student, tmp_path, as_source):
    data, link = tmp_path / "rows.jsonl", tmp_path / "link"
    data.write_text(json.dumps({"input": INPUTS[0]}))
    link.symlink_to(data)
    for output in (data, link):
        with pytest.raises(UserError, match="is a file of the rows, which the answers"):
            student.predict_file(as_source(data), str(output))
    assert json.loads(data.read_text()) == {"input": INPUTS[0]}


def test_rows_without_human_labels_are_scored_on_those_of_the_teacher(
    student, tmp_path, capsys
):
    answers = [p.predicted_label for p in student.predict(INPUTS)]
    rows = [
        {"input": text, "teacher_label": answer}
        for text, answer in zip(INPUTS, answers, strict=True)
    ]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = student.evaluate(str(data))
    assert (report.accuracy.count, report.accuracy.total) == (len(rows), len(rows))
    assert "so the answers are compared with the teacher's" in capsys.readouterr().err
    rows[0]["label"] = answers[0]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert student.evaluate(str(data)).accuracy.total == 1


@pytest.mark.parametrize("name", ["nowhere", "rows.jsonl", "empty"])
def test_path_without_a_student_is_an_error_that_says_what_is_expected(tmp_path, name):
    (tmp_path / "rows.jsonl").write_text("{}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"{name}: expected a run folder, a T5X"):
        dsbs_jax.Student.load(str(tmp_path / name))


def test_output_that_cannot_be_written_is_found_before_the_work(
    student, tiny_jsonl, tmp_path, monkeypatch
):
    monkeypatch.setattr(student, "predict", None)  # a call would fail
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="folder is a folder, expected the path of"):
        student.predict_file(str(tiny_jsonl), str(tmp_path / "folder"))
    with pytest.raises(UserError, match=r"suffix '.xlsx', expected .jsonl, .csv"):
        student.predict_file(str(tiny_jsonl), str(tmp_path / "answers.xlsx"))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file is a file, expected a folder"):
        student.evaluate(str(tiny_jsonl), output=str(tmp_path / "file"))


@pytest.mark.parametrize(
    "name",
    ["out.jsonl", pytest.param("out.parquet", marks=pytest.mark.scheduled)],
)
def test_predict_that_is_killed_continues(run, tmp_path, name):
    """SIGKILL at random moments: the output is that of a run without a kill."""
    source = tmp_path / "rows.jsonl"
    lines = [json.dumps({"input": f"Jar {i}: {i % 9} red."}) for i in range(ROWS)]
    source.write_text("\n".join(lines))
    command = [sys.executable, "-m", "dsbs_jax", "predict", str(run), str(source)]
    # Two jobs may measure different engines as the faster one.
    command += ["--engine", "jax"]
    began = time.monotonic()
    subprocess.run([*command, "--output", str(tmp_path / name)], check=True)
    seconds = time.monotonic() - began
    expected = (tmp_path / name).read_bytes()
    killed, rng = tmp_path / "killed" / name, random.Random(0)
    kills = parts = 0
    while kills < KILLS:
        with subprocess.Popen([*command, "--output", str(killed)]) as process:
            try:
                process.wait(rng.uniform(0.3, 1.0) * seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
                parts = max(parts, len(list(killed.parent.glob("*.parts/part-*"))))
                continue
        killed.unlink()  # it was faster than the kill
    print(f"{kills} kills, at most {parts} complete parts at a kill")
    last = [*command, "--output", str(killed)]
    done = subprocess.run(last, check=True, stderr=subprocess.PIPE, text=True)
    assert all(line.startswith("note: ") for line in done.stderr.splitlines())
    assert killed.read_bytes() == expected
    assert {path.name for path in killed.parent.iterdir()} == {name, f"{name}.json"}
