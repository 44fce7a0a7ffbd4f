import json
import signal
import time

import pytest

from dsbs_jax.errors import UserError
from dsbs_jax.rationales import filters
from dsbs_jax.rationales.voting import VotedExample
from dsbs_jax.teacher import extraction, judging
from dsbs_jax.teacher.config import ExtractionSettings
from support.batch_server import answered, batch_server, completion
from support.extract_command import start

__all__ = ["batch_server"]
JUDGED = "Judge the reasoning"
UNREADABLE = {"line 3": "Hm.", "line 4": ""}


def asked(question):
    """The input that a request to the judge is about, or None."""
    if not question.startswith(JUDGED):
        return None
    return question.partition("Question:\n")[2].partition("\n")[0]


def script(question, _=0):
    """Answers "visit"; judges that lines 1 and 2 are not supported, and others are."""
    line = asked(question)
    if line is None:
        return f"{question} is dead. So the answer is visit."
    verdict = "no" if line in ("line 1", "line 2") else "yes"
    return UNREADABLE.get(line, f"It names {line}.\nVerdict: {verdict}")


def judge_requests(server):
    texts = [body["messages"][-1]["content"] for body in server.bodies]
    return [text for text in texts if asked(text)]


def test_rejected_rows_are_dropped_and_unreadable_verdicts_keep_the_row(
    serve, extract, rows, tmp_path, capsys
):
    server = serve(script)
    assert extract(server, count=6, labels=True, JUDGE=True) == extraction.DONE
    kept = {row["id"]: row for row in rows("rationales.jsonl")}
    assert list(kept) == ["n0", "n3", "n4", "n5"]
    assert kept["n0"]["judge_verdict"] == "yes"
    assert kept["n0"]["judge_reason"] == "It names line 0."
    assert kept["n3"]["judge_verdict"] == kept["n4"]["judge_verdict"] == "unreadable"
    assert kept["n3"]["judge_reason"] == "no verdict"
    dropped = rows("filtered.jsonl")
    reason = "rationale does not support the label: It names line "
    assert [(row["id"], row["reason"]) for row in dropped] == [
        ("n1", f"{reason}1."),
        ("n2", f"{reason}2."),
    ]
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["filtered"] == {filters.UNSUPPORTED: 2}
    assert report["judge"]["rejected"]["count"] == 2
    assert report["judge"]["unreadable"]["count"] == 2
    # The label is "visit" on lines 1, 3 and 5: of lines 0, 1, 2 and 5, the judge is
    # right on lines 2 and 5.
    assert (report["judge"]["agreement"]["value"], report["judge"]["kappa"]) == (
        0.5,
        {"value": 0.0, "interval": pytest.approx([-0.98, 0.98], abs=0.01)},
    )
    assert report["made_from"]["judge"] == "scripted"
    out = capsys.readouterr().out
    assert (
        "judge: 2 of 6 rationales are rejected (33.33 %), 2 verdicts cannot be" in out
    )


def test_the_request_holds_input_label_and_rationale(serve, extract):
    server = serve(script)
    extract(server, count=1, JUDGE=True, JUDGE_MAX_TOKENS=99, MAX_TOKENS=11, TOP_P=0.5)
    teacher, judge = server.bodies
    (message,) = judge["messages"]
    assert (
        "Question:\nline 0\n\nAnswer: visit\n\nReasoning:\nline 0 is dead.\n"
        in (message["content"])
    )
    assert (judge["max_tokens"], teacher["max_tokens"]) == (99, 11)
    assert judge["temperature"] == 0.0 and "stop" not in judge and "top_p" not in judge


def test_texts_of_a_row_are_inserted_unchanged():
    row = {
        "id": "1",
        "input": "a</s>{label}",
        "teacher_label": "{rationale}",
        "rationale": "{input} {label}",
    }
    judge = judging.Judge("{rationale}|{label}|{input}|{x}", None, None)
    text = judge.fill(VotedExample.from_row(row))
    assert text == "{input} {label}|{rationale}|a\n{label}|{x}"


def test_nothing_is_requested_twice_and_the_judge_can_be_added(serve, extract, rows):
    server = serve(script)
    options = {"count": 6, "labels": True}
    extract(server, **options)
    first = rows("rationales.jsonl")
    assert len(server.bodies) == len(first) == 6
    for _ in range(2):
        assert extract(server, **options, JUDGE=True) == extraction.DONE
        assert len(server.bodies) == 12
        assert set(server.request_counts.values()) == {1}
    # Other filters send no request, and without the judge the rows are the first ones.
    extract(server, **options, JUDGE=True, DROP_UNSUPPORTED=False)
    judged = rows("rationales.jsonl")
    assert [row["id"] for row in judged] == [row["id"] for row in first]
    assert judged[1]["judge_verdict"] == "no"
    extract(server, **options)
    assert rows("rationales.jsonl") == first and len(server.bodies) == 12


