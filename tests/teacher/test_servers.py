"""Extractions from servers that refuse, cut off, or lack features."""

import json
import pathlib

import pytest

from dsbs_jax.errors import UserError
from dsbs_jax.teacher import extraction, prompts
from dsbs_jax.teacher.store import Store

GOOD = "The line is dead. So the answer is visit."
JSON = '{"rationale": "The line is dead.", "label": "visit"}'


@pytest.fixture
def stored(tmp_path):
    """Reads the log of replies, by the id of the input."""

    def read():
        store = Store(tmp_path / "out/completions")
        store.close()
        return {reply.id: reply for reply in store.replies.values()}

    return read


def write_rows(tmp_path, inputs):
    """Writes inputs with the ids a, b, …"""
    path = tmp_path / "own.jsonl"
    rows = [{"id": i, "input": text} for i, text in inputs.items()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def chat(message, reason="stop", usage=None):
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return json.dumps({"choices": [choice], "usage": usage}).encode()


# Cut-off replies.

CUT = "The line is dead. So the answer is vis"


@pytest.mark.parametrize(
    ("reason", "tokens"),
    [
        ("length", 10),
        ("max_tokens", 10),
        ("MAX_TOKENS", 10),
        ("model_length", 10),
        ("content_filter", 10),
        ("abort", 10),
        (None, 256),
        ("stop", 256),
        ("", 256),
        ("unknown", 300),
    ],
)
def test_cut_reply_is_never_a_label(serve, act, extract, rows, capsys, reason, tokens):
    usage = (100, tokens)

    def script(question, _):
        if question == "line 0":
            return act["reply"](CUT, finish_reason=reason, usage=usage)
        return GOOD

    assert extract(serve(script), count=2) == extraction.DONE
    assert [row["id"] for row in rows("rationales.jsonl")] == ["n1"]
    (dropped,) = rows("filtered.jsonl")
    assert dropped["reason"] == "unparsable: cut off before the answer was complete"
    assert "cut off before the answer: 1 of 2 replies" in capsys.readouterr().out


@pytest.mark.parametrize(("reason", "tokens"), [("stop", 255), (None, 255), (None, 9)])
def test_complete_reply_is_a_label(serve, act, extract, rows, reason, tokens):
    action = act["reply"](GOOD, finish_reason=reason, usage=(100, tokens))
    assert extract(serve(lambda *_: action), count=1) == extraction.DONE
    assert rows("rationales.jsonl")[0]["teacher_label"] == "visit"


@pytest.mark.parametrize(
    ("text", "label"), [(JSON, "visit"), (JSON[:-2], None), (JSON[:30], None)]
)
def test_cut_structured_reply(serve, act, extract, rows, text, label):
    server = serve(lambda *_: act["reply"](text, finish_reason="length"))
    assert extract(server, count=1, STRUCTURED=True) == extraction.DONE
    labels = [row["teacher_label"] for row in rows("rationales.jsonl")]
    assert labels == ([label] if label else [])


def test_higher_limit_requests_only_the_cut_replies(serve, act, extract, rows, capsys):
    def script(question, _):
        limit = server.bodies[-1]["max_tokens"]
        number = int(question.split()[1])
        if number == 3:
            # The answer is complete before the made-up next question.
            return act["reply"](f"{GOOD}\n\nQ: and", finish_reason="length")
        if limit > 100 * number:
            return GOOD
        return act["reply"](CUT, finish_reason="length", usage=(100, limit))

    server = serve(script)

    def asked_with(limit):
        assert extract(server, CONCURRENCY=1, MAX_TOKENS=limit) == extraction.DONE
        done, server.bodies[:] = list(server.bodies), []
        return [b["messages"][-1]["content"].split()[-2] for b in done]

    assert asked_with(50) == ["0", "1", "2", "3"]
    assert [row["id"] for row in rows("rationales.jsonl")] == ["n0", "n3"]
    assert asked_with(50) == []
    assert asked_with(150) == ["1", "2"]
    assert [row["id"] for row in rows("rationales.jsonl")] == ["n0", "n1", "n3"]
    assert asked_with(300) == ["2"]
    assert len(rows("rationales.jsonl")) == 4
    # A lower limit uses every reply that is stored.
    assert asked_with(50) == asked_with(150) == asked_with(300) == []
    assert len(rows("rationales.jsonl")) == 4


def test_lower_limit_requests_no_cut_reply(serve, act, extract, rows):
    server = serve(lambda *_: act["reply"](CUT, finish_reason="length"))
    for limit in (200, 100, 200):
        assert extract(server, count=2, MAX_TOKENS=limit) == extraction.DONE
        assert len(server.bodies) == 2 and len(rows("filtered.jsonl")) == 2


def test_limit_of_a_folder_of_version_0_1_can_be_raised(serve, extract, tmp_path, rows):
    import shutil

    fixtures = pathlib.Path(__file__).resolve().parents[1] / "fixtures/v0_1"
    shutil.copytree(fixtures / "extraction", tmp_path / "out")
    server = serve(lambda *_: GOOD)
    options = {
        "INPUT_FILE": str(fixtures / "tickets.jsonl"),
        "PROMPT": str(fixtures / "tickets.txt"),
        "SAMPLES": 2,
        "TEMPERATURE": 0.7,
        "MAX_TOKENS": 400,
    }
    store = Store(tmp_path / "out/completions")
    store.close()
    cut = [r for r in store.replies.values() if r.finish_reason == "length"]
    assert extract(server, **options) in (extraction.DONE, extraction.SOME_FAILED)
    assert len(server.bodies) <= len(cut)


# Replies without text.

NO_TEXT = {
    "cut while reasoning": (
        ({"content": None, "reasoning_content": "Okay, let"}, "length"),
        "cut off while reasoning",
    ),
    "refusal": (({"content": None, "refusal": "I cannot."}, "stop"), "refused: I can"),
    "filter": (({"content": None}, "content_filter"), "content filter removed"),
    "tool": (
        ({"content": "", "tool_calls": [{"function": {"name": "f"}}]}, "tool_calls"),
        "called the tool 'f'",
    ),
    "empty": (({"content": ""}, "stop"), "the reply is empty"),
    "blank": (({"content": " \n\t "}, "stop"), "the reply is empty"),
    "empty, all tokens used": (({"content": ""}, None), "cut off before its text"),
}


@pytest.mark.parametrize("name", NO_TEXT)
def test_reply_without_text_is_paid_once_and_reported(serve, act, extract, rows, name):
    (message, reason), expected = NO_TEXT[name]
    tokens = 256 if "all tokens" in name else 20
    usage = {"prompt_tokens": 9, "completion_tokens": tokens}
    broken = {"line 1"}

    def script(question, _):
        is_broken = question in broken
        return act["raw"](chat(message, reason, usage)) if is_broken else GOOD

    server = serve(script)
    for _ in range(2):
        assert extract(server, MAX_ATTEMPTS=8) == extraction.SOME_FAILED
        (failed,) = rows("failed.jsonl")
        assert failed["id"] == "n1" and expected in failed["reason"]
        assert set(server.request_counts.values()) == {1}
    # With the option, the reply is requested again, and only that.
    broken.clear()
    assert extract(server, RETRY_EMPTY=True) == extraction.DONE
    assert server.request_counts == {"line 0": 1, "line 1": 2, "line 2": 1, "line 3": 1}
    assert len(rows("rationales.jsonl")) == 4
    assert extract(server, RETRY_EMPTY=True) == extraction.DONE
    assert sum(server.request_counts.values()) == 5


def test_text_in_the_reasoning_is_read(serve, act, extract, rows, stored):
    message = {"content": None, "reasoning_content": GOOD}
    server = serve(lambda *_: act["raw"](chat(message)))
    assert extract(server, count=1) == extraction.DONE
    assert rows("rationales.jsonl")[0]["teacher_label"] == "visit"
    assert stored()["n0"].text == "" and stored()["n0"].reasoning == GOOD


def test_reasoning_that_used_all_tokens_is_not_read(serve, act, extract):
    message = {"content": None, "reasoning_content": GOOD}
    usage = {"prompt_tokens": 9, "completion_tokens": 256}
    server = serve(lambda *_: act["raw"](chat(message, "stop", usage)))
    with pytest.raises(UserError, match="none of the 1 replies has text; .*cut off"):
        extract(server, count=1)


def test_separate_reasoning_is_stored_and_not_parsed(serve, act, extract, rows, stored):
    thought = "Maybe remote? So the answer is remote."
    message = {"content": GOOD, "reasoning": thought}
    server = serve(lambda *_: act["raw"](chat(message)))
    assert extract(server, count=1) == extraction.DONE
    (row,) = rows("rationales.jsonl")
    assert (row["teacher_label"], row["rationale"]) == ("visit", "The line is dead.")
    assert stored()["n0"].reasoning == thought


def test_all_replies_empty_is_an_error_and_can_be_mended(serve, extract, rows):
    texts = [""]
    server = serve(lambda *_: texts[0])
    with pytest.raises(UserError, match="none of the 4 replies has text; most .*empty"):
        extract(server)
    texts[0] = GOOD
    assert extract(server) == extraction.DONE
    assert len(rows("rationales.jsonl")) == 4
    assert set(server.request_counts.values()) == {2}


def test_many_empty_replies_end_the_run_soon(serve, extract):
    server = serve(lambda *_: "")
    with pytest.raises(UserError, match="5 requests in a row failed .*reply is empty"):
        extract(server, count=50, MAX_FAILURES_IN_A_ROW=5, CONCURRENCY=1)
    assert len(server.bodies) == 5


# Refusals.


@pytest.mark.parametrize("code", [400, 403, 422])
@pytest.mark.parametrize("fine", [{0}, {21, 22, 23}, {11, 12}, {23}])
@pytest.mark.slow
def test_refused_rows_do_not_end_the_run(serve, act, extract, rows, code, fine):
    accepted = {f"line {n}" for n in fine}
    refusal = act["status"](code, "refused by the content filter")
    server = serve(lambda question, _: GOOD if question in accepted else refusal)
    assert extract(server, count=24, CONCURRENCY=1) == extraction.SOME_FAILED
    assert {row["input"] for row in rows("rationales.jsonl")} == accepted
    assert len(rows("failed.jsonl")) == 24 - len(fine)
    assert set(server.request_counts.values()) == {1}


@pytest.mark.parametrize(
    ("code", "text"),
    [(400, "bad request"), (422, "bad"), (500, "broken"), (501, "not implemented")],
)
def test_server_that_refuses_everything_ends_the_run_soon(
    serve, act, extract, code, text
):
    server = serve(lambda *_: act["status"](code, text))
    with pytest.raises(
        UserError, match=f"20 requests in a row .*status {code}: {text}"
    ):
        extract(server, count=1000, CONCURRENCY=8, MAX_ATTEMPTS=8, BACKOFF=0.001)
    assert len(server.bodies) <= 3 * 28
    # Those that failed, and those in flight.
    assert len(server.request_counts) <= 20 + 8


def test_firewall_that_refuses_one_text(serve, act, extract, rows):
    server = serve(
        lambda question, _: act["status"](403) if question == "line 2" else GOOD
    )
    assert extract(server, CONCURRENCY=1) == extraction.SOME_FAILED
    assert [row["id"] for row in rows("failed.jsonl")] == ["n2"]
    assert server.request_counts["line 2"] == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "text"),
    [
        (429, "You exceeded your current quota, please check your plan"),
        (402, "Insufficient Balance"),
        (400, "Your credit balance is too low"),
        (403, "Budget has been exceeded!"),
    ],
)
def test_exhausted_quota_ends_the_run_and_can_be_resumed(
    serve, act, extract, rows, code, text
):
    paid = [2]

    def script(*_):
        paid[0] -= 1
        return GOOD if paid[0] >= 0 else act["status"](code, text)

    server = serve(script)
    with pytest.raises(UserError, match=f"status {code}: {text}.*the same command"):
        extract(server, count=30, CONCURRENCY=1, MAX_ATTEMPTS=8)
    assert len(server.bodies) == 3
    paid[0] = 100
    assert extract(server, CONCURRENCY=1) == extraction.DONE
    assert len(rows("rationales.jsonl")) == 30
    assert len(server.bodies) == 3 + 28


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        ({"message": "overloaded", "code": 502}, 2),
        ({"message": "prompt tokens exceed the context", "code": 400}, 1),
        ({"message": "refused", "code": "content_filter"}, 1),
        ("out of memory", 2),
    ],
)
def test_error_inside_a_success_is_reported(serve, act, extract, rows, error, attempts):
    body = json.dumps({"error": error}).encode()
    server = serve(
        lambda question, _: act["raw"](body) if question == "line 1" else GOOD
    )
    assert extract(server) == extraction.SOME_FAILED
    (failed,) = rows("failed.jsonl")
    text = error if isinstance(error, str) else error["message"]
    assert text in failed["reason"]
    assert server.request_counts["line 1"] == attempts


