"""Loads a server of `dsbs-jax serve` and checks each of its answers.

    python benchmarks/load_test.py --student=runs/tickets --data=tickets.jsonl
    python benchmarks/load_test.py --student=runs/tickets --data=tickets.jsonl \
      --clients=8 --seconds=5

Starts a server process on loopback. Each client sends one request after the other, with
one to four random rows of the data, and compares each answer with that of the student
in this process. There are three phases:

1. Load: every request is answered, and the server counts as many requests and inputs as
   the clients sent.
2. Faults: in addition, clients disconnect, send half a body, garbage, 10 MB, invalid
   UTF-8 and deeply nested JSON. The other clients' answers remain right.
3. End: SIGTERM under load. As many requests are answered with status 200 as the
   server's log has; the server ends with status 143.

Prints requests per second, percentiles of the time to answer in milliseconds, and the
server's memory. The exit status is 1 if a check fails.
"""

import argparse
import collections
import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

# The rounding of probabilities depends on the other rows of a batch.
TOLERANCE = 1e-4
LARGEST_REQUEST = 4
FAULTY_CLIENTS = 4
JSON = {"Content-Type": "application/json"}


def parse_options() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--student", required=True, help="a run folder or an exported student")
    add("--data", required=True, help="rows with inputs, in any format")
    add("--rows", type=int, default=200, help="rows of the data that are used")
    add("--clients", type=int, default=64, help="clients that send requests")
    add("--seconds", type=float, default=60, help="time of each of the first phases")
    add("--options", default="", help="further options of the server")
    return parser.parse_args()


@dataclasses.dataclass(frozen=True)
class Expected:
    """An input and the student's answer to it."""

    text: str
    label: str
    probabilities: dict[str, float] | None

    def is_matched_by(self, answer: dict[str, Any]) -> bool:
        """Whether an answer of the server is that of the student."""
        if self.probabilities is None:
            return answer["predicted_label"] == self.label
        found = answer["probabilities"]
        near = found.keys() == self.probabilities.keys() and all(
            abs(found[label] - share) < TOLERANCE
            for label, share in self.probabilities.items()
        )
        return near and found[answer["predicted_label"]] == max(found.values())


@dataclasses.dataclass
class Counts:
    """What the clients of one phase have seen.

    Attributes:
        seconds: Time to answer of each request with status 200.
        inputs: Inputs of these requests.
        refused: Connections that the server refused or closed without an answer.
        statuses: Number of responses of faulty requests by kind and status.
        faults: Descriptions of what must not happen.
    """

    seconds: list[float] = dataclasses.field(default_factory=list)
    inputs: int = 0
    refused: int = 0
    statuses: collections.Counter = dataclasses.field(
        default_factory=collections.Counter
    )
    faults: list[str] = dataclasses.field(default_factory=list)
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)


class Server:
    """A server process with its log.

    Attributes:
        port: The port that it listens on.
    """

    def __init__(self, student: str, options: Sequence[str], log: pathlib.Path) -> None:
        """Starts the process."""
        self._log = log
        command = [sys.executable, "-m", "dsbs_jax", "serve", student, "--port=0"]
        with log.open("wb") as file:
            self.process = subprocess.Popen([*command, *options], stderr=file)
        self.port = 0

    def wait(self) -> None:
        """Waits until the student is loaded."""
        while self.port == 0:
            self._check()
            listening = [line for line in self.log() if line["message"] == "listening"]
            self.port = listening[0]["port"] if listening else 0
        while self.get("/readyz")[0] != 200:
            self._check()

    def _check(self) -> None:
        if self.process.poll() is not None:
            sys.exit(f"the server did not start:\n{self._log.read_text()}")
        time.sleep(0.1)

    def log(self) -> list[dict[str, Any]]:
        """Returns the complete lines of the log."""
        return [json.loads(line) for line in self._log.read_text().split("\n")[:-1]]

    def get(self, path: str) -> tuple[int, str]:
        """Returns the status and the text of a path."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()

    def metric(self, pattern: str) -> float:
        """Returns the sum of the series whose names match."""
        values = re.findall(rf"^{pattern} (\S+)$", self.get("/metrics")[1], re.M)
        return sum(map(float, values))

    def megabytes(self) -> float:
        """Returns the resident memory."""
        return self.metric("process_resident_memory_bytes") / 1e6


# Clients.


def send_requests(
    server: Server, expected: Sequence[Expected], counts: Counts, seed: int, end: Any
) -> None:
    """Sends requests until `end` is set or the server ends."""
    source = random.Random(seed)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=100)
    with contextlib.closing(connection):
        while not end.is_set():
            chosen = source.choices(expected, k=source.randint(1, LARGEST_REQUEST))
            start = time.perf_counter()
            try:
                status, content = post(connection, [row.text for row in chosen])
            except (OSError, http.client.HTTPException):
                with counts.lock:
                    counts.refused += 1
                return
            seconds = time.perf_counter() - start
            with counts.lock:
                check(chosen, status, content, seconds, counts)


def post(connection: http.client.HTTPConnection, given: Any) -> tuple[int, bytes]:
    """Returns the status and the content of the response to inputs."""
    connection.request("POST", "/v1/predict", json.dumps({"input": given}), JSON)
    response = connection.getresponse()
    return response.status, response.read()


def check(
    chosen: Sequence[Expected],
    status: int,
    content: bytes,
    seconds: float,
    counts: Counts,
) -> None:
    """Counts a response, and compares its answers with the student's."""
    if status != 200:
        counts.faults.append(f"status {status}: {content[:200]!r}")
        return
    answers = json.loads(content)["predictions"]
    pairs = zip(chosen, answers, strict=False)
    if len(answers) != len(chosen) or not all(e.is_matched_by(a) for e, a in pairs):
        counts.faults.append(f"answers to other inputs: {answers}")
    counts.seconds.append(seconds)
    counts.inputs += len(chosen)