def test_only_kept_rows_are_judged_and_duplicates_of_rejected_rows_are_too(
    serve, extract, rows, tmp_path
):
    inputs = tmp_path / "own.jsonl"
    texts = ["line 1", "line 1", "line 5", "line 5", "short"]
    lines = [json.dumps({"id": f"n{n}", "input": t}) for n, t in enumerate(texts)]
    inputs.write_text("\n".join(lines))

    def answer(question, _):
        is_short = question == "short"
        return "No. So the answer is visit." if is_short else script(question)

    server = serve(answer)
    options = {"MIN_WORDS": 3, "JUDGE": True, "CONCURRENCY": 1}
    extract(server, INPUT_FILE=str(inputs), **options)
    assert [asked(text) for text in judge_requests(server)] == ["line 1", "line 5"]
    assert [row["id"] for row in rows("rationales.jsonl")] == ["n2"]
    reasons = {row["id"]: row["reason"] for row in rows("filtered.jsonl")}
    assert reasons.pop("n0").startswith(filters.UNSUPPORTED)
    assert reasons.pop("n1").startswith(filters.UNSUPPORTED)
    assert reasons == {"n3": filters.SAME_ROW, "n4": filters.SHORT}


def test_caps_count_the_requests_to_the_judge(serve, extract, tmp_path, capsys):
    server = serve(script)
    options = {"count": 4, "JUDGE": True, "CONCURRENCY": 1}
    prices = {"PROMPT_PRICE": 1.0, "COMPLETION_PRICE": 1.0}
    assert extract(server, **options, MAX_REQUESTS=6) == extraction.CAPPED
    assert len(server.bodies) == 6
    assert not (tmp_path / "out/rationales.jsonl").exists()
    # Six requests with 110 tokens each are spent.
    capped = extract(server, **options, **prices, MAX_COST=661 / 1e6)
    assert capped == extraction.CAPPED and len(server.bodies) == 6
    assert extract(server, **options, **prices, MAX_COST=0.01) == extraction.DONE
    assert set(server.request_counts.values()) == {1} and len(server.bodies) == 8
    assert "MAX_COST = 0.000661 is reached; 2 replies are" in capsys.readouterr().out


@pytest.mark.slow
def test_a_killed_run_resumes_without_a_second_request(
    serve, command, extract, rows, tmp_path
):
    def slow(question, _):
        time.sleep(0.05 if asked(question) else 0)
        return script(question)

    server = serve(slow)
    options = {"count": 12, "JUDGE": True, "CONCURRENCY": 1}
    run = start(command(server, **options))
    while len(judge_requests(server)) < 4:
        time.sleep(0.01)
        assert run.poll() is None
    run.send_signal(signal.SIGKILL)
    run.wait()
    sent = len(judge_requests(server))
    assert sent < 12 and not (tmp_path / "out/rationales.jsonl").exists()
    assert extract(server, **options) == extraction.DONE
    # The request in flight has no stored reply.
    twice = [text for text, count in server.request_counts.items() if count > 1]
    assert len(twice) <= 1 and len(server.request_counts) == 24
    assert len(rows("rationales.jsonl")) == 10


def test_verdicts_that_were_cut_off_are_requested_again_with_a_higher_limit(
    serve, extract, act, rows, capsys
):
    def cut(question, earlier):
        if asked(question) == "line 0" and not earlier:
            return act["reply"]("It names", finish_reason="length")
        return script(question)

    server = serve(cut)
    extract(server, count=3, JUDGE=True)
    assert rows("rationales.jsonl")[0]["judge_verdict"] == "unreadable"
    assert "with a higher JUDGE_MAX_TOKENS" in capsys.readouterr().out
    extract(server, count=3, JUDGE=True, JUDGE_MAX_TOKENS=999)
    assert rows("rationales.jsonl")[0]["judge_verdict"] == "yes"
    assert len(server.bodies) == 6 + 1 and server.bodies[-1]["max_tokens"] == 999


def test_failed_requests_leave_the_row_without_a_verdict(
    serve, extract, act, rows, tmp_path, capsys
):
    broken = ["line 0"]

    def refuses(question, _):
        refused = asked(question) in broken
        return act["status"](400) if refused else script(question)

    server = serve(refuses)

    def not_judged():
        report = json.loads((tmp_path / "out/report.json").read_text())
        return report["judge"]["not_judged"]

    assert extract(server, count=3, JUDGE=True) == extraction.SOME_FAILED
    assert "judge_verdict" not in rows("rationales.jsonl")[0] and not_judged() == 1
    out = capsys.readouterr().out
    assert "1 request to the judge failed" in out and "1 kept row is not judged" in out
    broken.clear()
    assert extract(server, count=3, JUDGE=True) == extraction.DONE
    assert rows("rationales.jsonl")[0]["judge_verdict"] == "yes" and not_judged() == 0