@pytest.mark.parametrize("body", [b"404 page not found", b"<html>Open WebUI</html>"])
@pytest.mark.parametrize("code", [404, 405, 200])
def test_base_url_without_v1_gets_a_hint(serve, act, extract, body, code):
    server = serve(lambda *_: act["raw"](body, code))
    url = server.url.removesuffix("/v1")
    with pytest.raises(
        UserError, match=f"BASE_URL usually ends with /v1, try {url}/v1"
    ):
        extract(server, count=2, BASE_URL=url)


# Features that a server lacks.


def refusing(act, is_refused, text, answer=GOOD, code=400):
    """A script of a server that refuses some bodies."""

    def make(server):
        def script(*_):
            body = server().bodies[-1]
            return act["status"](code, text) if is_refused(body) else answer

        return script

    return make


@pytest.fixture
def serve_refusing(serve, act):
    def start(is_refused, text, answer=GOOD, code=400):
        made = []
        script = refusing(act, is_refused, text, answer, code)(lambda: made[0])
        made.append(serve(script))
        return made[0]

    return start


LITERAL = "loc: response_format.type, msg: Input should be 'text' or 'json_object'"


@pytest.mark.parametrize("code", [400, 422, 500])
@pytest.mark.parametrize("accepted", ["json_object", None])
def test_structured_output_falls_back(
    serve_refusing, extract, rows, capsys, tmp_path, code, accepted
):
    def is_refused(body):
        return body.get("response_format", {}).get("type") not in (accepted, None)

    server = serve_refusing(is_refused, LITERAL, JSON, code)
    options = {"STRUCTURED": True, "CONCURRENCY": 1, "MAX_ATTEMPTS": 8}
    assert extract(server, **options) == extraction.DONE
    assert {row["teacher_label"] for row in rows("rationales.jsonl")} == {"visit"}
    refused = 1 if accepted else 3
    assert len(server.bodies) == 4 + refused
    change = "json_object with a schema" if accepted else "without response_format"
    assert f"so requests change: {change}" in capsys.readouterr().out
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["changes_to_requests"] == [change]
    assert report["spent"]["requests"] == 4 + refused
    # The key of a reply does not depend on the change, so nothing is requested again.
    assert extract(server, **options) == extraction.DONE
    assert len(server.bodies) == 4 + refused


