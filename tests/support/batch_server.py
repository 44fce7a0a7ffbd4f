"""OpenAI's files and batches on loopback, with the fixture `batch_server`."""

import email.parser
import email.policy
import http.server
import itertools
import json
import threading
import urllib.parse

import pytest

GOOD = "It is hot. So the answer is yes."


def completion(text=GOOD, usage=(100, 10)):
    """The body of a chat completion."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": text}}
    body = {"choices": [choice]}
    if usage:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    return body


def answered(body):
    return {"response": {"status_code": 200, "request_id": "r", "body": body}}


class BatchServer:
    """Keeps files and batches, and ends a batch at the second question for its state.

    Attributes:
        answer: Takes a line of the request file; returns `response` or `error`.
        files: The content of each file that was not deleted, by id.
        contents: The content of each file, also if it was deleted.
        batches: The batches by id, newest first when they are listed.
        steps: The steps of the API that were requested, in order.
        refuse: By step, the status and message to answer with.
        status: The last status of a batch.
        errors: The errors of a batch that failed.
        change_output: Changes the bytes of an output file.
        direct: Number of requests that were not in a batch.
    """

    def __init__(self, page=100):
        self.answer = lambda line: answered(completion())
        self.files, self.batches, self.steps, self.keys = {}, {}, [], []
        self.contents = {}
        self.refuse, self.status, self.errors = {}, "completed", None
        self.change_output = lambda content: content
        self.page, self.direct, self.questions_before_end = page, 0, 1
        self.block_at, self.reached = None, threading.Event()
        self.unblocked = threading.Event()
        self._numbers, self._lock = itertools.count(1), threading.Lock()
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                server.handle(self, "GET", b"")

            def do_POST(self):
                length = int(self.headers["Content-Length"])
                server.handle(self, "POST", self.rfile.read(length))

            def do_DELETE(self):
                server.handle(self, "DELETE", b"")

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self):
        self.unblocked.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def block(self, step, when):
        """Blocks the next request of a step "before" or "after" its effect."""
        self.reached.clear()
        self.unblocked.clear()
        self.block_at = (step, when)

    def unblock(self):
        self.block_at = None
        self.unblocked.set()

    def handle(self, handler, method, content):
        self.keys.append(handler.headers.get("Authorization"))
        url = urllib.parse.urlsplit(handler.path)
        parts = url.path.removeprefix("/v1/").split("/")
        step = self._step(method, parts)
        self._maybe_block(step, "before")
        with self._lock:
            self.steps.append(step)
            if step in self.refuse:
                status, message = self.refuse[step]
                body = json.dumps({"error": {"message": message}}).encode()
            else:
                query = dict(urllib.parse.parse_qsl(url.query))
                status, body = self._act(step, parts, query, handler, content)
        self._maybe_block(step, "after")
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def _maybe_block(self, step, when):
        if self.block_at == (step, when):
            self.reached.set()
            self.unblocked.wait(60)

    def _step(self, method, parts):
        if parts[0] == "files":
            if parts[-1] == "content":
                return "content"
            if method == "DELETE":
                return "delete"
            return "upload" if method == "POST" else "file"
        if parts[0] == "batches":
            if method == "POST":
                return "create"
            return "retrieve" if len(parts) > 1 else "list"
        return "direct"

    def _act(self, step, parts, query, handler, content):
        if step == "direct":
            self.direct += 1
            return 200, json.dumps(completion()).encode()
        if step in ("content", "file", "delete") and parts[1] not in self.files:
            return 404, b'{"error": {"message": "no such file"}}'
        if step == "content":
            return 200, self.files[parts[1]]
        if step == "list":
            value = self._list(query)
        elif step == "upload":
            value = self._upload(handler.headers["Content-Type"], content)
        elif step == "file":
            value = {"id": parts[1], "object": "file"}
        elif step == "delete":
            del self.files[parts[1]]
            value = {"id": parts[1], "object": "file", "deleted": True}
        elif step == "create":
            value = self._create(json.loads(content))
        else:
            if parts[1] not in self.batches:
                return 404, b'{"error": {"message": "no such batch"}}'
            value = self._retrieve(parts[1])
        return 200, json.dumps(value).encode()

    def _list(self, query):
        newest_first = list(reversed(self.batches.values()))
        ids = [batch["id"] for batch in newest_first]
        start = ids.index(query["after"]) + 1 if "after" in query else 0
        limit = min(int(query.get("limit", 20)), self.page)
        data = newest_first[start : start + limit]
        return {
            "object": "list",
            "data": data,
            "last_id": data[-1]["id"] if data else None,
            "has_more": start + limit < len(ids),
        }

    def _upload(self, content_type, content):
        head = f"Content-Type: {content_type}\r\n\r\n".encode()
        parser = email.parser.BytesParser(policy=email.policy.HTTP)
        parts = {
            part.get_param("name", header="content-disposition"): part
            for part in parser.parsebytes(head + content).iter_parts()
        }
        assert parts["purpose"].get_content().strip() == "batch"
        assert parts["file"].get_filename().endswith(".jsonl")
        return self._add_file(parts["file"].get_payload(decode=True))

    def _add_file(self, content):
        file_id = f"file-{next(self._numbers)}"
        self.files[file_id] = self.contents[file_id] = content
        return {"id": file_id, "object": "file", "bytes": len(content)}

    def _create(self, fields):
        assert fields["completion_window"] == "24h"
        lines = self.lines(fields["input_file_id"])
        assert all(line["url"] == fields["endpoint"] for line in lines)
        batch = {
            "id": f"batch_{next(self._numbers)}",
            "object": "batch",
            "status": "validating",
            "input_file_id": fields["input_file_id"],
            "output_file_id": None,
            "error_file_id": None,
            "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
            "metadata": fields["metadata"],
            "errors": None,
            "questions": 0,
        }
        self.batches[batch["id"]] = batch
        return batch

    def _retrieve(self, batch_id):
        batch = self.batches[batch_id]
        batch["questions"] += 1
        if batch["status"] == "validating":
            batch["status"] = "in_progress"
        elif (
            batch["status"] == "in_progress"
            and batch["questions"] > self.questions_before_end
        ):
            self._end(batch)
        return batch

    def _end(self, batch):
        batch["status"] = self.status
        if self.status == "failed":
            batch["errors"] = {"object": "list", "data": self.errors}
            return
        outputs, errors = [], []
        for number, line in enumerate(self.lines(batch["input_file_id"])):
            result = {"id": f"r{number}", "custom_id": line["custom_id"]}
            result |= {"response": None, "error": None} | self.answer(line)
            response = result["response"] or {}
            good = response.get("status_code") == 200
            (outputs if good else errors).append(result)
        # The order of an output file is any.
        for name, rows in (("output", outputs[::-1]), ("error", errors)):
            if rows:
                content = "".join(json.dumps(row) + "\n" for row in rows).encode()
                content = self.change_output(content) if name == "output" else content
                batch[f"{name}_file_id"] = self._add_file(content)["id"]
        batch["request_counts"] |= {"completed": len(outputs), "failed": len(errors)}

    def lines(self, file_id):
        """The lines of a file."""
        return [json.loads(line) for line in self.contents[file_id].splitlines()]

    def requests(self):
        """The text of each request of all batches, which are all paid for."""
        return [
            line["body"]["messages"][-1]["content"]
            for batch in self.batches.values()
            for line in self.lines(batch["input_file_id"])
        ]


@pytest.fixture
def batch_server():
    """Starts a server of the Batch API; it stops after the test."""
    server = BatchServer()
    yield server
    server.close()
