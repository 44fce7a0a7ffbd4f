"""The process of the server with a trained student: signals, reload and the end."""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys

import httpx2
import openai
import pytest

import dsbs_jax
from dsbs_jax.serving import server
from support.serving import until

# Every test needs a trained student.
pytestmark = pytest.mark.slow

INPUTS = [f"Jar {n}: {1 + n % 9} red, {n % 7} blue marbles." for n in range(40)]


@pytest.fixture(scope="module")
def runs(train_tiny, tmp_path_factory):
    """Two students; the second gives no rationales."""
    folder = tmp_path_factory.mktemp("runs")
    train_tiny(folder / "jars", TRAIN_STEPS=20, EVAL_PERIOD=20)
    train_tiny(folder / "plain", "finetune")
    return folder


class Process:
    """A server process.

    Attributes:
        client: A client.
    """

    def __init__(self, folder, arguments):
        self._log = folder / "log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dsbs_jax", "serve", *map(str, arguments)],
                stdout=subprocess.DEVNULL,
                stderr=log,
                env={**os.environ, "SERVE_KEY": "secret"},
            )
        self.client = None

    def lines(self):
        """Returns the complete lines of the log."""
        return [json.loads(line) for line in self._log.read_text().split("\n")[:-1]]

    def has_logged(self, message):
        return any(line["message"] == message for line in self.lines())

    def listen(self):
        """Waits until the server listens."""
        until(lambda: self.ended() or self.has_logged("listening"), seconds=100)
        assert not self.ended(), self.text()
        port = next(ln["port"] for ln in self.lines() if ln["message"] == "listening")
        self.client = httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=100)

    def wait_until_ready(self):
        self.listen()
        until(lambda: self.client.get("/readyz").status_code == 200, seconds=100)

    def predict(self, given, **fields):
        body = {"input": given, **fields}
        return self.client.post("/v1/predict", json=body)

    def send(self, number):
        self._process.send_signal(number)

    def ended(self):
        return self._process.poll() is not None

    def status(self):
        return self._process.wait(100)

    def text(self):
        return self._log.read_text()

    def kill(self):
        self._process.kill()
        self._process.wait()


@pytest.fixture
def serve(tmp_path):
    """Starts a server process: (*arguments) -> Process."""
    with contextlib.ExitStack() as stack:

        def start(*arguments):
            process = Process(tmp_path, [*arguments, "--port", "0"])
            stack.callback(process.kill)
            return process

        yield start


def test_answers_are_those_of_the_student(runs, serve):
    process = serve(runs / "jars", runs / "plain", "--max_batch_size", "8")
    process.wait_until_ready()
    student = dsbs_jax.Student.load(str(runs / "jars"))
    expected = student.predict(INPUTS, rationales=True)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        responses = pool.map(
            lambda text: process.predict(text, model="jars", explain=True), INPUTS
        )
    answers = [response.json()["predictions"][0] for response in responses]
    for answer, prediction in zip(answers, expected, strict=True):
        assert answer["predicted_label"] == prediction.predicted_label
        assert answer["predicted_rationale"] == prediction.predicted_rationale
        # The rounding depends on the width of the batch.
        expected_shares = pytest.approx(prediction.probabilities, abs=1e-5)
        assert answer["probabilities"] == expected_shares
        expected_score = pytest.approx(prediction.log_probability, abs=1e-5)
        assert answer["log_probability"] == expected_score
    assert process.predict(INPUTS[0], model="plain").status_code == 200
    assert process.predict(INPUTS[0], model="plain", explain=True).status_code == 422

    client = openai.OpenAI(base_url=f"{process.client.base_url}/v1", api_key="unused")
    messages = [{"role": "user", "content": INPUTS[0]}]
    completion = client.chat.completions.create(model="jars", messages=messages)
    assert completion.choices[0].message.content == expected[0].predicted_label
    # Tokens and the end token.
    words = student.vocabulary
    read = len(words.encode(f"predict: {INPUTS[0]}")) + 1
    assert completion.usage.prompt_tokens == min(read, 48)
    written = len(words.encode(expected[0].predicted_label)) + 1
    assert completion.usage.completion_tokens == written

    process.send(signal.SIGTERM)
    assert process.status() == 143
    assert "Jar" not in process.text()


def test_reload_and_its_failure(runs, serve, tmp_path):
    served = tmp_path / "served"
    shutil.copytree(runs / "jars", served)
    process = serve(served)
    process.wait_until_ready()
    assert process.predict("a", explain=True).status_code == 200
    (served / "student.json").write_text("{")
    process.send(signal.SIGHUP)
    until(lambda: process.has_logged("reload failed, the loaded student is kept"))
    assert process.predict("a", explain=True).status_code == 200
    shutil.rmtree(served)
    shutil.copytree(runs / "plain", served)
    process.send(signal.SIGHUP)
    until(lambda: process.predict("a", explain=True).status_code == 422, seconds=100)
    assert process.predict("a").status_code == 200
    process.send(signal.SIGINT)
    assert process.status() == 130


def test_accepted_request_is_answered_after_sigterm(runs, serve):
    # A batch waits for its window, so that the signal arrives before the answer.
    options = ["--batch_window_ms", "1500", "--shutdown_delay", "0.7"]
    process = serve(runs / "plain", *options, "--api_key_variable", "SERVE_KEY")
    process.wait_until_ready()
    assert process.predict("a").status_code == 401
    process.client.headers["Authorization"] = "Bearer secret"
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(process.predict, "a")
        series = 'dsbs_queue_length{model="plain"} 1.0'
        until(lambda: series in process.client.get("/metrics").text)
        process.send(signal.SIGTERM)
        until(lambda: process.has_logged("stopping"))
        assert process.client.get("/readyz").status_code == 503
        assert answer.result().status_code == 200
    assert process.status() == 143
    assert process.lines()[-1]["message"] == "stopped"
    assert "secret" not in process.text()


def test_second_signal_ends_the_server_at_once(runs, serve):
    process = serve(runs / "plain", "--shutdown_delay", "1000")
    process.listen()  # and still loads
    process.send(signal.SIGTERM)
    until(lambda: process.has_logged("stopping"))
    process.send(signal.SIGTERM)
    assert process.status() == 143


def test_signal_while_a_student_loads_ends_the_server(runs, serve):
    process = serve(runs / "plain")
    process.listen()
    assert process.client.get("/readyz").status_code == 503
    process.send(signal.SIGTERM)
    assert process.status() == 143


def test_response_is_not_delayed_until_its_headers_are_acknowledged():
    listener = server._listen("127.0.0.1", 0)
    with listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_student_that_cannot_be_loaded_ends_with_one_line(serve, tmp_path):
    process = serve(pathlib.Path(tmp_path / "none"))
    assert process.status() == 2
    *_, line = process.text().splitlines()
    assert line.startswith("error: ")
    assert "none" in line
    assert "Traceback" not in process.text()


def test_load_with_faulty_clients(runs, tmp_path):
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps({"input": text}) + "\n" for text in INPUTS))
    script = pathlib.Path(__file__).parents[2] / "benchmarks/load_test.py"
    options = [f"--student={runs / 'jars'}", f"--data={data}", "--clients=8"]
    done = subprocess.run(
        [sys.executable, script, *options, "--seconds=3"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    *_, memory, end, last = done.stdout.splitlines()
    assert memory.startswith("memory: ")
    assert "SIGTERM, status 143" in end
    assert last == "0 faults"
