import inspect
import json

import pytest

import dsbs_jax
from dsbs_jax import settings
from dsbs_jax.data import tables
from dsbs_jax.teacher.config import ExtractionSettings

LABELS = ["remote", "visit"]


@pytest.fixture
def inputs(tmp_path):
    path = tmp_path / "tickets.jsonl"
    rows = [{"input": f"line {n}", "label": LABELS[n % 2]} for n in range(12)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def teacher(serve):
    """Answers ten of twelve inputs correctly, and one with another label."""

    def script(question, _):
        number = int(question.split()[1])
        label = {3: "remote", 5: "not use"}.get(number, LABELS[number % 2])
        return f"{question} is dead. So the answer is {label}."

    return serve(script)


def extract(inputs, teacher, output, **options):
    return dsbs_jax.extract(
        inputs=inputs,
        prompt="template",
        base_url=teacher.url,
        model="scripted",
        output=output,
        **options,
    )


def test_the_result_has_paths_counts_and_accuracies(inputs, teacher, tmp_path, capsys):
    folder = tmp_path / "out"
    prices = {"prompt_price": 1.0, "completion_price": 2.0}
    result = extract(inputs, teacher, folder, labels=LABELS, **prices)
    assert isinstance(result, dsbs_jax.ExtractionResult)
    assert (result.status, result.inputs, result.kept_count) == (0, 12, 11)
    assert result.dropped_counts == {"label not in the label set": 1}
    assert (result.failed_count, result.failed.read_text()) == (0, "")
    assert result.teacher_accuracy.count == 10 and result.teacher_accuracy.total == 12
    assert (result.majority_label, result.majority_accuracy.value) == ("remote", 0.5)
    assert result.beats_majority
    # The scripted server counts 100 prompt tokens and 10 completion tokens.
    assert result.cost == pytest.approx(12 * (100 * 1 + 10 * 2) / 1e6)
    assert len(tables.read_examples(result.rationales)) == 11
    for path in (result.filtered, result.report, result.card):
        assert path.parent == folder and path.is_file()
    card = result.card.with_name("card.md").read_text()
    assert "| label not in the label set | LABELS | 1 |" in card
    assert "| labels | remote, visit |" in card
    out, err = capsys.readouterr()
    assert "teacher accuracy: 83.33 % of the 12 rows" in out
    assert f"card: {result.card}" in out and err == ""


def test_a_weak_teacher_is_reported(inputs, serve, tmp_path, capsys):
    teacher = serve(lambda question, _: f"{question} is dead. So the answer is visit.")
    result = extract(inputs, teacher, tmp_path / "out")
    assert not result.beats_majority
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: the teacher may be no better than always answer")


def test_rows_that_the_prompt_shows_are_reported(inputs, teacher, tmp_path, capsys):
    from dsbs_jax.teacher import prompts

    shown = prompts.load("template").exemplars[0]
    row = {"id": "shown", "input": f" {shown.input} ", "label": shown.label}
    with open(inputs, "a") as file:
        file.write(json.dumps(row) + "\n")
    extract(inputs, teacher, tmp_path / "out", dry_run=True)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "warning: rows that are also examples of the prompt: 'shown'. The teacher"
    )


def test_a_file_as_output_gets_the_kept_rows(inputs, teacher, tmp_path):
    file = tmp_path / "rationales.jsonl"
    result = extract(inputs, teacher, file, max_requests=5)
    assert result.status == 3 and result.rationales is None and not file.exists()
    result = extract(inputs, teacher, file)
    assert result.folder == tmp_path / "rationales_extraction"
    assert result.rationales == file
    assert file.read_bytes() == (result.folder / "rationales.jsonl").read_bytes()
    assert len(tables.read_examples(file)) == 11
    # A further call resumes; here only the filters change.
    extract(inputs, teacher, file, labels=LABELS, drop_disagreement=True)
    assert len(tables.read_examples(file)) == 10
    assert len(teacher.bodies) == 12


def test_a_file_of_something_else_is_not_replaced(inputs, teacher, tmp_path):
    before = inputs.read_bytes()
    with pytest.raises(dsbs_jax.UserError, match="tickets.jsonl exists and is not the"):
        extract(inputs, teacher, inputs)
    other = tmp_path / "other.jsonl"
    other.write_text("years of work")
    with pytest.raises(dsbs_jax.UserError, match="other.jsonl exists and is not the"):
        extract(inputs, teacher, other)
    assert inputs.read_bytes() == before and other.read_text() == "years of work"
    assert teacher.bodies == []


def test_a_dry_run_sends_nothing(inputs, teacher, tmp_path, capsys):
    result = extract(inputs, teacher, tmp_path / "out", dry_run=True)
    assert (result.status, result.rationales, result.card) == (0, None, None)
    assert "estimate with" in capsys.readouterr().out
    assert teacher.bodies == [] and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample": 3}, "sample is not a setting; did you mean samples?"),
        ({"samples": 0}, "SAMPLES is 0, expected int >= 1"),
        ({"labels": "a,b"}, "LABELS is 'a,b', expected list of str or None"),
        ({"max_cost": 1.0}, "MAX_COST is set, expected PROMPT_PRICE and COMPLETION"),
    ],
)
def test_wrong_arguments_are_reported(inputs, teacher, tmp_path, options, message):
    with pytest.raises(dsbs_jax.UserError) as caught:
        extract(inputs, teacher, tmp_path / "out", **options)
    assert message in str(caught.value)


def test_defaults_are_those_of_the_settings():
    infos = {
        info.field: info
        for group in ExtractionSettings.classes().values()
        for info in settings.settings_of(group)
    }
    parameters = inspect.signature(dsbs_jax.extract).parameters.values()
    optional = [p for p in parameters if p.default is not inspect.Parameter.empty]
    assert len(optional) == 15
    for parameter in optional:
        if parameter.name != "dry_run":
            assert parameter.default == infos[parameter.name].default, parameter.name


def test_columns_and_formats_of_the_inputs(serve, tmp_path):
    data = tmp_path / "pairs.csv"
    data.write_text("premise,claim,gold\nIt rains.,It is wet.,yes\n")
    teacher = serve(lambda *_: "Rain is wet. So the answer is yes.")
    columns = {"template": "{premise} So: {claim}", "label_column": "gold"}
    result = extract(data, teacher, tmp_path / "out", **columns)
    (row,) = tables.read_examples(result.rationales)
    assert (row.input, row.label) == ("It rains. So: It is wet.", "yes")
    # Other columns give other requests.
    with pytest.raises(dsbs_jax.UserError, match="created with TEMPLATE = '{premise}"):
        extract(data, teacher, tmp_path / "out", **columns | {"template": "{claim}"})
