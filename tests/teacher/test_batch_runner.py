"""Extractions through a Batch API on loopback."""

import json
import signal
import subprocess
import sys

import pytest

from dsbs_jax.errors import UserError
from dsbs_jax.teacher import batch_records
from support.batch_server import answered, batch_server, completion
from support.extract_command import ENVIRONMENT, start

__all__ = ["batch_server"]

PRICES = {"PROMPT_PRICE": 10.0, "COMPLETION_PRICE": 100.0}
STEPS = [
    ("list", "before"),
    ("upload", "before"),
    ("upload", "after"),
    ("create", "before"),
    ("create", "after"),
    ("retrieve", "before"),
    ("content", "before"),
    ("content", "after"),
    ("delete", "before"),
    ("delete", "after"),
]


@pytest.fixture
def run(extract):
    def run_batch(server, **options):
        options = {"BATCH": True, "BATCH_PERIOD": 0.01, **options}
        return extract(server, **options)

    return run_batch


def test_batch_answers_every_row_at_half_price(batch_server, run, rows, tmp_path):
    assert run(batch_server, count=5, **PRICES) == 0
    assert len(rows("rationales.jsonl")) == 5
    assert len(batch_server.requests()) == 5 and batch_server.direct == 0
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["spent"] == {
        "requests": 5,
        "prompt_tokens": 500,
        "completion_tokens": 50,
        "batch_prompt_tokens": 500,
        "batch_completion_tokens": 50,
    }
    assert report["cost"] == pytest.approx(0.005)
    steps = len(batch_server.steps)
    assert run(batch_server, count=5, **PRICES) == 0
    assert len(batch_server.steps) == steps


def test_dry_run_shows_half_the_cost_and_sends_nothing(batch_server, run, capsys):
    costs = []
    for batch in (True, False):
        run(batch_server, dry_run=True, BATCH=batch, **PRICES)
        output = capsys.readouterr().out
        costs.append(float(output.split("at most ")[-1].split(")")[0]))
        assert ("at the half price of a batch" in output) == batch
    assert costs[0] == pytest.approx(costs[1] / 2, abs=1e-4)
    assert batch_server.steps == []


def test_direct_and_batch_replies_mix(batch_server, run, tmp_path):
    assert run(batch_server, count=2, BATCH=False) == 0
    with (tmp_path / "inputs.jsonl").open("a") as file:
        file.write('{"id": "n2", "input": "line 2"}\n')
    assert run(batch_server) == 0
    assert batch_server.direct == 2 and len(batch_server.requests()) == 1


def test_failed_and_expired_rows_are_sent_directly_without_batch(
    batch_server, run, rows, capsys
):
    def answer(line):
        text = line["body"]["messages"][-1]["content"]
        if "line 1" in text:
            body = {"error": {"message": "too long"}}
            return {"response": {"status_code": 400, "body": body}}
        if "line 2" in text:
            return {"error": {"code": "batch_expired", "message": "late"}}
        return answered(completion())

    batch_server.answer, batch_server.status = answer, "expired"
    assert run(batch_server, count=4) == 4
    reasons = [row["reason"] for row in rows("failed.jsonl")]
    assert reasons == [
        "batch: status 400: too long",
        "batch: the batch expired before this request",
    ]
    assert "without --batch directly" in capsys.readouterr().out
    assert run(batch_server, BATCH=False) == 0
    assert batch_server.direct == 2 and len(batch_server.requests()) == 4


def test_rows_that_failed_are_in_a_new_batch_of_the_next_run(batch_server, run, rows):
    answer = batch_server.answer
    refusal = {"response": {"status_code": 500, "body": None}}
    batch_server.answer = lambda line: refusal
    with pytest.raises(UserError, match="all 3 requests of the batch failed"):
        run(batch_server, count=3)
    batch_server.answer = answer
    assert run(batch_server) == 0
    assert len(batch_server.batches) == 2 and len(rows("rationales.jsonl")) == 3