def test_text_is_read_if_the_server_has_no_structured_output(
    serve_refusing, extract, rows
):
    server = serve_refusing(lambda body: "response_format" in body, LITERAL)
    assert extract(server, STRUCTURED=True) == extraction.DONE
    assert {row["teacher_label"] for row in rows("rationales.jsonl")} == {"visit"}


def test_refusal_of_structured_output_names_the_setting(serve_refusing, extract):
    server = serve_refusing(lambda body: True, LITERAL, code=500)
    with pytest.raises(UserError, match="does not accept STRUCTURED = True, set STR"):
        extract(server, STRUCTURED=True, CONCURRENCY=1, MAX_ATTEMPTS=8)
    assert len(server.bodies) == 4


@pytest.mark.parametrize(
    ("field", "text", "macros"),
    [
        ("stop", "Unsupported parameter: 'stop' is not supported", {}),
        ("seed", 'Unknown name "seed": Cannot find field.', {}),
        (
            "max_tokens",
            "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'",
            {},
        ),
        ("stream", "Unsupported parameter: 'stream'", {"STREAM": True}),
    ],
)
def test_field_with_a_replacement_is_not_sent_again(
    serve_refusing, extract, rows, field, text, macros
):
    server = serve_refusing(lambda body: field in body, text)
    assert extract(server, CONCURRENCY=4, **macros) == extraction.DONE
    assert len(rows("rationales.jsonl")) == 4
    accepted = [body for body in server.bodies if field not in body]
    assert len(accepted) == 4
    assert len(server.bodies) <= 4 + 2 * 4


