import asyncio
import os
import subprocess
import sys
import time
import types

import pytest

from dsbs_jax.errors import UserError
from dsbs_jax.teacher.budget import BudgetConfig, Ledger, Spending
from dsbs_jax.teacher.client import Client
from dsbs_jax.teacher.endpoint import EndpointConfig
from dsbs_jax.teacher.failures import RequestFailure
from dsbs_jax.teacher.replies import Reply, Usage

KEY = "sk-very-secret-0123456789/+="
GOOD = "The line is dead. So the answer is visit."
MOST = Spending(1, 500, 50)


def ask(server, body=None, style="chat", **endpoint):
    """Sends one request; returns the reply or the failure, and the spending."""

    async def run():
        ledger, spent = Ledger(BudgetConfig(), Spending()), Spending()
        options = {"backoff": 0.001, "timeout": 2.0, "max_attempts": 2, **endpoint}
        client = Client(EndpointConfig(base_url=server.url, **options), style, ledger)
        chat = {"messages": [{"role": "user", "content": "Q: hello\nA:"}]}
        sent = {"model": "m", **(chat if style == "chat" else {"prompt": "hello"})}
        try:
            (reply,) = await client.request({**sent, **(body or {})}, MOST, spent)
            return reply, spent
        except RequestFailure as failure:
            return failure, spent
        finally:
            await client.close()
            assert ledger.spent == spent

    return asyncio.run(run())


def test_client_sends_exactly_the_body(serve, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = serve(lambda *_: "fine")
    fields = {"seed": 3, "stop": ["\nQ:"], "max_tokens": 7, "top_k": 40}
    result, spent = ask(server, fields)
    assert result == Reply("fine", "stop", Usage(100, 10))
    assert spent == Spending(1, 100, 10)
    messages = [{"role": "user", "content": "Q: hello\nA:"}]
    assert server.bodies == [{"model": "m", "messages": messages, **fields}]
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


def test_completion_style_has_its_own_path_and_fields(serve):
    server = serve(lambda *_: "fine")
    result, _ = ask(server, style="completion")
    assert result.text == "fine"
    assert server.bodies == [{"model": "m", "prompt": "hello"}]


@pytest.mark.parametrize(
    ("fault", "tokens"),
    [
        ("status", 0),
        ("cut_off", 2 * 550),
        ("hang_up", 2 * 550),
        ("broken", 2 * 550),
    ],
)
def test_attempts_that_may_be_billed_are_charged(serve, act, fault, tokens):
    actions = {
        "status": act["status"](500),
        "cut_off": act["cut_off"](),
        "hang_up": act["hang_up"],
        "broken": act["raw"](b"{"),
    }
    result, spent = ask(serve(lambda *_: actions[fault]))
    assert isinstance(result, RequestFailure)
    assert (spent.requests, spent.tokens) == (2, tokens)


def close_for_good(server):
    server.close()
    server.close = lambda: None


def test_unreachable_server_is_reported_immediately(serve):
    server = serve(lambda *_: "fine")
    close_for_good(server)
    start_time = time.monotonic()
    with pytest.raises(UserError, match=f"{server.url}: the connection failed: "):
        ask(server, backoff=60.0)
    assert time.monotonic() - start_time < 2


def test_refused_connections_are_not_charged(serve, act):
    last = act["raw"](act["message"]("fine"), Connection="close")
    server = serve(lambda *_: last)

    async def run():
        ledger, spent = Ledger(BudgetConfig(), Spending()), Spending()
        endpoint = EndpointConfig(base_url=server.url, backoff=0.001, max_attempts=3)
        client = Client(endpoint, "chat", ledger)
        body = {"model": "m", "messages": [{"content": "Q: hello\nA:"}]}
        assert await client.request(body, MOST, spent) == [
            Reply("fine", "stop", Usage(100, 10))
        ]
        close_for_good(server)
        spent = Spending()
        with pytest.raises(RequestFailure, match="^the connection failed: ") as caught:
            await client.request(body, MOST, spent)

        assert client.last_error in str(caught.value)
        await client.close()
        return spent

    assert asyncio.run(run()) == Spending(3, 0, 0)


ERRORS = {
    "endless": lambda act: act["endless"](500),
    "not gzip": lambda act: act["raw"](b"x", 500, Content_Encoding="gzip"),
    "cut off": lambda act: act["cut_off"](500),
    **{
        f"in {name}": lambda act, name=name: act["raw"](
            b"out of \xff order", 500, Content_Type=f"text/plain; charset={name}"
        )
        for name in ("hex", "undefined", "idna", "utf-16", "rot13", "zlib", "none")
    },
}


@pytest.mark.parametrize("name", ERRORS)
def test_error_status_counts_even_if_the_body_is_unreadable(serve, act, name):
    start_time = time.monotonic()
    result, spent = ask(serve(lambda *_: ERRORS[name](act)), timeout=5.0)
    assert str(result).startswith("status 500: ")
    assert spent == Spending(2, 0, 0)
    assert time.monotonic() - start_time < 4
    if name.startswith("in "):
        assert "out of \ufffd order" in str(result)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"error": {"message": "too long"}}', "too long"),
        (b'{"error": "too long", "error_type": "validation"}', "too long"),
        (b'{"message": "too long"}', "too long"),
        (b'{"detail": [1]}', '{"detail": [1]}'),
        (b'{"error": {"message": null}}', '{"error": {"message": null}}'),
        (b"404 page not found", "404 page not found"),
        (b"[" * 60_000, "[["),
        (b"", "Internal Server Error"),
    ],
)
def test_failure_contains_the_message_of_the_server(serve, act, body, expected):
    result, _ = ask(serve(lambda *_: act["raw"](body, 500)))
    assert str(result).startswith(f"status 500: {expected}")