def test_invalid_lines_of_the_output_are_ignored(batch_server, run, rows, capsys):
    def change(content):
        first, *others = content.splitlines(keepends=True)
        unknown = json.dumps({"custom_id": "x", **answered(completion())}).encode()
        odd = b'{"custom_id": 7}\n\xff\xfe\n[]\n' + b"[" * 5000 + b"\n"
        return b"".join([first, first, odd, b"\n", *others[1:], unknown])

    batch_server.change_output = change
    assert run(batch_server, count=3) == 4
    output = capsys.readouterr().out
    assert "output.jsonl: line 2: custom_id occurs twice; 1 such line is" in output
    assert "line 3: not a result in JSON; 4 such lines are ignored" in output
    assert "unknown custom_id; 1 such line" in output
    assert rows("failed.jsonl")[0]["reason"] == "batch: no result (completed)"


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {"choices": [{}]},
        {"error": {"message": "no", "code": 500}},
        {"error": {"message": "no credits", "code": "insufficient_quota"}},
        {"error": {"message": "no key", "code": 401}},
    ],
)
def test_reply_that_cannot_be_read_is_charged(batch_server, run, tmp_path, body):
    def answer(line):
        is_bad = "line 1" in line["body"]["messages"][-1]["content"]
        return answered(body if is_bad else completion())

    batch_server.answer = answer
    assert run(batch_server, count=2) == 4
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["spent"]["requests"] == 2
    assert report["spent"]["completion_tokens"] == 10 + 256


def test_batch_is_split_at_the_limits_of_the_api(batch_server, run, rows, monkeypatch):
    monkeypatch.setattr(batch_records, "MAX_REQUESTS", 2)
    assert run(batch_server, count=5) == 0
    counts = [b["request_counts"]["total"] for b in batch_server.batches.values()]
    assert counts == [2, 2, 1] and len(rows("rationales.jsonl")) == 5


def test_batch_is_split_at_the_largest_file(batch_server, run, monkeypatch):
    monkeypatch.setattr(batch_records, "MAX_BYTES", 4_000)
    assert run(batch_server, count=8) == 0
    assert len(batch_server.batches) > 1
    sizes = [
        len(batch_server.contents[batch["input_file_id"]])
        for batch in batch_server.batches.values()
    ]
    assert max(sizes) <= 4_000


def test_cap_limits_the_batch_before_it_is_created(batch_server, run, capsys):
    assert run(batch_server, count=5, MAX_REQUESTS=2) == 3
    assert len(batch_server.requests()) == 2
    assert "MAX_REQUESTS = 2 allows a batch with 2 of 5" in capsys.readouterr().out
    assert run(batch_server, count=5, MAX_COST=0.0001, **PRICES) == 3
    assert len(batch_server.batches) == 1


@pytest.mark.parametrize("status", [404, 405])
def test_server_without_batches_gets_no_file(batch_server, run, status):
    batch_server.refuse["list"] = (status, "Not Found")
    with pytest.raises(
        UserError, match="has no Batch API.*use extract without --batch"
    ):
        run(batch_server)
    assert batch_server.files == {}


def test_batch_that_failed_is_reported_in_the_words_of_the_server(batch_server, run):
    batch_server.status = "failed"
    batch_server.errors = [{"code": "x", "message": "queue limit reached", "line": 3}]
    with pytest.raises(UserError, match="failed: line 3: queue limit reached"):
        run(batch_server)
    batch_server.status = "completed"
    assert run(batch_server) == 0 and len(batch_server.batches) == 2