@pytest.mark.parametrize(
    ("field", "text", "macros", "setting"),
    [
        (
            "temperature",
            "'temperature' does not support 0.0 with this model",
            {},
            "TEMPERATURE, set TEMPERATURE = None",
        ),
        ("top_p", "'top_p' is not supported", {"TOP_P": 0.5}, "TOP_P"),
        (
            "logprobs",
            "Unrecognized request argument supplied: logprobs",
            {"EXTRA_BODY": {"logprobs": True}},
            r"EXTRA_BODY\['logprobs'\], remove it",
        ),
    ],
)
def test_field_without_a_replacement_is_one_error(
    serve_refusing, extract, field, text, macros, setting
):
    server = serve_refusing(lambda body: field in body, text)
    with pytest.raises(UserError, match=f"does not accept {setting}"):
        extract(server, CONCURRENCY=1, MAX_ATTEMPTS=8, **macros)
    assert len(server.bodies) == 1


SAMPLES = {"SAMPLES": 5, "TEMPERATURE": 0.7, "CONCURRENCY": 1}


def choices(texts):
    usage = {"prompt_tokens": 100, "completion_tokens": 10 * len(texts)}
    found = [{"message": {"content": t}, "finish_reason": "stop"} for t in texts]
    return json.dumps({"choices": found, "usage": usage}).encode()


