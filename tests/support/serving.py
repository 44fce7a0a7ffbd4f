"""A server in a thread, with students that answer at once and need no weights."""

import asyncio
import contextlib
import dataclasses
import http.client
import json
import socket
import threading
import time

import httpx2

from dsbs_jax.api.prediction import Prediction
from dsbs_jax.data.tables import ColumnMap
from dsbs_jax.serving.config import ServerConfig


@dataclasses.dataclass(frozen=True)
class Decoding:
    max_decode_length: int = 8


@dataclasses.dataclass(frozen=True)
class Spec:
    """The fields of `StudentSpec` that the server reads."""

    labels: tuple[str, ...] | None = ("billing", "line", "other")
    label_prefix: str = "predict: "
    explain_prefix: str | None = "explain: "
    single_task: bool = False
    input_length: int = 12
    method: str | None = "step_by_step"
    decoding: Decoding = Decoding()
    input_column: str | None = None
    template: str | None = None

    @property
    def closed_labels(self):
        return None if self.single_task else self.labels

    def columns(self, given):
        return given.with_default_input(self.input_column, self.template)


class Engine:
    name = "jax"


class Words:
    """One token for each word."""

    def encode(self, text):
        return [hash(word) for word in text.split()]


class FakeStudent:
    """Answers as its inputs describe, so that each answer belongs to one input.

    The label of "line: no signal" is "line". Of a free student it is the first word.
    """

    def __init__(self, version=1, **spec):
        self.spec, self.vocabulary, self.engine = Spec(**spec), Words(), Engine()
        self.version = version
        # The inputs of each call, and what a test uses to hold the computation.
        self.calls, self.started = [], threading.Event()
        self.released = threading.Event()
        self.released.set()

    def predict(self, inputs, *, rationales=False):
        self.calls.append([*inputs])
        self.started.set()
        assert self.released.wait(30)
        if any("fail" in text for text in inputs):
            raise RuntimeError(f"cannot compute {inputs}")
        return [self._prediction(text, rationales) for text in inputs]

    def _prediction(self, text, rationales):
        label = text.replace(":", " ").split()[0]
        rationale = None
        if rationales and self.spec.single_task:
            rationale = self._rationale(text)
        if self.spec.closed_labels is None:
            return Prediction(label, -0.25, None, rationale)
        if label not in self.spec.labels:
            label = self.spec.labels[-1]
        count = len(self.spec.labels)
        shares = {name: 0.2 / (count - 1) for name in self.spec.labels}
        shares[label] = 0.8
        return Prediction(label, -1.5, shares, rationale)

    def explain(self, inputs):
        return [self._rationale(text) for text in inputs]

    def _rationale(self, text):
        return f"version {self.version}: {text} has {len(text)} characters"


class Server:
    """A running server.

    Attributes:
        url: Its address.
        service: What its routes share.
        client: A client.
    """

    def __init__(self, url, service):
        self.url, self.service = url, service
        self.client = httpx2.Client(base_url=url, timeout=30)

    def predict(self, given, **fields):
        return self.client.post("/v1/predict", json={"input": given, **fields})

    def chat(self, text, **fields):
        messages = [{"role": "user", "content": text}]
        body = {"model": "tickets", "messages": messages, **fields}
        return self.client.post("/v1/chat/completions", json=body)

    def raw(self, content, **headers):
        headers = {"Content-Type": "application/json", **headers}
        return self.client.post("/v1/predict", content=content, headers=headers)

    def send(self, data):
        """Opens a connection and sends bytes."""
        host, port = self.url.removeprefix("http://").split(":")
        connection = socket.create_connection((host, int(port)), timeout=30)
        connection.sendall(data)
        return connection

    def metric(self, line):
        """Returns the value of a series."""
        for found in self.client.get("/metrics").text.splitlines():
            name, _, value = found.rpartition(" ")
            if name == line:
                return float(value)
        return 0.0


def post(body, path="/v1/predict", length=None):
    """Returns the bytes of a request, whose declared length may be another."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content) if length is None else length}\r\n\r\n"
    )
    return head.encode() + content


def answers(connection):
    """Returns the predictions that a connection receives."""
    with http.client.HTTPResponse(connection) as response:
        response.begin()
        assert response.status == 200
        return json.load(response)["predictions"]


def error(response):
    """Returns the error of a response, which always has the same shape."""
    (key,) = response.json()
    found = response.json()[key]
    assert key == "error"
    assert [*found] == ["message", "type", "param", "code"]
    return found


def until(condition, seconds=30):
    """Waits until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextlib.contextmanager
def running(students, api_key=None, columns=None, loaded=True, **settings):
    """Runs a server of students by name."""
    import uvicorn

    from dsbs_jax.serving import server
    from dsbs_jax.serving.answering import Service
    from dsbs_jax.serving.metrics import Metrics
    from dsbs_jax.serving.models import ModelStore

    config = ServerConfig(**settings)
    metrics = Metrics()
    store = ModelStore([*students], config, metrics, load=students.__getitem__)
    if loaded:
        asyncio.run(store.load())
    service = Service(config, columns or ColumnMap(), store, metrics)
    listener = socket.create_server(("127.0.0.1", 0))

    class Web(uvicorn.Server):
        async def main_loop(self):  # uvicorn's takes longer to notice the end
            while not self.should_exit:
                await asyncio.sleep(0.005)

    web = Web(server.uvicorn_config(service, api_key))
    thread = threading.Thread(target=web.run, args=[[listener]])
    thread.start()
    try:
        yield Server(f"http://127.0.0.1:{listener.getsockname()[1]}", service)
    finally:
        for student in students.values():
            student.released.set()
        web.should_exit = True
        thread.join()
