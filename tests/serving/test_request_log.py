"""Lines of the log: what they have, and what they never have."""

import asyncio
import json
import logging
import sys

import pytest

from dsbs_jax.serving.metrics import Metrics
from dsbs_jax.serving.request_log import JsonFormatter, Observer
from support.serving import running, until


@pytest.fixture
def lines(caplog):
    """Returns the lines of the log so far, without those of the test's client."""
    caplog.set_level(logging.INFO, logger="dsbs_jax")
    formatter = JsonFormatter()
    return lambda: [
        json.loads(formatter.format(record))
        for record in caplog.records
        if record.name.startswith("dsbs_jax")
    ]


def requests_in(lines):
    return [line for line in lines() if line["message"] == "request"]


def test_request_is_one_line_without_its_input(student, lines):
    with running({"tickets": student}, api_key="secret-key") as server:
        headers = {"Authorization": "Bearer secret-key"}
        server.client.headers.update(headers)
        server.predict(["line: secret text", "line"], explain=True)
        server.predict("secret text", model="secret model")
        server.predict("secret text", secret_field=1)
        server.raw(b'{"secret')
        server.client.get("/secret?text=secret")
        server.client.get("/v1/models/secret")
        server.client.headers["Authorization"] = "Bearer wrong-secret"
        server.predict("secret text")
    found = requests_in(lines)
    assert [(line["path"], line["status"]) for line in found] == [
        ("/v1/predict", 200),
        ("/v1/predict", 404),
        ("/v1/predict", 422),
        ("/v1/predict", 400),
        ("other", 404),
        ("/v1/models/{name}", 404),
        ("/v1/predict", 401),
    ]
    first = found[0]
    assert (first["method"], first["model"], first["inputs"]) == ("POST", "tickets", 2)
    assert (first["level"], first["seconds"] >= 0) == ("info", True)
    assert [line.get("error") for line in found[1:]] == [
        "model_not_found",
        "invalid_field",
        "json",
        "unknown_path",
        "model_not_found",
        "invalid_api_key",
    ]
    assert "secret" not in json.dumps(lines())


def test_failure_is_logged_with_its_place_and_without_its_message(server, lines):
    assert server.predict("fail secret").status_code == 500
    (failure,) = [line for line in lines() if "exception" in line]
    types = [link["type"] for link in failure["exception"]]
    assert types == ["ComputeError", "RuntimeError"]
    assert any(" predict" in place for place in failure["exception"][1]["stack"])
    # The line is written when the client already has its response.
    until(lambda: requests_in(lines))
    assert requests_in(lines)[0]["status"] == 500
    assert "secret" not in json.dumps(lines())


@pytest.mark.parametrize("started", [False, True])
def test_request_that_the_end_of_the_server_cuts_off_gets_503(lines, started):
    """If its response has not started; a second one would break the protocol."""
    scope = {"type": "http", "method": "POST", "path": "/v1/predict", "headers": []}
    head = {"type": "http.response.start", "status": 200, "headers": []}
    sent = []

    async def app(scope, receive, send):
        if started:
            await send(head)
        await asyncio.sleep(100)

    async def send(message):
        sent.append(message)

    async def cut_off():
        observer = Observer(app, Metrics(), ["/v1/predict"])
        task = asyncio.create_task(observer(scope, None, send))
        await asyncio.sleep(0)
        task.cancel()
        await task

    asyncio.run(cut_off())
    status = 200 if started else 503
    assert sent[0]["status"] == status
    assert len(sent) == (1 if started else 2)
    (line,) = requests_in(lines)
    assert (line["status"], line["error"]) == (status, "stopping")


def test_inputs_are_logged_if_the_setting_says_so(student, lines):
    with running({"tickets": student}, log_inputs=True) as server:
        server.predict("line: a text")
    assert requests_in(lines)[0]["texts"] == ["line: a text"]


def test_polled_paths_are_counted_and_not_logged(server, lines):
    for path in ("/healthz", "/readyz", "/metrics"):
        assert server.client.get(path).status_code == 200
        assert server.metric(f'dsbs_requests_total{{path="{path}",status="200"}}') > 0
    assert requests_in(lines) == []


def test_line_of_a_library_is_json_too():
    try:
        raise KeyError("secret")
    except KeyError:
        record = logging.LogRecord(
            "lib", logging.ERROR, "f.py", 3, "%s failed", ("it",), sys.exc_info()
        )
    line = JsonFormatter().format(record)
    entry = json.loads(line)
    assert (entry["level"], entry["message"]) == ("error", "it failed")
    assert [link["type"] for link in entry["exception"]] == ["KeyError"]
    assert "secret" not in line
