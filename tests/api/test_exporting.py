"""Exports of a run whose training data is gone, and their use."""

import csv
import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import typing

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants

import dsbs_jax
from dsbs_jax.api import export_checks, exporting
from dsbs_jax.errors import UserError
from dsbs_jax.local import student_folder
from dsbs_jax.weights import ctranslate2_format, run_checkpoints, writing
from support.loopback_hub import TOKEN, Hub, use

# Every test needs a trained student.
pytestmark = pytest.mark.slow

DOCS = pathlib.Path(__file__).parents[2] / "docs"
NEEDS = "needs the extra `hf`"
INPUTS = ["Jar 99: 8 red, 2 blue marbles.", "Jar 7: 1 white, 2 amber marbles."]
REPOSITORY = "lab/jars"


@pytest.fixture(scope="module")
def run(train_tiny, tiny_jsonl, tmp_path_factory):
    """A run with a report, in another folder, without its training data."""
    folder = tmp_path_factory.mktemp("runs")
    data = pathlib.Path(shutil.copy(tiny_jsonl, folder / "rows.jsonl"))
    train_tiny(folder / "made", DATA_FILES=str(data), MAX_DECODE_LENGTH=12)
    student = dsbs_jax.Student.load(str(folder / "made"))
    student.evaluate(str(data), output=str(folder / "made/report"))
    data.unlink()
    moved = shutil.copytree(folder / "made", folder / "tickets")
    shutil.rmtree(folder / "made")
    return moved