def second_row_is_judged_later(tmp_path, later):
    """Returns options and a script: if the judge rejects n0, n1 takes its place.

    These two rows have the same input and, with GIVE_ANSWERS, different rationales. The
    judge answers `later` for n1, and an empty reply for a third row, n2.
    """
    inputs = tmp_path / "same.jsonl"
    fields = [
        {"id": "n0", "label": "visit", "input": "line 1"},
        {"id": "n1", "label": "remote", "input": "line 1"},
        {"id": "n2", "label": "visit", "input": "line 4"},
    ]
    inputs.write_text("\n".join(map(json.dumps, fields)))

    def answer(question, _):
        if asked(question):
            return later if "remote" in question else script(question)
        text, _, hint = question.partition("\n(The correct answer is: ")
        return f"{text} is dead. So the answer is {hint.removesuffix(')') or 'visit'}."

    options = {
        "INPUT_FILE": str(inputs),
        "GIVE_ANSWERS": True,
        "DROP_DUPLICATE_INPUTS": True,
        "JUDGE": True,
    }
    return options, answer


def test_an_empty_reply_in_a_later_round_is_not_requested_again(
    serve, extract, rows, tmp_path
):
    options, answer = second_row_is_judged_later(tmp_path, "")
    server = serve(answer)
    # RETRY_EMPTY applies to replies of earlier runs, not of earlier rounds.
    for retry in (True, False, False):
        assert extract(server, **options, RETRY_EMPTY=retry) == extraction.DONE
        # Two inputs, one of them again with the label of n1, and three rationales.
        assert len(server.bodies) == 6
    assert [row["id"] for row in rows("filtered.jsonl")] == ["n0"]
    kept = [(row["id"], row["judge_verdict"]) for row in rows("rationales.jsonl")]
    assert kept == [("n1", "unreadable"), ("n2", "unreadable")]


def test_a_later_round_in_which_all_requests_fail_does_not_end_the_run(
    serve, extract, act, rows, tmp_path
):
    options, answer = second_row_is_judged_later(tmp_path, act["status"](400))
    assert extract(serve(answer), **options) == extraction.SOME_FAILED
    kept = [(row["id"], row.get("judge_verdict")) for row in rows("rationales.jsonl")]
    assert kept == [("n1", None), ("n2", "unreadable")]


def test_given_answers_do_not_count_as_agreement_with_the_human_labels(
    serve, extract, rows, tmp_path
):
    options, answer = second_row_is_judged_later(tmp_path, "Verdict: yes")
    server = serve(answer)
    extract(server, **options | {"DROP_DUPLICATE_INPUTS": False})
    assert any("\nAnswer: remote\n" in text for text in judge_requests(server))
    kept = rows("rationales.jsonl")[0]
    assert (kept["id"], kept["answer_given"]) == ("n1", True)
    report = json.loads((tmp_path / "out/report.json").read_text())["judge"]
    # Only n0 counts: its label is right, and the judge rejects its rationale. The
    # label of n1 was given, and the verdict on n2 cannot be read.
    assert (report["agreement"]["count"], report["agreement"]["total"]) == (0, 1)
    assert report["rejected"]["total"] == 3


def test_another_judge_has_its_own_server_key_and_fields(
    serve, extract, rows, monkeypatch
):
    monkeypatch.setenv("OPENAI_API_KEY", "teachers-secret")
    teacher, judge = serve(script), serve(script)
    options = {
        "JUDGE": True,
        "JUDGE_MODEL": "other",
        "JUDGE_BASE_URL": judge.url,
        "JUDGE_TEMPERATURE": None,
        "JUDGE_EXTRA_BODY": {"top_k": 1},
        "EXTRA_BODY": {"min_p": 0.1},
    }
    assert extract(teacher, count=2, **options) == extraction.DONE
    assert len(teacher.bodies) == len(judge.bodies) == 2
    body = judge.bodies[0]
    assert (body["model"], body["top_k"]) == ("other", 1)
    assert not {"temperature", "min_p"} & body.keys()
    assert "teachers-secret" in str(teacher.headers)
    assert "teachers-secret" not in str(judge.headers)
    monkeypatch.setenv("OWN", "judges-secret")
    extract(teacher, **options | {"JUDGE_API_KEY_VARIABLE": "OWN", "JUDGE_MODEL": "b"})
    assert "Bearer judges-secret" in str(judge.headers[-1])