def test_retry_after_zero_keeps_the_backoff(serve, act):
    server = serve(lambda *_: act["status"](429, Retry_After="0"))
    start_time = time.monotonic()
    ask(server, backoff=0.4)
    assert time.monotonic() - start_time >= 0.2


@pytest.mark.parametrize(
    ("attempt", "longest"), [(1, 1.0), (2, 2.0), (4, 8.0), (5, 10.0), (5000, 10.0)]
)
def test_backoff_doubles_up_to_its_maximum_and_varies_by_half(attempt, longest):
    endpoint = EndpointConfig(base_url="http://x/v1", backoff=1.0, max_backoff=10.0)
    client = Client(endpoint, "chat", Ledger(BudgetConfig(), Spending()))
    state = types.SimpleNamespace(attempt_number=attempt, outcome=None)
    seconds = [client._seconds_before_retry(state) for _ in range(200)]
    assert longest / 2 <= min(seconds) < 0.7 * longest
    assert 0.8 * longest < max(seconds) <= longest


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"base_url": "localhost:8000"}, "BASE_URL is 'localhost:8000', expected http"),
        ({"base_url": "ftp://host/v1"}, "BASE_URL is 'ftp"),
        ({"base_url": "http://host:port/v1"}, "BASE_URL is not a URL"),
        ({"base_url": "http://a\x01b/v1"}, "BASE_URL is not a URL"),
        ({"base_url": None}, "BASE_URL is None, expected str"),
        ({"timeout": "long"}, "TIMEOUT is 'long', expected float"),
        ({"api_key_variable": None}, "API_KEY_VARIABLE is None, expected str"),
        ({"timeout": 0}, "TIMEOUT is 0, expected float >= 0.001"),
        ({"max_wait": float("inf")}, "MAX_WAIT is inf"),
        ({"max_attempts": 0}, "MAX_ATTEMPTS is 0, expected int >= 1"),
    ],
)
def test_bad_setting_is_named(setting, message):
    with pytest.raises(UserError, match=message):
        EndpointConfig(**{"base_url": "http://localhost/v1", **setting})


@pytest.mark.parametrize(
    "setting",
    [
        {"base_url": f"https://user:{KEY}@host/v1"},
        {"base_url": f"https://host/v1?key={KEY}"},
        {"api_key_variable": KEY},
    ],
)
def test_key_in_the_wrong_setting_is_rejected_and_not_printed(setting):
    with pytest.raises(UserError) as caught:
        EndpointConfig(**{"base_url": "http://localhost/v1", **setting})
    assert KEY not in str(caught.value)


def test_invalid_key_is_not_printed(monkeypatch):
    monkeypatch.setenv("MY_KEY", "s\u00e9cret")
    with pytest.raises(UserError, match="variable MY_KEY: .* ASCII") as caught:
        EndpointConfig(base_url="http://localhost/v1", api_key_variable="MY_KEY").key()
    assert "cret" not in str(caught.value)


def test_key_of_another_variable_is_not_sent(serve, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = serve(lambda *_: "fine")
    ask(server, api_key_variable="NOT_SET_ANYWHERE")
    assert KEY not in str(server.headers)


def run_binary(server, command, **macros):
    arguments = [f"--gin_bindings={b}" for b in command(server, **macros)]
    module = ["-m", "dsbs_jax.teacher.extract", "--gin_file=teacher/extract.gin"]
    return subprocess.run(
        [sys.executable, *module, *arguments],
        env={**os.environ, "OPENAI_API_KEY": KEY, "OPENAI_LOG": "debug"},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.slow
def test_key_is_never_printed_or_written(serve, act, command, tmp_path):
    """Even if the server repeats the key in an error or a completion."""
    answers = {
        "line 0": f"Your key is {KEY}. {GOOD}",
        "line 1": act["status"](500, f"unknown key {KEY}"),
        "line 2": GOOD,
    }
    server = serve(lambda question, _: answers[question])
    done = run_binary(server, command, count=3, MAX_ATTEMPTS=1)
    assert done.returncode == 4, done.stderr
    assert f"Bearer {KEY}" in server.headers[0]["authorization"]
    answers["line 1"] = act["status"](401, f"bad key {KEY}")
    refused = run_binary(server, command, MAX_ATTEMPTS=1)
    assert refused.returncode == 2
    assert "status 401: bad key [key]; the key is read from OPENAI" in refused.stderr
    output = done.stdout + done.stderr + refused.stdout + refused.stderr
    assert KEY not in output and "Traceback" not in output
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) >= 9
    for path in files:
        assert KEY.encode() not in path.read_bytes(), path
    log = (tmp_path / "out/completions/replies.jsonl").read_text()
    assert "Your key is [key]. The line" in log


def test_messages_of_a_server_cannot_disturb_the_terminal(serve, act):
    server = serve(
        lambda *_: act["status"](400, "a\x1b[2J\nb\u202e\ud800" + "c" * 9999)
    )
    result, _ = ask(server)
    assert result.request_specific
    assert str(result).isprintable() and len(str(result)) <= 300
