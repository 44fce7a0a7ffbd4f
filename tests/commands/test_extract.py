import inspect
import json

import pytest

from dsbs_jax import settings
from dsbs_jax.api import extraction
from dsbs_jax.commands import extract as command
from dsbs_jax.teacher.config import ExtractionSettings


@pytest.fixture
def inputs(tmp_path):
    path = tmp_path / "tickets.jsonl"
    rows = [{"input": f"line {n}", "label": "visit"} for n in range(4)]
    rows += [{"input": f"line {n}", "label": "remote"} for n in range(4, 12)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def extract(dsbs, inputs, tmp_path):
    """Runs `dsbs-jax extract` with a server."""

    def run(server, *options):
        return dsbs(
            "extract",
            inputs,
            *("--prompt", "template"),
            *("--base_url", server.url),
            *("--model", "scripted"),
            *("--output", tmp_path / "rationales.jsonl"),
            *options,
        )

    return run


def right(question, _):
    label = "visit" if int(question.split()[1]) < 4 else "Remote"
    return f"{question} is dead. So the answer is {label}."


def test_the_end_of_the_output_has_accuracy_shares_and_the_card(
    serve, extract, tmp_path
):
    done = extract(serve(right), "--labels", "visit,remote", "--min_words", "2")
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines()[-3:] == [
        "teacher accuracy: 100.00 % of the 12 rows with a human label (95 % interval "
        "75.75 to 100.00); always answering 'remote': 66.67 %",
        f"kept: 12 of 12 rows (100.0 %) in {tmp_path / 'rationales.jsonl'}",
        f"card: {tmp_path / 'rationales_extraction/card.html'}",
    ]
    assert len((tmp_path / "rationales.jsonl").read_text().splitlines()) == 12


def test_statuses_are_those_of_the_extraction(serve, act, extract):
    server = serve(right)
    assert extract(server, "--max_requests", "3", "--concurrency", "1").status == 3
    assert extract(server, "--dry_run").status == 0
    assert len(server.bodies) == 3
    assert extract(server).status == 0


def test_inputs_without_a_reply_give_status_4(serve, act, extract):
    def script(question, earlier):
        if question == "line 3":
            return act["status"](400, "too long")
        return right(question, earlier)

    done = extract(serve(script), "--concurrency", "1")
    assert done.status == 4
    assert "failed: 1 of 12 rows (8.3 %), reasons in " in done.out


def test_a_weak_teacher_is_a_warning(serve, extract):
    server = serve(lambda *_: "All are dead. So the answer is visit.")
    done = extract(server)
    assert done.status == 0
    assert done.err.startswith("warning: the teacher may be no better than always")


def test_each_setting_is_an_option():
    options = inspect.signature(command.extract).parameters
    fields = {
        f"no_{info.field}" if info.default is True else info.field
        for group in ExtractionSettings.classes().values()
        for info in settings.settings_of(group)
    }
    own = {"data", "output", "dry_run"}
    assert options.keys() == fields - {"input_file", "output_dir"} | own
    api = inspect.signature(extraction.extract).parameters.keys()
    assert api - {"inputs", "options"} <= options.keys()


def test_bad_input_is_one_line(dsbs, inputs):
    done = dsbs("extract", inputs, "--output", "x", "--model", "m")
    assert done.status == 2 and done.err.startswith("error: Missing option")
    done = dsbs(
        *("extract", inputs, "--output", "x", "--model", "m", "--prompt", "cqa"),
        *("--base_url", "http://localhost:1/v1", "--samples", "0"),
    )
    assert (done.status, done.err) == (
        2,
        "error: --samples is '0', expected int >= 1\n",
    )