def test_missing_key_is_named(batch_server, run, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    batch_server.refuse["list"] = (401, "no key")
    with pytest.raises(UserError, match="OPENAI_API_KEY, which is not set"):
        run(batch_server)


def test_lost_reply_to_the_creation_does_not_create_a_second_batch(batch_server, run):
    batch_server.block("create", "after")
    batch_server.page = 1
    assert run(batch_server, TIMEOUT=0.5, MAX_ATTEMPTS=4) == 0
    assert len(batch_server.batches) == 1


def test_batch_is_found_on_a_later_page(batch_server, run, tmp_path):
    batch_server.refuse["delete"] = (500, "not now")
    assert run(batch_server, count=3) == 0
    (tmp_path / "out").rename(tmp_path / "first")
    batch_server.page = 1
    other = {"id": "batch_x", "status": "completed", "metadata": None}
    batch_server.batches["batch_x"] = other
    assert run(batch_server, count=3) == 0
    assert batch_server.steps.count("create") == 1


def test_batch_whose_output_was_deleted_is_not_used(batch_server, run, rows, tmp_path):
    assert run(batch_server, count=3) == 0
    (tmp_path / "out").rename(tmp_path / "first")
    assert run(batch_server, count=3) == 0
    assert len(batch_server.batches) == 2 and len(rows("rationales.jsonl")) == 3


def test_files_are_deleted_when_the_replies_are_stored(batch_server, run):
    batch_server.answer = refuse(("stop", "stop is not supported"))
    assert run(batch_server, count=3) == 0
    # The first batch has no output file, and the second one no error file.
    assert batch_server.steps.count("delete") == 4
    assert batch_server.files == {} and len(batch_server.contents) == 4


@pytest.mark.parametrize("status", [403, 405, 500])
def test_file_that_cannot_be_deleted_is_a_note_and_deleted_later(
    batch_server, run, capsys, status
):
    batch_server.refuse["delete"] = (status, "not now")
    assert run(batch_server, count=3) == 0
    output = capsys.readouterr().out
    assert f"file-1 is still on the server (status {status}: not now" in output
    assert len(batch_server.files) == 2
    batch_server.refuse.clear()
    assert run(batch_server) == 0
    assert batch_server.files == {}
    steps = len(batch_server.steps)
    assert run(batch_server) == 0
    assert len(batch_server.steps) == steps


def test_files_that_are_deleted_already_are_no_problem(batch_server, run, capsys):
    batch_server.refuse["delete"] = (404, "no such file")
    assert run(batch_server) == 0
    assert "still on the server" not in capsys.readouterr().out
    steps = len(batch_server.steps)
    assert run(batch_server) == 0 and len(batch_server.steps) == steps


def test_deletion_without_an_answer_is_a_note(batch_server, run, capsys, rows):
    batch_server.block("delete", "before")
    assert run(batch_server, TIMEOUT=0.5) == 0
    assert "file-1 is still on the server (no complete reply" in capsys.readouterr().out
    assert len(rows("rationales.jsonl")) == 4


def test_direct_run_does_not_pay_for_a_pending_batch(batch_server, run):
    batch_server.refuse["retrieve"] = (403, "not now")
    with pytest.raises(UserError, match="the same command resumes"):
        run(batch_server)
    with pytest.raises(UserError, match="with --batch to collect them"):
        run(batch_server, BATCH=False)
    batch_server.refuse.clear()
    assert run(batch_server) == 0 and len(batch_server.batches) == 1


@pytest.mark.slow
def test_ctrl_c_and_resume_with_the_command(batch_server, tmp_path):
    data = tmp_path / "inputs.jsonl"
    data.write_text("".join(f'{{"input": "line {n}"}}\n' for n in range(3)))
    words = [sys.executable, "-m", "dsbs_jax", "extract", data, "--prompt", "template"]
    words += ["--output", tmp_path / "rows.jsonl", "--base_url", batch_server.url]
    words += ["--model", "m", "--batch", "--batch_period", "0.05"]
    batch_server.questions_before_end = 10**6
    process = subprocess.Popen(
        words, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if "in_progress" in line:
            break
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert output.endswith("continues on the server, and the same command resumes\n")
    batch_server.questions_before_end = 1
    done = subprocess.run(words, env=ENVIRONMENT, stdout=subprocess.PIPE, timeout=90)
    assert done.returncode == 0 and len(batch_server.batches) == 1
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 3


@pytest.mark.slow
@pytest.mark.parametrize(("step", "when"), STEPS)
def test_kill_at_each_step_pays_once(
    batch_server, command, run, rows, tmp_path, step, when
):
    made = command(batch_server, count=4, BATCH=True, BATCH_PERIOD=0.01, TIMEOUT=60.0)
    batch_server.block(step, when)
    process = start(made)
    try:
        assert batch_server.reached.wait(60)
    finally:
        process.kill()
        process.wait()
    batch_server.unblock()
    assert run(batch_server, TIMEOUT=60.0) == 0
    assert len(batch_server.batches) == 1 and batch_server.direct == 0
    assert len(rows("rationales.jsonl")) == 4
    # The id of a file whose upload was not answered is not known.
    assert len(batch_server.files) == (step == "upload")
    assert batch_server.steps.count("upload") == 1 + (step == "upload")
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["spent"]["requests"] == 4


@pytest.mark.slow
def test_kill_while_replies_are_stored_pays_once(batch_server, run, monkeypatch, rows):
    from dsbs_jax.teacher import batch_runner
    from dsbs_jax.teacher.store import Store

    add = Store.add

    def add_one(self, *replies):
        add(self, *replies[:1])
        raise OSError("killed")

    monkeypatch.setattr(batch_runner.Store, "add", add_one)
    with pytest.raises(OSError, match="killed"):
        run(batch_server)
    monkeypatch.undo()
    assert run(batch_server) == 0
    assert len(batch_server.batches) == 1 and len(rows("rationales.jsonl")) == 4


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_while_waiting_prints_that_the_batch_continues(
    batch_server, command, run, number
):
    batch_server.questions_before_end = 10**6
    process = start(command(batch_server, BATCH=True, BATCH_PERIOD=0.05))
    for line in process.stdout:
        if "in_progress" in line:
            break
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert output.strip().splitlines()[-1] == (
        f"stopped by {number.name}; batch batch_2 continues on the server, and the "
        "same command resumes"
    )
    assert "Traceback" not in output
    batch_server.questions_before_end = 1
    assert run(batch_server) == 0 and len(batch_server.batches) == 1


def refuse(*fields):
    """Returns a function that refuses requests with one of some fields."""

    def answer(line):
        body = line["body"]
        for field, message in fields:
            if field in body:
                error = {"message": message, "param": field}
                return {"response": {"status_code": 400, "body": {"error": error}}}
        return answered(completion())

    return answer


STOP = ("stop", "Unsupported parameter")
SEED = ("seed", "seed: Extra inputs are not permitted")
TEMPERATURE = ("temperature", "does not support 0.0 with this model")


def test_a_refused_field_is_replaced_in_a_new_batch(
    batch_server, run, rows, capsys, tmp_path
):
    batch_server.answer = refuse(STOP, SEED)
    assert run(batch_server, count=3, SAMPLES=2, SEED=7, TEMPERATURE=0.5) == 0
    assert len(rows("rationales.jsonl")) == 3
    sizes = [b["request_counts"]["total"] for b in batch_server.batches.values()]
    assert sizes == [6, 6, 6]
    sent = [
        batch_server.lines(b["input_file_id"]) for b in batch_server.batches.values()
    ]
    fields = [
        {"stop", "seed"} & line["body"].keys() for batch in sent for line in batch
    ]
    assert fields == [{"stop", "seed"}] * 6 + [{"seed"}] * 6 + [set()] * 6
    output = capsys.readouterr().out
    assert output.count("sent in a new batch and change: without stop") == 1
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["changes_to_requests"] == ["without seed", "without stop"]
    # Refused requests cost no tokens.
    assert report["spent"]["prompt_tokens"] == 600


def test_a_schema_falls_back_to_plain_json(batch_server, run, rows):
    def answer(line):
        form = line["body"].get("response_format", {"type": "text"})
        if form["type"] == "json_schema":
            error = {"message": "response_format json_schema is not supported"}
            return {"error": error}
        return answered(completion('{"rationale": "It is hot.", "label": "yes"}'))

    batch_server.answer = answer
    assert run(batch_server, STRUCTURED=True, count=2) == 0
    assert len(batch_server.batches) == 2
    assert [row["teacher_label"] for row in rows("rationales.jsonl")] == ["yes"] * 2


def test_a_batch_that_the_server_refuses_as_a_whole_is_sent_with_a_change(
    batch_server, run
):
    batch_server.status = "failed"
    message = "Unsupported parameter: 'stop' is not supported with this model."
    batch_server.errors = [{"code": "x", "message": message, "line": 1}]
    end = batch_server._end

    def end_well(batch):
        line = batch_server.lines(batch["input_file_id"])[0]
        batch_server.status = "failed" if "stop" in line["body"] else "completed"
        end(batch)

    batch_server._end = end_well
    assert run(batch_server) == 0
    assert len(batch_server.batches) == 2


def test_a_refused_field_without_a_replacement_is_not_sent_again(
    batch_server, run, tmp_path
):
    batch_server.answer = refuse(TEMPERATURE)
    message = "does not accept TEMPERATURE, set TEMPERATURE = None"
    with pytest.raises(UserError, match=message):
        run(batch_server, count=3)
    assert len(batch_server.batches) == 1
    steps = batch_server.steps.count("create")
    with pytest.raises(UserError, match=rf"{message}; .* remove .*batches/1.json"):
        run(batch_server)
    assert batch_server.steps.count("create") == steps
    assert run(batch_server, TEMPERATURE=None) == 0
    assert len(batch_server.batches) == 2


def test_another_server_gets_the_fields_that_the_first_one_refused(
    batch_server, run, monkeypatch
):
    batch_server.answer = refuse(TEMPERATURE)
    with pytest.raises(UserError, match="TEMPERATURE"):
        run(batch_server)
    batch_server.answer = refuse()
    assert (
        run(batch_server, BASE_URL=batch_server.url.replace("127.0.0.1", "localhost"))
        == 0
    )


def test_refusals_of_texts_are_not_sent_again(batch_server, run):
    message = "The prompt was refused by the content filter: 'stop' is not supported"
    batch_server.answer = refuse(("messages", message))
    with pytest.raises(UserError, match="all 4 requests of the batch failed"):
        run(batch_server)
    assert len(batch_server.batches) == 1


def test_one_answer_shows_that_the_fields_are_accepted(batch_server, run):
    answer = refuse(STOP)

    def answer_first(line):
        is_first = "line 0" in line["body"]["messages"][-1]["content"]
        return answered(completion()) if is_first else answer(line)

    batch_server.answer = answer_first
    assert run(batch_server, count=3) == 4
    assert len(batch_server.batches) == 1


def test_samples_that_the_server_leaves_out_are_requested_one_by_one(
    batch_server, run, rows, tmp_path
):
    options = {"SAMPLES": 3, "SAMPLES_PER_REQUEST": 3, "TEMPERATURE": 0.5}
    assert run(batch_server, count=2, **options) == 0
    sizes = [b["request_counts"]["total"] for b in batch_server.batches.values()]
    assert sizes == [2, 4]
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["spent"]["requests"] == 6


def test_a_cap_also_limits_the_batch_with_a_change(batch_server, run):
    batch_server.answer = refuse(STOP)
    assert run(batch_server, count=4, MAX_REQUESTS=6) == 3
    sizes = [b["request_counts"]["total"] for b in batch_server.batches.values()]
    assert sizes == [4, 2]


@pytest.mark.slow
@pytest.mark.parametrize(("step", "when"), STEPS)
def test_kill_while_a_field_is_replaced_pays_once(
    batch_server, command, run, rows, step, when
):
    """The process is killed at a step of the second batch, whose fields are changed."""
    batch_server.answer = refuse(STOP)
    made = command(batch_server, count=4, BATCH=True, BATCH_PERIOD=0.01, TIMEOUT=60.0)
    end = batch_server._end

    def block_next(batch):
        end(batch)
        batch_server.block(step, when)

    batch_server._end = block_next
    process = start(made)
    try:
        assert batch_server.reached.wait(60)
    finally:
        process.kill()
        process.wait()
    batch_server._end = end
    batch_server.unblock()
    assert run(batch_server, TIMEOUT=60.0) == 0
    assert len(batch_server.batches) == 2
    assert len(rows("rationales.jsonl")) == 4