def test_one_request_for_several_samples(serve, act, extract, rows, tmp_path):
    server = serve(
        lambda *_: act["raw"](choices([GOOD] * server.bodies[-1].get("n", 1)))
    )
    options = {**SAMPLES, "SAMPLES_PER_REQUEST": 3}
    assert extract(server, count=2, **options) == extraction.DONE
    assert [body.get("n") for body in server.bodies] == [3, 3, 2, 2]
    assert [row["samples"] for row in rows("rationales.jsonl")] == [5, 5]
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["spent"] == {
        "requests": 4,
        "prompt_tokens": 400,
        "completion_tokens": 100,
    }
    # The number of samples in a request does not change the keys of replies.
    assert extract(server, **SAMPLES) == extraction.DONE
    assert len(server.bodies) == 4
    assert extract(server, **{**options, "SAMPLES": 6}) == extraction.DONE
    assert [body.get("n") for body in server.bodies[4:]] == [None, None]


@pytest.mark.parametrize("given", [1, 2])
def test_fewer_choices_than_requested_are_requested_one_by_one(
    serve, act, extract, rows, capsys, given
):
    def script(*_):
        wanted = server.bodies[-1].get("n", 1)
        return act["raw"](choices([GOOD] * min(wanted, given)))

    server = serve(script)
    options = {**SAMPLES, "SAMPLES_PER_REQUEST": 5}
    assert extract(server, count=3, **options) == extraction.DONE
    expected = [5] + [None] * (15 - given)
    assert [body.get("n") for body in server.bodies] == expected
    assert [row["samples"] for row in rows("rationales.jsonl")] == [5, 5, 5]
    output = capsys.readouterr().out
    assert f"the server returned {given} of 5 samples (SAMPLES_PER_REQUEST)" in output
    assert "replies 15/15 " in output
    seeds = [body["seed"] for body in server.bodies if "n" not in body]
    assert seeds == [*range(given, 5), *range(5), *range(5)]


def test_refused_n_is_requested_one_by_one(serve_refusing, extract, rows):
    server = serve_refusing(lambda body: "n" in body, "'n' must be 1")
    options = {**SAMPLES, "SAMPLES_PER_REQUEST": 5}
    assert extract(server, count=2, **options) == extraction.DONE
    assert [row["samples"] for row in rows("rationales.jsonl")] == [5, 5]
    assert len(server.bodies) == 1 + 10


def test_more_choices_than_requested_are_ignored(serve, act, extract, rows):
    server = serve(lambda *_: act["raw"](choices([GOOD, "no", "no"])))
    assert extract(server, count=1) == extraction.DONE
    assert rows("rationales.jsonl")[0]["samples"] == 1


def test_streamed_replies(serve, act, extract, rows, tmp_path):
    def script(*_):
        parts = [{"choices": [{"delta": {"content": c}}]} for c in GOOD]
        parts += [{"choices": [{"delta": {}, "finish_reason": "stop"}]}]
        usage = {"prompt_tokens": 7, "completion_tokens": 9}
        parts += [{"choices": [], "usage": usage}]
        lines = "".join(f"data: {json.dumps(part)}\n\n" for part in parts)
        return act["raw"](f"{lines}data: [DONE]\n\n".encode())

    server = serve(script)
    assert extract(server, STREAM=True) == extraction.DONE
    assert server.bodies[0]["stream"] is True
    assert {row["teacher_label"] for row in rows("rationales.jsonl")} == {"visit"}
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["spent"]["completion_tokens"] == 36
    # Streaming does not change the keys of replies.
    assert extract(server, STREAM=False) == extraction.DONE
    assert len(server.bodies) == 4


