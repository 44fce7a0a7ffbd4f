"""Serves a fake teacher on the loopback interface with the replies of a file.

As a program, `python fake_teacher.py replies.json url_file` writes its address to
`url_file` and serves until the process is terminated.

`replies.json` is a list. The server uses the first entry whose `when` text is in the
last question (an entry without `when` matches every question). Fields of an entry:

    text           the reply's content
    finish_reason  default "stop"; null omits the field
    message        the complete message, instead of one built from `text`
    body           the complete body (any JSON), instead of one built from the fields
    raw            the complete body as text, which may be invalid JSON
    status         default 200
    times          how often this entry is used before the next matching entry
"""

import contextlib
import http.server
import json
import pathlib
import sys
import threading


class Server:
    def __init__(self, entries):
        self.entries, self.asked, self.lock = entries, [], threading.Lock()
        self.used = {}
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                body = json.dumps({"object": "list", "data": [{"id": "fake"}]}).encode()
                self.answer(200, body)

            def do_POST(self):
                content = self.rfile.read(int(self.headers["Content-Length"]))
                try:
                    status, body = outer.reply(self.path, json.loads(content))
                except Exception as error:  # an error in the case's own files
                    status = 500
                    body = json.dumps({"error": {"message": repr(error)}}).encode()
                self.answer(status, body)

            def answer(self, status, body):
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def reply(self, path, body):
        chat = path.endswith("/chat/completions")
        asked = body["messages"][-1]["content"] if chat else body["prompt"]
        if not isinstance(asked, str):
            asked = json.dumps(asked)
        asked = asked if chat else asked[-2000:]
        with self.lock:
            self.asked.append(body)
            entry = self.pick(asked)
        if "raw" in entry:
            return entry.get("status", 200), entry["raw"].encode()
        if "body" in entry:
            return entry.get("status", 200), json.dumps(entry["body"]).encode()
        choice = {"index": 0}
        if entry.get("finish_reason", "stop") is not None:
            choice["finish_reason"] = entry.get("finish_reason", "stop")
        if chat:
            made = {"role": "assistant", "content": entry.get("text")}
            choice["message"] = entry.get("message", made)
        else:
            choice["text"] = entry.get("text")
        whole = {
            "id": "x",
            "object": "chat.completion" if chat else "text_completion",
            "created": 0,
            "model": "fake",
            "choices": [choice],
            "usage": {"prompt_tokens": 50, "completion_tokens": 20, "total_tokens": 70},
        }
        return entry.get("status", 200), json.dumps(whole).encode()

    def pick(self, asked):
        for number, entry in enumerate(self.entries):
            if entry.get("when", "") not in asked:
                continue
            used = self.used.get(number, 0)
            if used >= entry.get("times", 1 << 60):
                continue
            self.used[number] = used + 1
            return entry
        raise LookupError(f"no entry matches {asked[-80:]!r}")


def load(path):
    return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))


if __name__ == "__main__":
    server = Server(load(sys.argv[1]))
    pathlib.Path(sys.argv[2]).write_text(server.url)
    threading.Event().wait()