def request_bytes(content: bytes, length: int | None = None) -> bytes:
    """Returns a request, whose declared length may be another."""
    size = len(content) if length is None else length
    head = "POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    kind = f"Content-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
    return (head + kind).encode() + content


# The bytes of faulty requests, and the status that each gets; of 0, the client does not
# wait for the response.
FAULTS: dict[str, tuple[Callable[[bytes], bytes], int]] = {
    "disconnects": (request_bytes, 0),
    "half a body": (lambda body: request_bytes(body[: len(body) // 2], len(body)), 0),
    "garbage": (lambda body: b"\x16\x03\x01nonsense\r\n\r\n", 400),
    "10 MB": (lambda body: request_bytes(b'"' + b"a" * 10_000_000 + b'"'), 413),
    "invalid UTF-8": (lambda body: request_bytes(b'{"input": "\xff"}'), 400),
    "nested JSON": (lambda body: request_bytes(b'{"input": ' + b"[" * 100_000), 400),
    "blank input": (lambda body: request_bytes(b'{"input": " "}'), 422),
    "huge number": (lambda body: request_bytes(b'{"input": ' + b"9" * 9_999), 400),
}


def send_faults(
    server: Server, expected: Sequence[Expected], counts: Counts, seed: int, end: Any
) -> None:
    """Sends faulty requests until `end` is set."""
    source = random.Random(seed)
    while not end.is_set():
        kind, (make, status) = source.choice([*FAULTS.items()])
        body = json.dumps({"input": source.choice(expected).text}).encode()
        try:
            found = send_bytes(server, make(body), waits=status != 0)
        except OSError as error:
            found = -1
            with counts.lock:
                counts.faults.append(f"{kind}: {error}")
        with counts.lock:
            counts.statuses[kind, found] += 1
            if found not in (status, -1):
                counts.faults.append(f"{kind}: status {found}, expected {status}")
        time.sleep(0.02)


def send_bytes(server: Server, data: bytes, waits: bool) -> int:
    """Sends bytes and returns the status of the response, or 0 without waiting."""
    address = ("127.0.0.1", server.port)
    with socket.create_connection(address, timeout=60) as connection:
        connection.sendall(data)
        if not waits:
            time.sleep(random.uniform(0, 0.05))
            return 0
        return int(connection.recv(12).split()[1])


# Phases.


@contextlib.contextmanager
def load(
    server: Server, expected: Sequence[Expected], clients: int, faulty: int = 0
) -> Iterator[Counts]:
    """Sends requests from many clients during a block."""
    counts, end = Counts(), threading.Event()
    work = [send_requests] * clients + [send_faults] * faulty
    threads = [
        threading.Thread(target=send, args=[server, expected, counts, seed, end])
        for seed, send in enumerate(work)
    ]
    for thread in threads:
        thread.start()
    try:
        yield counts
    finally:
        end.set()
        for thread in threads:
            thread.join()


def measure_load(
    server: Server, expected: Sequence[Expected], options: argparse.Namespace
) -> list[str]:
    """Runs the phase without faults, and returns what is wrong."""
    requests = r'dsbs_requests_total\{path="/v1/predict",status="200"\}'
    inputs = r"dsbs_batch_size_sum\{.*\}"
    before = server.metric(requests), server.metric(inputs)
    with load(server, expected, options.clients) as counts:
        time.sleep(options.seconds)
    show("load", counts, options.seconds)
    found = server.metric(requests) - before[0], server.metric(inputs) - before[1]
    sent = len(counts.seconds), counts.inputs
    if counts.refused:
        counts.faults.append(f"{counts.refused} connections were closed")
    if found != sent:
        counts.faults.append(f"the server counts {found} requests and inputs of {sent}")
    return counts.faults


def measure_faults(
    server: Server, expected: Sequence[Expected], options: argparse.Namespace
) -> list[str]:
    """Runs the phase with faulty clients, and returns what is wrong."""
    with load(server, expected, options.clients, FAULTY_CLIENTS) as counts:
        time.sleep(options.seconds)
    show("faults", counts, options.seconds)
    for (kind, status), number in sorted(counts.statuses.items()):
        print(f"  {kind}: {number} times, status {status or 'not awaited'}")
    if counts.refused:
        counts.faults.append(f"{counts.refused} connections were closed")
    return counts.faults


def measure_end(
    server: Server, expected: Sequence[Expected], options: argparse.Namespace
) -> list[str]:
    """Ends the server under load, and returns what is wrong."""
    before = answered(server)
    with load(server, expected, options.clients) as counts:
        time.sleep(min(options.seconds, 2))
        server.process.send_signal(signal.SIGTERM)
        start = time.monotonic()
        status = server.process.wait(100)
        seconds = time.monotonic() - start
    found, received = answered(server) - before, len(counts.seconds)
    print(
        f"end: SIGTERM, status {status} after {seconds:.1f} s, {received} requests "
        f"answered, {found} in the server's log"
    )
    if status != 128 + signal.SIGTERM:
        counts.faults.append(f"exit status {status}")
    if found != received:
        counts.faults.append(f"{found} answers in the log, {received} received")
    return counts.faults


def answered(server: Server) -> int:
    """Returns the number of answers in the log."""
    found = [line for line in server.log() if line["message"] == "request"]
    return sum(n["path"] == "/v1/predict" and n["status"] == 200 for n in found)


def show(phase: str, counts: Counts, seconds: float) -> None:
    """Prints the numbers of a phase."""
    ordered = sorted(counts.seconds) or [0.0]
    p50, p95, p99 = (
        1_000 * ordered[min(int(share * len(ordered)), len(ordered) - 1)]
        for share in (0.50, 0.95, 0.99)
    )
    print(
        f"{phase}: {len(counts.seconds):,} requests with {counts.inputs:,} inputs, "
        f"{len(counts.seconds) / seconds:.1f} requests/s, p50 {p50:.0f} ms, p95 "
        f"{p95:.0f} ms, p99 {p99:.0f} ms"
    )


def answers_of(options: argparse.Namespace) -> list[Expected]:
    """Answers the rows with the student in this process."""
    from dsbs_jax import tensorflow_import

    tensorflow_import.import_quietly()
    import dsbs_jax
    from dsbs_jax.data import tables

    rows = tables.read_inputs(options.data)[: options.rows]
    texts = [row["input"] for row in rows]
    predictions = dsbs_jax.Student.load(options.student).predict(texts)
    return [
        Expected(text, prediction.predicted_label, prediction.probabilities)
        for text, prediction in zip(texts, predictions, strict=True)
    ]


def main(options: argparse.Namespace) -> int:
    """Runs all phases and returns the exit status."""
    expected = answers_of(options)
    with tempfile.TemporaryDirectory() as folder:
        log = pathlib.Path(folder) / "log"
        server = Server(options.student, options.options.split(), log)
        try:
            server.wait()
            # Compiles the programs of all lengths.
            with load(server, expected, options.clients):
                time.sleep(min(options.seconds, 10))
            start = server.megabytes()
            faults = measure_load(server, expected, options)
            faults += measure_faults(server, expected, options)
            print(f"memory: {start:.0f} MB before, {server.megabytes():.0f} MB after")
            faults += measure_end(server, expected, options)
        finally:
            server.process.kill()
    for fault in faults[:20]:
        print(f"fault: {fault}", file=sys.stderr)
    print(f"{len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    sys.exit(main(parse_options()))