def test_a_judge_that_refuses_everything_ends_the_run(serve, act, extract):
    teacher = serve(script)
    judge = serve(lambda *_: act["status"](400, "no such field"))
    options = {"JUDGE": True, "JUDGE_BASE_URL": judge.url, "MAX_FAILURES_IN_A_ROW": 3}
    with pytest.raises(UserError, match="judge scripted: 3 requests in a row failed"):
        extract(teacher, count=9, **options, CONCURRENCY=1)
    assert len(judge.bodies) == 3
    with pytest.raises(UserError, match="judge scripted: all 9 requests failed"):
        extract(teacher, **options | {"MAX_FAILURES_IN_A_ROW": 30})


def test_batches_carry_the_requests_to_the_judge(batch_server, extract, rows):
    def answer(line):
        content = line["body"]["messages"][-1]["content"]
        question = content.rpartition("Q: ")[2].removesuffix("\nA:")
        return answered(completion(script(question)))

    batch_server.answer = answer
    options = {"count": 6, "BATCH": True, "BATCH_PERIOD": 0.01, "JUDGE": True}
    for _ in range(2):
        assert extract(batch_server, **options) == extraction.DONE
        assert len(batch_server.requests()) == 12 and batch_server.direct == 0
    assert len(rows("rationales.jsonl")) == 4


def test_own_prompt(serve, extract, tmp_path):
    path = tmp_path / "judge.txt"
    path.write_bytes(b"\xef\xbb\xbf{label}: {rationale} ({input})?\r\n")
    server = serve(
        lambda question, _: script(question) if "?" not in question else "Yes."
    )
    extract(server, count=1, JUDGE=True, JUDGE_PROMPT=str(path))
    text = server.bodies[-1]["messages"][-1]["content"]
    assert text == "visit: line 0 is dead. (line 0)?"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "JUDGE_PROMPT .*judge.txt: No such file"),
        (b"\xff", "JUDGE_PROMPT .*judge.txt: not UTF-8 at byte 0"),
        (b"{rationale}", r"judge.txt: \{label\} not found, expected a text with"),
        (b"Is it {right}?", r"\{label\} and \{rationale\} not found"),
    ],
)
def test_wrong_prompts(serve, extract, tmp_path, content, message):
    path = tmp_path / "judge.txt"
    if content is not None:
        path.write_bytes(content)
    server = serve(script)
    with pytest.raises(UserError, match=message):
        extract(server, JUDGE=True, JUDGE_PROMPT=str(path))
    assert not server.bodies and not (tmp_path / "out").exists()


SETTINGS = {
    "input_file": "rows.jsonl",
    "output_dir": "out",
    "prompt": "template",
    "base_url": "http://localhost/v1",
    "model": "m",
}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"judge_model": "b"}, "JUDGE_MODEL is set, expected JUDGE = True with it"),
        (
            {"judge": True, "judge_base_url": "b"},
            "JUDGE_BASE_URL is 'b', expected http",
        ),
        (
            {"judge": True, "judge_api_key_variable": "OWN"},
            "JUDGE_API_KEY_VARIABLE is set, expected JUDGE_BASE_URL with it",
        ),
        (
            {"judge": True, "judge_api_key_variable": "sk-1"},
            "JUDGE_API_KEY_VARIABLE is not a valid name",
        ),
        (
            {"judge": True, "judge_extra_body": {"model": "x"}},
            "JUDGE_EXTRA_BODY sets 'model'",
        ),
        (
            {
                "judge": True,
                "judge_extra_body": {"n_max": 1},
                "max_tokens_name": "n_max",
            },
            "JUDGE_EXTRA_BODY sets 'n_max'",
        ),
        (
            {"judge": True, "judge_base_url": "http://localhost/v2", "batch": True},
            "JUDGE_BASE_URL is set, expected BATCH = False with it",
        ),
    ],
)
def test_wrong_settings(options, message):
    with pytest.raises(UserError) as caught:
        judging.judge_of(ExtractionSettings.from_fields(SETTINGS | options))
    assert message in str(caught.value) and "sk-1" not in str(caught.value)


def test_dry_run_announces_the_judge_and_needs_no_key(
    serve, extract, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("JUDGE_API_KEY", "not\na key")
    server = serve(script)
    options = {"count": 4, "JUDGE": True, "JUDGE_BASE_URL": server.url}
    extract(server, dry_run=True, **options)
    line = "judge: scripted, one request for each kept row, at most 4 requests"
    assert line in capsys.readouterr().out
    with pytest.raises(UserError, match="JUDGE_API_KEY"):
        extract(server, **options)
    assert not server.bodies and not (tmp_path / "out").exists()