# Changes between runs.

START = {"a": "line 1", "b": "line 2", "c": "line 3"}
CHANGES = {
    "a row is added": ({**START, "d": "line 4"}, {"line 4"}),
    "a row is added first": ({"d": "line 4", **START}, {"line 4"}),
    "a row is removed": ({"a": "line 1", "c": "line 3"}, set()),
    "only one row is left": ({"b": "line 2"}, set()),
    "a row is corrected": ({**START, "b": "line two"}, {"line two"}),
    "all rows are corrected": (
        {i: f"{text}!" for i, text in START.items()},
        {"line 1!", "line 2!", "line 3!"},
    ),
    "rows are in another order": (dict(reversed(START.items())), set()),
    "ids change": ({"x": "line 1", "y": "line 2", "z": "line 3"}, set()),
    "an input is there twice": ({**START, "d": "line 1"}, set()),
    "an id has another input": ({**START, "a": "line 3", "c": "line 1"}, set()),
    "added, removed and corrected": (
        {"a": "line 1", "b": "line 2.", "d": "line 4"},
        {"line 2.", "line 4"},
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_only_new_and_changed_rows_are_requested(serve, extract, rows, tmp_path, name):
    server = serve(lambda question, _: f"{question} is dead. So the answer is visit.")
    path = write_rows(tmp_path, START)
    options = {"INPUT_FILE": path, "DROP_DUPLICATE_ROWS": False}
    assert extract(server, **options) == extraction.DONE
    before = server.request_counts
    inputs, expected = CHANGES[name]
    write_rows(tmp_path, inputs)
    assert extract(server, **options) == extraction.DONE
    counts = server.request_counts
    assert {q for q in counts if counts[q] != before.get(q, 0)} == expected
    found = {row["id"]: row["rationale"] for row in rows("rationales.jsonl")}
    assert found == {i: f"{text} is dead." for i, text in inputs.items()}
    # The earlier file is still complete.
    write_rows(tmp_path, START)
    assert extract(server, **options) == extraction.DONE
    assert server.request_counts == counts


def test_corrected_label_requests_nothing(serve, extract, rows, tmp_path):
    server = serve(lambda *_: GOOD)
    path = tmp_path / "own.jsonl"
    for label in ("remote", "visit"):
        path.write_text(json.dumps({"id": "a", "input": "x", "label": label}) + "\n")
        assert extract(server, INPUT_FILE=str(path)) == extraction.DONE
        assert rows("rationales.jsonl")[0]["label"] == label
    assert len(server.bodies) == 1


def test_other_file_in_the_same_folder_is_refused(serve, extract, tmp_path):
    server = serve(lambda *_: GOOD)
    path = write_rows(tmp_path, START)
    assert extract(server, INPUT_FILE=path) == extraction.DONE
    write_rows(tmp_path, {"k": "other", "l": "another"})
    message = r"holds replies, but none to a row of INPUT_FILE .*own.jsonl"
    with pytest.raises(UserError, match=message):
        extract(server, INPUT_FILE=path)
    assert len(server.bodies) == 3


PROMPT_EDITS = [
    ("You route", "You send", "instructions"),
    ("Q: {input}", "Question: {input}", "question"),
    ("stop: \\nQ:", "stop: \\nA:", "stop"),
]


@pytest.mark.parametrize(("old", "new", "part"), PROMPT_EDITS)
def test_changed_prompt_is_named_by_its_file_and_part(
    serve, extract, tmp_path, old, new, part
):
    server = serve(lambda *_: GOOD)
    own = tmp_path / "own.txt"
    text = (prompts.FOLDER / "template.txt").read_text()
    text = text.replace(
        text[text.index("=== instructions") :].split("\n")[1], "You route"
    )
    own.write_text(text)
    assert extract(server, PROMPT=str(own), count=1) == extraction.DONE
    assert old in text
    own.write_text(text.replace(old, new))
    with pytest.raises(UserError) as caught:
        extract(server, PROMPT=str(own))
    message = str(caught.value)
    assert message.startswith(f"the prompt {own} (PROMPT) has changed ({part}")
    assert "since OUTPUT_DIR" in message and "use another OUTPUT_DIR" in message
    own.write_text(text)
    assert extract(server, PROMPT=str(own)) == extraction.DONE
    assert len(server.bodies) == 1
