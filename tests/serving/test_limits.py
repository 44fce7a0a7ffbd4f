"""Body sizes, keys, headers of browsers, and clients that do not behave."""

import json
import socket
import time

import pytest

from support.serving import error, post, running, until

LARGE = json.dumps({"input": "a" * 10_000_000}).encode()


def chunks():
    for start in range(0, len(LARGE), 100_000):
        yield LARGE[start : start + 100_000]


@pytest.mark.parametrize("content", [LARGE, chunks], ids=["declared", "chunked"])
def test_large_body_is_refused(server, student, content):
    content = content if isinstance(content, bytes) else content()
    response = server.raw(content)
    assert response.status_code == 413
    assert "at most 2,000,000 bytes (max_body_bytes)" in error(response)["message"]
    assert student.calls == []
    assert server.predict("line").status_code == 200


def test_body_of_the_largest_size_is_accepted(student):
    body = json.dumps({"input": "line"}).encode()
    with running({"tickets": student}, max_body_bytes=len(body)) as server:
        assert server.raw(body).status_code == 200
        assert server.raw(iter([body])).status_code == 200
        assert server.raw(body + b" ").status_code == 413
        assert server.raw(iter([body, b" "])).status_code == 413


def test_limit_may_be_larger_than_what_is_dropped(student):
    body = json.dumps({"input": "line" + " " * 70_000_000}).encode()
    limits = {"max_body_bytes": 80_000_000, "max_characters": 80_000_000}
    with running({"tickets": student}, **limits) as server:
        assert server.raw(body).status_code == 200


@pytest.mark.parametrize("length", [10**9, 10**15])
def test_huge_declared_length_is_refused_at_once(server, length):
    connection = server.send(post(b"{", length=length))
    assert connection.recv(100).startswith(b"HTTP/1.1 413")
    connection.close()


def test_client_that_expects_an_answer_first_sends_no_large_body(server):
    request = post(b"", length=3_000_000)
    head = request.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
    connection = server.send(head)
    assert connection.recv(100).startswith(b"HTTP/1.1 413")
    connection.close()


def test_body_that_stops_arriving_is_given_up(student):
    with running({"tickets": student}, request_timeout=0.2) as server:
        connection = server.send(post(b'{"input": "li', length=100))
        # The headers and the body may arrive separately; the server closes then.
        content = b"".join(iter(lambda: connection.recv(10_000), b""))
        assert content.startswith(b"HTTP/1.1 408")
        assert b"did not arrive within 0.2 s (request_timeout)" in content
        connection.close()
        assert server.predict("line").status_code == 200


def test_client_that_leaves_within_its_body_is_dropped(server, student):
    server.send(post(b'{"input": "li', length=100)).close()
    series = 'dsbs_requests_total{path="/v1/predict",status="499"}'
    until(lambda: server.metric(series) == 1)
    assert student.calls == []


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"nonsense\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /v1/predict HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n{}",
        b"POST /v1/predict HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n{}",
        b"POST /v1/predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x00" * 10_000,
    ],
    ids=range(7),
)
def test_garbage_ends_with_400_and_the_server_continues(server, data):
    connection = server.send(data)
    received = connection.recv(10_000)
    assert received.startswith(b"HTTP/1.1 400") or received == b""
    connection.close()
    assert server.predict("line").status_code == 200


def test_other_content_types_are_refused(server):
    for found in ("text/plain", "application/x-www-form-urlencoded", ""):
        response = server.raw(b'{"input": "line"}', **{"Content-Type": found})
        assert response.status_code == 415
        assert "expected application/json" in error(response)["message"]
    response = server.raw(
        b'{"input": "line"}', **{"Content-Type": "Application/JSON; charset=utf-8"}
    )
    assert response.status_code == 200


@pytest.fixture
def protected(student):
    with running({"tickets": student}, api_key="sec-ret ü") as server:
        yield server


@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/openapi.json", "/none"])
def test_key_is_needed(protected, path):
    response = protected.client.get(path)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert error(response)["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ("Bearer sec-ret ü", 200),
        ("bearer sec-ret ü", 200),
        ("Bearer sec-ret", 401),
        ("Bearer sec-ret üx", 401),
        ("Basic sec-ret ü", 401),
        ("Bearer", 401),
        ("sec-ret ü", 401),
        ("", 401),
        ("Bearer \xff", 401),
    ],
)
def test_only_the_key_is_accepted(protected, value, status):
    encoding = "latin-1" if value.endswith("\xff") else "utf-8"
    headers = {"Authorization": value.encode(encoding)}
    response = protected.client.get("/v1/models", headers=headers)
    assert response.status_code == status


@pytest.mark.parametrize("path", ["/", "/page.js", "/page.css", "/healthz", "/readyz"])
def test_page_and_health_need_no_key(protected, path):
    assert protected.client.get(path).status_code == 200


def test_key_is_checked_before_the_body(protected):
    assert protected.raw(LARGE).status_code in (401, 413)
    assert protected.raw(b"{").status_code == 401


def test_browsers_may_load_nothing_else(server):
    for path in ("/", "/page.js", "/v1/models", "/none"):
        headers = server.client.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'")
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert "server" not in headers


def preflight(server, origin):
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    return server.client.options("/v1/predict", headers=headers)


def test_other_web_pages_may_not_use_the_server(server):
    response = preflight(server, "http://example.org")
    assert response.status_code == 405
    assert "access-control-allow-origin" not in response.headers


def test_origins_of_the_setting_may_use_the_server(student):
    origin = "http://example.org"
    with running({"a": student}, cors_origin=[origin], api_key="k") as server:
        response = preflight(server, origin)
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == origin
        # The page of the other origin can also read why a request failed.
        response = server.client.get("/v1/models", headers={"Origin": origin})
        assert response.status_code == 401
        assert response.headers["access-control-allow-origin"] == origin
        response = preflight(server, "http://evil.example")
        assert "access-control-allow-origin" not in response.headers


def test_many_connections_that_send_nothing_do_not_block(server):
    host, port = server.url.removeprefix("http://").split(":")
    held = [socket.create_connection((host, int(port))) for _ in range(100)]
    start = time.monotonic()
    assert server.predict("line").status_code == 200
    assert time.monotonic() - start < 20
    for connection in held:
        connection.close()
