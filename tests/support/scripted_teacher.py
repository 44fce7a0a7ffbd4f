"""A scripted teacher on loopback, with the fixtures `serve` and `act`."""

import contextlib
import http.server
import json
import threading
import time

import pytest


class Server:
    """Answers requests as a script defines, and records them.

    The script takes the input of a request and the number of earlier requests for it,
    and returns a completion, or an action, which is a function of the handler.
    """

    def __init__(self, script):
        self.script, self.bodies, self.headers, self.closing = script, [], [], False
        self._lock, self._request_counts = threading.Lock(), {}
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                content = self.rfile.read(int(self.headers["Content-Length"]))
                action = outer.take(self.path, json.loads(content), self.headers)
                # A client that is killed or reaches its timeout closes the connection.
                with contextlib.suppress(ConnectionError):
                    action(self)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        # Do not print the traceback of a connection whose client was killed.
        self._server.handle_error = lambda *_: None
        self._server.daemon_threads = True
        self._server.socket.listen(64)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def take(self, path, body, headers):
        headers = {name.lower(): value for name, value in headers.items()}
        style = "chat" if path.endswith("/chat/completions") else "completion"
        text = body["messages"][-1]["content"] if style == "chat" else body["prompt"]
        question = text.rpartition("Q: ")[2].removesuffix("\nA:")
        with self._lock:
            self.bodies.append(body)
            self.headers.append(headers)
            earlier = self._request_counts.get(question, 0)
            self._request_counts[question] = earlier + 1
        action = self.script(question, earlier)
        return action if callable(action) else reply(action, style=style)

    @property
    def request_counts(self):
        """Number of requests for each input."""
        return dict(self._request_counts)

    def close(self):
        self.closing = True
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def send(handler, status, content, headers=(), length=None):
    handler.send_response(status)
    fields = {"Content-Type": "application/json", **dict(headers)}
    fields["Content-Length"] = str(len(content) if length is None else length)
    for name, value in fields.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(content)
    handler.wfile.flush()


def message(text, finish_reason="stop", style="chat", usage=(100, 10)):
    choice = {"index": 0, "finish_reason": finish_reason}
    choice |= {"message": {"content": text}} if style == "chat" else {"text": text}
    body = {"choices": [choice]}
    if usage:
        read, written = usage
        body["usage"] = {"prompt_tokens": read, "completion_tokens": written}
    return json.dumps(body).encode()


def reply(text, **fields):
    return lambda handler: send(handler, 200, message(text, **fields))


def raw(content, code=200, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: send(handler, code, content, headers)


def status(code, text="no", **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps({"error": {"message": text}}).encode()
    return lambda handler: send(handler, code, body, headers)


def cut_off(code=200):
    def action(handler):
        content = message("It is cut. So the answer is yes.")
        send(handler, code, content[:-20], length=len(content))
        hang_up(handler)

    return action


def hang_up(handler):
    handler.close_connection = True
    handler.connection.close()


def hang(handler):
    time.sleep(1.5)
    handler.close_connection = True


def drip(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(30):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)
    handler.close_connection = True


def endless(code=200):
    def action(handler):
        handler.send_response(code)
        handler.send_header("Content-Length", str(1 << 40))
        handler.end_headers()
        while True:
            handler.wfile.write(b" " * (1 << 20))

    return action


ACTIONS = {
    "reply": reply,
    "raw": raw,
    "status": status,
    "cut_off": cut_off,
    "hang_up": hang_up,
    "hang": hang,
    "drip": drip,
    "endless": endless,
    "message": message,
}


@pytest.fixture(scope="session")
def act():
    """The actions of a script, by name."""
    return ACTIONS


@pytest.fixture
def serve():
    """Starts servers with a script; they stop after the test."""
    servers = []

    def start(script):
        servers.append(Server(script))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
