"""The page of a trained student."""

import html
import html.parser
import json
import pathlib
import re
import shutil

import pytest

import dsbs_jax
from dsbs_jax.api import student_cards
from dsbs_jax.errors import UserError
from dsbs_jax.local import curves

# Every test needs a trained student.
pytestmark = pytest.mark.slow

HOSTILE = '<script>alert("x")</script><img src=http://example.com/x> & \u202e'


@pytest.fixture(scope="module")
def run(train_tiny, tmp_path_factory):
    """A run without a report and without data."""
    folder = tmp_path_factory.mktemp("runs") / "jars"
    train_tiny(folder, TRAIN_STEPS=20, EVAL_PERIOD=10, LOG_PERIOD=5)
    return folder


@pytest.fixture
def copy(run, tmp_path):
    return pathlib.Path(shutil.copytree(run, tmp_path / "jars"))


class Tags(html.parser.HTMLParser):
    """Collects the tags, and the addresses in their attributes."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.handlers = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.addresses += [v for k, v in attributes if k in ("src", "href")]
        self.handlers += [k for k, _ in attributes if k.startswith("on")]


def page_of(folder, **options):
    written = student_cards.write_student_card(folder, **options)
    text = written.page.read_text()
    assert written.headline in html.unescape(text)
    # Nothing is loaded and nothing runs.
    assert "default-src 'none'" in text
    tags = Tags(text)
    assert not tags.tags & {"script", "link", "iframe"} and not tags.handlers
    assert all(address.startswith("data:image/png;") for address in tags.addresses)
    return text


def headings(text):
    return [html.unescape(h) for h in re.findall("<h2>(.*?)</h2>", text)]


def fields(text):
    """The names of the texts of each example."""
    examples = re.findall(r"<dl>(.*?)</dl>", text, re.DOTALL)
    return [html.unescape(" ".join(re.findall("<dt>(.*?)</dt>", e))) for e in examples]


def test_run_alone_has_curves_scores_and_settings(copy):
    text = page_of(copy)
    assert headings(text) == ["Training", "Student and data", "Settings of the run"]
    assert text.count("data:image/png;base64,") == 1
    results = json.loads((copy / "results.json").read_text())
    (score,) = results["best"]["test"].values()
    assert f"{score['accuracy']:.2f}" in text
    for cell in ("step_by_step", "LEARNING_RATE", "0.003", "tiny"):
        assert f"<td>{cell}</td>" in text


def test_data_of_the_run_gives_report_and_rationales(copy, tiny_jsonl):
    (copy / "data").mkdir()
    rows = tiny_jsonl.read_text().splitlines(keepends=True)
    (copy / "data/train.jsonl").write_text("".join(rows[:40]))
    (copy / "data/test.jsonl").write_text("".join(rows[40:]))
    text = page_of(copy)
    assert {"Confusion of labels", "Calibration", "Training"} <= set(headings(text))
    assert text.count("data:image/png;base64,") == 2
    names = fields(text)
    assert names and set(names) == {
        "input label predicted label confidence teacher's label student's rationale "
        "teacher's rationale"
    }
    inputs = re.findall("<dt>input</dt><dd>(.*?)</dd>", text)
    expected = dsbs_jax.Student.load(str(copy)).explain(inputs)
    shown = re.findall("<dt>student&#39;s rationale</dt><dd>(.*?)</dd>", text)
    assert [html.unescape(t).strip() for t in shown] == [t[:700] for t in expected]
    by_input = {json.loads(row)["input"]: json.loads(row) for row in rows}
    shown = re.findall("<dt>teacher&#39;s rationale</dt><dd>(.*?)</dd>", text)
    assert shown == [by_input[text]["rationale"] for text in inputs]
    for fact, value in (("train rows", 40), ("test rows", 20)):
        assert f"<td>{fact}</td><td>{value}</td>" in text


def test_report_of_the_run_is_used_without_the_data(copy, tiny_jsonl):
    student = dsbs_jax.Student.load(str(copy))
    report = student.evaluate(str(tiny_jsonl), output=str(copy / "report"))
    text = page_of(copy)
    assert report.headline() in html.unescape(text)
    assert set(fields(text)) == {
        "input label predicted label confidence student's rationale"
    }
    with_rows = page_of(copy, test_data=tiny_jsonl, output=copy / "card")
    assert "teacher's rationale" in html.unescape(with_rows)
    assert (copy / "card/card.html").exists()


def test_untrusted_text_has_no_effect(copy, tmp_path):
    rows = [
        {
            "input": f"{number} {HOSTILE}",
            "label": f"red {HOSTILE}" if number % 2 else "blue",
            "teacher_label": f"teacher {HOSTILE}",
            "rationale": f"because {HOSTILE}",
        }
        for number in range(6)
    ]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = copy / "student.json"
    values = json.loads(path.read_text()) | {"dataset": HOSTILE, "teacher": HOSTILE}
    path.write_text(json.dumps(values))
    (copy / "config.gin").write_text(f"DATASET = {HOSTILE!r}\n")
    with (copy / curves.FILE).open("a") as file:
        scores = {f"$ {HOSTILE}": {"accuracy": 1.0}}
        file.write(json.dumps({"step": 30, "validation": scores}) + "\n")
    text = page_of(copy, test_data=data)
    for word in ("because", "teacher"):
        assert f"{word} &lt;script&gt;" in text
    assert "<img src=http" not in text and "\u202e" not in text


def test_student_without_rationales(train_tiny, tiny_jsonl, tmp_path):
    train_tiny(tmp_path / "run", "finetune")
    text = page_of(tmp_path / "run", test_data=tiny_jsonl)
    assert "student's rationale" not in html.unescape(text)
    assert "teacher's rationale" in html.unescape(text)


def test_exported_student_has_a_page(copy, tmp_path, tiny_jsonl):
    dsbs_jax.export_student(copy, tmp_path / "hf")
    text = page_of(tmp_path / "hf", test_data=tiny_jsonl)
    assert "Training" not in headings(text) and "Student and data" in headings(text)
    text = page_of(tmp_path / "hf")
    assert "The student has not been scored." in text


def test_command_prints_headline_and_page(copy, capsys):
    from dsbs_jax.commands import app

    assert app.run(["card", str(copy)]) == 0
    headline, page = capsys.readouterr().out.splitlines()
    assert headline.startswith("The accuracy of ")
    assert page == str(copy / "card.html") and pathlib.Path(page).is_file()
    assert app.run(["card", str(copy), "--min_words", "3"]) == 2
    message = f"--min_words is for the card of rationales, and {copy} is a student"
    assert message in capsys.readouterr().err


def test_wrong_folders_and_files_are_reported(copy, tmp_path):
    with pytest.raises(UserError, match="student.json: No such file"):
        student_cards.write_student_card(tmp_path)
    with pytest.raises(UserError, match="none.jsonl"):
        student_cards.write_student_card(copy, test_data="none.jsonl")
    (copy / curves.FILE).write_text("{\n")
    with pytest.raises(UserError, match="curve.jsonl: line 1: broken JSON"):
        student_cards.write_student_card(copy)
    assert not (copy / "card.html").exists()


def test_skew_of_teacher_and_student(copy, tiny_jsonl):
    rows = [json.loads(line) for line in tiny_jsonl.read_text().splitlines()]
    rows = [row | {"id": f"r{n}", "shelf": "ab"[n % 2]} for n, row in enumerate(rows)]
    rows = [row | {"teacher_label": row["label"]} for row in rows]
    data = copy / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = page_of(copy, test_data=data, group_by=["shelf"])
    wanted = {
        "Skew of teacher and student",
        "Accuracy of teacher and student by group",
    }
    assert wanted <= set(headings(text))
    student = dsbs_jax.Student.load(str(copy))
    predictions = student.predict([row["input"] for row in rows])
    right = [
        prediction.predicted_label == row["label"]
        for prediction, row in zip(predictions, rows, strict=True)
        if row["shelf"] == "a"
    ]
    cells = re.findall(r"<tr>\s*<td>a</td>(.*?)</tr>", text, re.DOTALL)[-1]
    share = f"{100 * sum(right) / len(right):.2f} %"
    assert re.findall("<td[^>]*>(.*?)</td>", cells)[:3] == [
        str(len(right)),
        "100.00 %",
        share,
    ]
    with pytest.raises(UserError, match="no row has the column 'tier' of GROUP_BY"):
        student_cards.write_student_card(copy, test_data=data, group_by=["tier"])
    with pytest.raises(UserError, match="GROUP_BY needs a student with a closed"):
        student_cards.write_student_card(copy, group_by=["shelf"])
