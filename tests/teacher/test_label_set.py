"""The label set limits votes, structured output and the printout."""

import collections
import json

import pytest

from dsbs_jax.data import completions
from dsbs_jax.errors import UserError
from dsbs_jax.rationales import filters
from dsbs_jax.replies import problems
from dsbs_jax.teacher import extraction, prompts

LABELS = ("remote", "visit")


def answer(label):
    return f"The line is dead. So the answer is {label}."


@pytest.fixture
def report(tmp_path):
    def read():
        return json.loads((tmp_path / "out/report.json").read_text())

    return read


def test_labels_count_as_their_category_and_others_are_dropped(
    serve, extract, rows, report, capsys
):
    replies = {
        "line 0": "**Remote**",
        "line 1": "'visit'",
        "line 2": "not use",
        "line 3": "silver-on-a-chip",
    }
    server = serve(lambda question, _: answer(replies[question]))
    assert extract(server, labels=True, LABELS=LABELS) == extraction.DONE
    kept = {row["id"]: row["teacher_label"] for row in rows("rationales.jsonl")}
    assert kept == {"n0": "remote", "n1": "visit"}
    dropped = {row["id"]: row for row in rows("filtered.jsonl")}
    assert dropped["n2"]["reason"] == filters.OTHER_LABEL
    assert dropped["n2"]["completions"] == [answer("not use")]
    assert "rationale" not in dropped["n2"]
    written = report()
    assert written["filtered"] == {filters.OTHER_LABEL: 2}
    assert written["labels"] == list(LABELS)
    assert written["other_labels"] == {"not use": 1, "silver-on-a-chip": 1}
    out = capsys.readouterr().out
    assert "labels (from LABELS): remote, visit\n" in out
    assert "dropped: 2 of 4 rows (50.0 %), label not in the label set\n" in out
    assert "by samples: 'not use' (1), 'silver-on-a-chip' (1)\n" in out


def test_a_label_outside_the_set_has_no_vote(serve, extract, rows, report):
    votes = iter(["unclear", "unclear", "Visit", "unclear", "visit"])
    server = serve(lambda *_: answer(next(votes)))
    options = {"SAMPLES": 5, "TEMPERATURE": 0.7, "CONCURRENCY": 1, "LABELS": LABELS}
    assert extract(server, count=1, **options) == extraction.DONE
    (row,) = rows("rationales.jsonl")
    assert (row["teacher_label"], row["votes"], row["samples"]) == ("visit", 2, 5)
    assert report()["other_labels"] == {"unclear": 3}


def test_rows_with_a_human_label_can_be_kept(serve, extract, rows):
    server = serve(lambda *_: answer("unclear"))
    options = {"LABELS": LABELS, "DROP_UNPARSABLE": False}
    assert extract(server, labels=True, **options) == extraction.DONE
    kept = rows("rationales.jsonl")
    assert len(kept) == 4
    assert not any("teacher_label" in row or "rationale" in row for row in kept)


def test_the_label_set_may_change_without_new_requests(serve, extract, rows):
    server = serve(lambda *_: answer("unclear"))
    assert extract(server, LABELS=LABELS) == extraction.DONE
    assert rows("rationales.jsonl") == []
    assert extract(server, LABELS=(*LABELS, "unclear")) == extraction.DONE
    assert len(rows("rationales.jsonl")) == 4 and len(server.bodies) == 4


def test_structured_output_is_limited_to_the_labels(serve, extract, rows):
    server = serve(lambda *_: '{"rationale": "It is dead.", "label": "visit"}')
    options = {"STRUCTURED": True, "LABELS": LABELS}
    assert extract(server, **options) == extraction.DONE
    schema = server.bodies[0]["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["label"] == {"type": "string", "enum": list(LABELS)}
    assert schema["properties"]["rationale"] == {"type": "string"}
    # Then the labels are part of each request.
    with pytest.raises(UserError, match=r"was created with LABELS = \['remote', 'vis"):
        extract(server, STRUCTURED=True, LABELS=("visit", "remote"))


def test_the_prompt_file_may_name_the_labels(serve, extract, rows, tmp_path, capsys):
    text = (prompts.FOLDER / "template.txt").read_text()
    own = tmp_path / "own.txt"
    own.write_text(text.replace("\nrule:", "\nlabel: remote\nlabel: visit\nrule:"))
    prompt = prompts.load(str(own))
    assert prompt.labels == LABELS
    assert prompt.fingerprint() == prompts.load("template").fingerprint()
    server = serve(lambda *_: answer("Visit"))
    assert extract(server, PROMPT=str(own)) == extraction.DONE
    assert {row["teacher_label"] for row in rows("rationales.jsonl")} == {"visit"}
    assert f"labels (from {own}): remote, visit" in capsys.readouterr().out
    # An empty list allows any label.
    assert extract(server, PROMPT=str(own), LABELS=()) == extraction.DONE
    assert {row["teacher_label"] for row in rows("rationales.jsonl")} == {"Visit"}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("visit",), "LABELS is .'visit',., expected two or more different labels"),
        (("visit", "visit"), "expected two or more different labels"),
        (("visit", " "), "none of them blank"),
        ("visit", "LABELS is 'visit', expected list of str or None"),
        (("visit", "wait"), "exemplar 1 has the label 'remote', expected one of visit"),
    ],
)
def test_wrong_labels_are_reported_before_any_request(serve, extract, labels, message):
    server = serve(lambda *_: answer("visit"))
    with pytest.raises(UserError, match=message):
        extract(server, LABELS=labels)
    assert server.bodies == []