@pytest.fixture(scope="module")
def exported(run):
    """The run in each format, by its name."""
    folders = {}
    for name in typing.get_args(writing.Format):
        done = exporting.export_student(run, run.parent / name, format=name)
        assert done == exporting.ExportedStudent(run.parent / name, None)
        folders[name] = done.folder
    return folders


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub on loopback that the client of this process uses, with an empty cache."""
    server = Hub()
    use(monkeypatch, server.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield server
    server.close()


def answers(path):
    student = dsbs_jax.Student.load(str(path))
    return student.spec, student.predict(INPUTS, rationales=True)


@pytest.mark.parametrize("name", typing.get_args(writing.Format))
def test_an_export_answers_as_the_run(run, exported, name, tmp_path):
    copy = shutil.copytree(exported[name], tmp_path / "copy")
    spec, predictions = answers(run)
    assert answers(copy) == (spec, predictions)
    assert predictions[0].probabilities.keys() == set(spec.labels)
    # An export can be exported again.
    again = exporting.export_student(copy, tmp_path / "again").folder
    assert answers(again) == (spec, predictions)


def test_files_of_the_formats(exported):
    names = {
        name: {
            str(p.relative_to(folder)) for p in folder.rglob("*") if "d/" not in str(p)
        }
        for name, folder in exported.items()
    }
    assert names["hf"] == {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "spiece.model",
        "student.json",
        "tokenizer_config.json",
    }
    assert {p.name for p in exported["t5x"].iterdir()} == {
        "checkpoint_0",
        "student.json",
        "vocabulary",
    }
    assert not list(exported["hf"].parent.glob(".*"))


def test_transformers_loads_the_folder_and_agrees(run, exported):
    torch = pytest.importorskip("torch", reason=NEEDS)
    transformers = pytest.importorskip("transformers", reason=NEEDS)
    folder = exported["hf"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    spec, predictions = answers(folder)
    for text, prediction in zip(INPUTS, predictions, strict=True):
        source = tokenizer(spec.label_prefix + text, return_tensors="pt").input_ids
        target = tokenizer(prediction.predicted_label, return_tensors="pt").input_ids
        with torch.no_grad():
            loss = model(input_ids=source, labels=target).loss.item()
        np.testing.assert_allclose(
            prediction.log_probability, -loss * target.shape[1], rtol=0, atol=1e-4
        )


def test_card_has_the_facts_and_the_metrics_of_the_run(run, exported):
    text = (exported["hf"] / "README.md").read_text()
    saved = json.loads((run / "report/report.json").read_text())
    low, high = saved["accuracy"]["interval"]
    value = saved["accuracy"]["value"]
    assert f"| test | accuracy | {value:.3f} | {low:.3f} to {high:.3f} | 60 |" in text
    assert f"| test | macro\\_f1 | {saved['macro_f1']:.3f} |" in text
    for part in ("`predict: ` asks", "at most 12 tokens", "more than 48 tokens"):
        assert part in text
    labels = dsbs_jax.Student.load(str(run)).spec.labels
    assert f"{', '.join(f'`{label}`' for label in labels)}." in text
    assert "Jar " not in text


def test_card_of_a_run_without_a_report_has_the_scores_of_training(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    shutil.rmtree(copy / "report")
    results = json.loads((copy / "results.json").read_text())
    exporting.export_student(copy, tmp_path / "hf", license="mit", language=["en"])
    card = huggingface_hub.ModelCard.load(tmp_path / "hf/README.md")
    assert (card.data.license, card.data.language) == ("mit", ["en"])
    (score,) = results["best"]["test"].values()
    (metric,) = card.data.eval_results
    assert (metric.dataset_split, metric.metric_type) == ("test", "accuracy")
    assert metric.metric_value == pytest.approx(score["accuracy"] / 100, abs=1e-6)


def test_card_leaves_out_what_is_not_known(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    shutil.rmtree(copy / "report")
    (copy / "results.json").unlink()
    path = copy / student_folder.STUDENT_FILE
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"method": "finetune", "dataset": None}))
    exporting.export_student(copy, tmp_path / "hf")
    text = (tmp_path / "hf/README.md").read_text()
    assert "## Evaluation" not in text and "come from the teacher" not in text
    assert "for the task `hf`" in text


def test_push_and_download(run, exported, hub):
    done = exporting.export_student(run, push_to_hub=REPOSITORY, license="apache-2.0")
    assert done == exporting.ExportedStudent(None, f"{hub.url}/{REPOSITORY}")
    files = hub.repositories[REPOSITORY]
    assert set(files) - {".gitattributes"} == {
        path.name for path in exported["hf"].iterdir()
    }
    assert hub.private[REPOSITORY]
    assert b"Student.load('hub:lab/jars')" in files["README.md"]
    assert answers(f"hub:{REPOSITORY}") == answers(run)


def test_hub_student_is_used_offline_after_the_download(run, hub, monkeypatch):
    exporting.export_student(run, push_to_hub=REPOSITORY)
    expected = answers(f"hub:{REPOSITORY}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.refusals["."] = (500, "offline")
    assert answers(f"hub:{REPOSITORY}") == expected


def test_command_writes_and_pushes(run, hub, monkeypatch, tmp_path, capsys):
    from dsbs_jax.commands import app

    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("OWN_TOKEN", TOKEN)
    output = tmp_path / "hf"
    arguments = ["export", str(run), "--output", str(output), "--public"]
    arguments += ["--push_to_hub", REPOSITORY, "--token_variable", "OWN_TOKEN"]
    assert app.run([*arguments, "--language", "en,de", "--license", "mit"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines() == [str(output), f"{hub.url}/{REPOSITORY}"]
    assert not hub.private[REPOSITORY]
    card = huggingface_hub.ModelCard.load(output / "README.md")
    assert (card.data.license, card.data.language) == ("mit", ["en", "de"])
    # A refused push writes no folder, so the same command can be repeated.
    monkeypatch.setenv("OWN_TOKEN", "hf_old")
    arguments[3] = str(tmp_path / "second")
    assert app.run(arguments) == 2
    assert "does not accept the token" in capsys.readouterr().err
    assert not (tmp_path / "second").exists()
    monkeypatch.delenv("OWN_TOKEN")
    assert app.run(arguments) == 2
    assert "the variable OWN_TOKEN is not set" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "an export needs an output folder, push_to_hub, or both"),
        ({"output": "new", "format": "onnx"}, "format is 'onnx', expected hf or t5x"),
        ({"output": "."}, "exists already, expected a new folder"),
        ({"student": "nowhere", "output": "new"}, "expected a run folder, .*nothing"),
        ({"student": "weights", "output": "new"}, "weights has no student.json"),
        ({"push_to_hub": "jars"}, "repository 'jars': expected <owner>/<name>"),
        ({"push_to_hub": REPOSITORY}, "the upload needs a token"),
        ({"push_to_hub": REPOSITORY, "format": "t5x"}, "push_to_hub is for format hf"),
    ],
)
def test_wrong_arguments_write_nothing(
    run, exported, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    shutil.copytree(exported["hf"], "weights")
    pathlib.Path("weights/student.json").unlink()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=message):
        exporting.export_student(**{"student": run, **arguments})
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("report/report.json", "report.json: cannot be read: broken JSON"),
        ("results.json", "results.json: cannot be read: broken JSON"),
        ("vocabulary/sentencepiece.model", "not a SentencePiece model"),
        ("student.json", "student.json: broken JSON"),
    ],
)
def test_damaged_files_are_named(run, tmp_path, name, message):
    copy = shutil.copytree(run, tmp_path / "copy")
    if name == "results.json":
        shutil.rmtree(copy / "report")
    (copy / name).write_text("{")
    with pytest.raises(UserError, match=message):
        exporting.export_student(copy, tmp_path / "hf")
    assert not (tmp_path / "hf").exists()


def test_student_file_of_other_weights_is_reported(run, exported, tmp_path):
    copy = shutil.copytree(exported["hf"], tmp_path / "copy")
    path = copy / student_folder.STUDENT_FILE
    path.write_text(path.read_text().replace('"mlp_dim": 32', '"mlp_dim": 64'))
    with pytest.raises(UserError, match="the checkpoint holds another student"):
        exporting.export_student(copy, tmp_path / "hf")


def test_options_name_every_format():
    from dsbs_jax.commands import export

    hint = typing.get_type_hints(export.export, include_extras=True)["format"]
    metavar = typing.get_args(hint)[1].metavar
    assert re.findall(r"\w+", metavar)[::2] == list(exporting.FORMATS)


def run_code(page):
    """Runs the commands and the Python code of a page; returns the number of blocks."""
    from dsbs_jax.commands import app

    blocks = re.findall(r"^```(bash|python)\n(.*?)^```", page, re.M | re.S)
    for language, code in blocks:
        if language == "python":
            exec(code, {})
            continue
        for line in code.replace("\\\n", " ").splitlines():
            words = shlex.split(line)
            if words[0] == "dsbs-jax":
                assert app.run(words[1:]) == 0, line
    return len(blocks)


def test_code_of_the_page_about_many_rows(run, monkeypatch, tmp_path, tiny_jsonl):
    pytest.importorskip("ctranslate2", reason="needs the extra `serve`")
    # The answers of a student of two steps are nearly ties.
    monkeypatch.setattr(export_checks, "_MIN_EQUAL", 0.0)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, "runs/tickets")
    rows = [json.loads(line) for line in tiny_jsonl.read_text().splitlines()]
    with open("new.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["input"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    assert run_code((DOCS / "labeling.md").read_text()) == 6
    shards = sorted(tmp_path.glob("answers-*-of-00002.csv"))
    labeled = [row for path in shards for row in csv.DictReader(path.open())]
    assert [row["input"] for row in labeled] == [row["input"] for row in rows]
    lines = pathlib.Path("answers.jsonl").read_text().splitlines()
    answers = [json.loads(line) for line in lines]
    assert [answer["input"] for answer in answers] == [row["input"] for row in rows]


def test_commands_and_code_of_the_page_run_as_written(
    run, hub, tiny_jsonl, monkeypatch, tmp_path
):
    pytest.importorskip("transformers", reason=NEEDS)
    pytest.importorskip("ctranslate2", reason="needs the extra `serve`")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, "runs/own")
    shutil.copy(tiny_jsonl, "tickets.jsonl")
    page = (DOCS / "sharing.md").read_text().partition("\n## Trackers")[0]
    assert run_code(page) > 4
    assert set(hub.repositories) == {"my-name/tickets"}
    files = hub.repositories["my-name/tickets"]
    assert huggingface_hub.ModelCard(files["README.md"].decode()).data.metrics


@pytest.mark.parametrize("quantization", ["float32", "bfloat16", "int8"])
def test_ctranslate2_answers_as_the_student(run, tmp_path, quantization, monkeypatch):
    pytest.importorskip("ctranslate2", reason="needs the extra `serve`")
    if quantization == "bfloat16":
        pytest.importorskip("torch", reason=NEEDS)
    if quantization == "int8":
        # The answers of a student of two steps are nearly ties.
        monkeypatch.setattr(export_checks, "_MIN_EQUAL", 0.0)
    done = exporting.export_student(
        run, tmp_path / "fast", format="ctranslate2", quantization=quantization
    )
    assert {path.name for path in done.folder.iterdir()} == {
        "ctranslate2",
        "student.json",
        "vocabulary",
    }
    agreement = done.agreement
    lines = (run / "predictions/validation-best-tiny_predict.jsonl").read_text()
    assert agreement.rows == len(lines.splitlines())
    right = sum(json.loads(line)["correct"] for line in lines.splitlines())
    assert (agreement.targets, agreement.student_right) == (True, right)
    if quantization == "float32":
        assert agreement.equal == agreement.rows
        assert agreement.export_right == right
        assert agreement.difference < 1e-3


def test_ctranslate2_without_predictions_is_compared_on_made_up_inputs(
    exported, tmp_path
):
    pytest.importorskip("ctranslate2", reason="needs the extra `serve`")
    done = exporting.export_student(
        exported["hf"], tmp_path / "fast", format="ctranslate2"
    )
    assert (done.agreement.rows, done.agreement.equal) == (32, 32)
    assert "right" not in done.agreement.text()


def test_student_of_another_precision_is_compared_in_float32(exported, tmp_path):
    pytest.importorskip("ctranslate2", reason="needs the extra `serve`")
    trained = shutil.copytree(exported["hf"], tmp_path / "trained")
    file = trained / "student.json"
    content = json.loads(file.read_text())
    assert content["network"]["precision"] == "float32"
    content["network"]["precision"] = "bfloat16"
    file.write_text(json.dumps(content))
    done = exporting.export_student(trained, tmp_path / "fast", format="ctranslate2")
    assert (done.agreement.rows, done.agreement.equal) == (32, 32)
    assert done.agreement.difference < 1e-3


def test_ctranslate2_that_answers_otherwise_is_refused(run, tmp_path, monkeypatch):
    pytest.importorskip("ctranslate2", reason="needs the extra `serve`")
    write = ctranslate2_format.write_model

    def write_other(folder, params, *arguments):
        name = "decoder/decoder_norm/scale"
        write(folder, {**params, name: -params[name]}, *arguments)

    monkeypatch.setattr(ctranslate2_format, "write_model", write_other)
    with pytest.raises(UserError, match="does not answer as the student: 0 of 6 answ"):
        exporting.export_student(run, tmp_path / "fast", format="ctranslate2")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("format", "quantization", "message"),
    [
        ("ctranslate2", "float16", "quantization is 'float16', expected float32 or"),
        ("hf", "int8", "quantization is for format ctranslate2, found format hf"),
    ],
)
def test_quantization_is_checked(run, tmp_path, format, quantization, message):
    with pytest.raises(UserError, match=message):
        exporting.export_student(
            run, tmp_path / "new", format=format, quantization=quantization
        )
    assert not list(tmp_path.iterdir())


def test_stablehlo_answers_as_the_student(run, tmp_path):
    """Another process with jax alone decodes with the programs."""
    done = exporting.export_student(
        run, tmp_path / "programs", format="stablehlo", platforms=["cpu", "tpu"]
    )
    assert done.agreement.equal == done.agreement.rows > 0
    assert done.agreement.difference < 1e-3
    student = dsbs_jax.Student.load(str(run), free_answers=True)
    (expected,) = student.predict(INPUTS[:1])
    text = student.spec.label_prefix + INPUTS[0]
    ids = [*student.vocabulary.encode(text), 1]
    code = re.search(
        r"### StableHLO.*?```python\n(.*?)```", (DOCS / "sharing.md").read_text(), re.S
    )[1]
    code = code.replace('"runs/own_stablehlo', f'"{done.folder}')
    code = re.sub(r"^ids = .*$", f"ids = {ids}", code, flags=re.M)
    printed = subprocess.run(
        [sys.executable, "-c", "import sys\nsys.modules['dsbs_jax'] = None\n" + code],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    tokens = json.loads(printed.stdout)[: student.spec.decoding.max_decode_length]
    assert student.vocabulary.decode(tokens).strip() == expected.predicted_label


def test_platforms_are_checked(run, tmp_path):
    for platforms in (["gpu"], []):
        with pytest.raises(UserError, match="platforms is .*, expected some of"):
            exporting.export_student(
                run, tmp_path / "new", format="stablehlo", platforms=platforms
            )


def test_student_of_bytes_is_a_byt5(train_tiny, tmp_path):
    run = tmp_path / "run"
    lengths = {"inputs": 64, "targets": 64, "task_ids": 64}
    train_tiny(
        run, VOCABULARY_PATH="bytes", VOCAB_SIZE=384, TASK_FEATURE_LENGTHS=lengths
    )
    assert not (run / student_folder.VOCABULARY_FILE).exists()
    folder = exporting.export_student(run, tmp_path / "hf").folder
    assert answers(folder) == answers(run)
    transformers = pytest.importorskip("transformers", reason=NEEDS)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    student = dsbs_jax.Student.load(str(folder))
    text = "Ünïcödé 東京: 7 > 3"
    assert tokenizer(text).input_ids == [*student.vocabulary.encode(text), 1]


def test_a_run_with_adapters_is_complete_and_exports_to_peft(
    exported, train_tiny, tmp_path
):
    run = tmp_path / "adapters"
    start = {"INITIAL_CHECKPOINT_PATH": str(exported["hf"]), "LEARNING_RATE": 0.02}
    train_tiny(run, LORA_RANK=4, LORA_TARGETS=("query", "value", "wo"), **start)
    stored = run_checkpoints.open_updated(run / "checkpoints/checkpoint_2").shapes()
    assert all("/lora_" in name for name in stored)
    merged = exporting.export_student(run, tmp_path / "hf").folder
    adapters = exporting.export_student(run, tmp_path / "peft", format="peft").folder
    assert {path.name for path in adapters.iterdir()} >= {
        "adapter_config.json",
        "adapter_model.safetensors",
        "student.json",
    }
    expected = answers(run)
    assert answers(merged) == expected
    spec, predictions = answers(adapters)
    assert spec == expected[0]
    for ours, theirs in zip(predictions, expected[1], strict=True):
        assert ours.predicted_label == theirs.predicted_label
        np.testing.assert_allclose(
            ours.log_probability, theirs.log_probability, atol=1e-5
        )


def test_a_run_without_adapters_has_none_to_export(run, tmp_path):
    with pytest.raises(UserError, match="all weights were trained, and format peft"):
        exporting.export_student(run, tmp_path / "peft", format="peft")
    assert not (tmp_path / "peft").exists()