def test_human_labels_outside_the_set_are_reported(serve, extract, tmp_path):
    path = tmp_path / "inputs.jsonl"
    labels = ["visit", "Visit", "vist", None]
    given = [{"input": str(n), "label": label} for n, label in enumerate(labels)]
    path.write_text("".join(json.dumps(row) + "\n" for row in given))
    message = (
        "inputs.jsonl: 2 of 4 rows have a label outside the label set, the first is "
        "row 'inputs-2' with 'Visit', expected one of remote, visit"
    )
    with pytest.raises(UserError, match=message):
        extract(serve(lambda *_: "x"), INPUT_FILE=str(path), LABELS=LABELS)


def test_counts_add_up(serve, extract, report, rows):
    kinds = ["visit", "unclear", "visit. So the answer is remote"]
    server = serve(lambda question, _: answer(kinds[int(question[5:]) % 3]))
    assert extract(server, count=30, labels=True, LABELS=LABELS) == extraction.DONE
    written = report()
    reasons = collections.Counter(
        row["reason"].partition(":")[0] for row in rows("filtered.jsonl")
    )
    assert written["filtered"] == reasons
    assert reasons == {filters.OTHER_LABEL: 10, filters.UNPARSABLE: 10}
    assert written["kept"] + sum(reasons.values()) == written["inputs"] == 30
    found = {row["problem"] for row in rows("filtered.jsonl")}
    assert found == {completions.NOT_IN_LABEL_SET, problems.TWO_ANSWERS}


def write(path, labels):
    rows = [{"input": f"line {n}", "label": x} for n, x in enumerate(labels)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_labels_are_detected_in_the_data(serve, extract, rows, tmp_path, capsys):
    labels = [*["remote", "visit"] * 50, "vist"]
    path = write(tmp_path / "inputs.jsonl", labels)
    server = serve(lambda question, _: answer("Visit" if "0" in question else "wait"))
    assert extract(server, INPUT_FILE=path) == extraction.DONE
    assert {row["teacher_label"] for row in rows("rationales.jsonl")} == {"visit"}
    assert {row["reason"] for row in rows("filtered.jsonl")} == {filters.OTHER_LABEL}
    assert (
        "labels (from the human labels): remote, visit; human labels outside this set: "
        "'vist' (1)\n"
    ) in capsys.readouterr().out
    # An empty list allows any label.
    assert extract(server, INPUT_FILE=path, LABELS=()) == extraction.DONE
    assert rows("filtered.jsonl") == []


def test_rare_labels_of_exemplars_belong_to_a_detected_set(serve, extract, tmp_path):
    path = write(tmp_path / "inputs.jsonl", ["visit", "wait"] * 5)
    server = serve(lambda *_: answer("remote"))
    assert extract(server, INPUT_FILE=path) == extraction.DONE
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["labels"] == ["visit", "wait", "remote"]
    assert report["kept"] == 10


@pytest.mark.parametrize("prompt", ["template", "cqa"])
def test_open_answers_are_not_limited(serve, extract, rows, tmp_path, prompt):
    labels = ["visit", "wait"] * 3
    if prompt == "template":
        labels = [str(n) for n in range(6)]
    path = write(tmp_path / "inputs.jsonl", labels)
    server = serve(lambda *_: answer("(a) anything"))
    assert extract(server, INPUT_FILE=path, PROMPT=prompt) == extraction.DONE
    assert len(rows("rationales.jsonl")) == 6


def test_structured_output_has_the_detected_labels(serve, extract, tmp_path):
    path = write(tmp_path / "inputs.jsonl", LABELS * 2)
    server = serve(lambda *_: '{"rationale": "It is dead.", "label": "visit"}')
    options = {"STRUCTURED": True, "INPUT_FILE": path}
    assert extract(server, **options) == extraction.DONE
    schema = server.bodies[0]["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["label"]["enum"] == list(LABELS)
    assert extract(server, **options) == extraction.DONE
    assert len(server.bodies) == 4


def test_a_folder_without_labels_in_its_requests_is_resumed(serve, extract, tmp_path):
    """As version 0.2 wrote it, which detected no labels."""
    path = write(tmp_path / "inputs.jsonl", LABELS * 2)
    server = serve(lambda *_: '{"rationale": "It is dead.", "label": "visit"}')
    options = {"STRUCTURED": True, "INPUT_FILE": path}
    assert extract(server, LABELS=(), **options) == extraction.DONE
    assert "enum" not in json.dumps(server.bodies)
    assert extract(server, **options) == extraction.DONE
    assert len(server.bodies) == 4
