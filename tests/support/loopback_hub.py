"""The Hugging Face hub on loopback: what its client needs to upload and download."""

import base64
import contextlib
import hashlib
import http.server
import json
import re
import threading
from urllib.parse import urlsplit

from huggingface_hub import constants

TOKEN = "hf_loopback"
COMMIT = "0123456789" * 4


def use(monkeypatch, url):
    """Makes the client of this process use a hub, without Xet."""
    # The client reads these variables when it is imported.
    template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)


class Hub:
    """Model repositories in memory.

    Attributes:
        url: The endpoint (HF_ENDPOINT).
        repositories: Content of each file by name, by repository.
        private: Whether each repository is private.
        uploads: Sizes of the files that were uploaded as LFS objects, by digest.
        refusals: Status and message with which paths are refused, by a pattern.
        large: Endings of the names of files that become LFS objects.
    """

    large = (".safetensors", ".model")

    def __init__(self):
        self.repositories, self.private, self.uploads = {}, {}, {}
        self.refusals, self._objects, self._lock = {}, {}, threading.Lock()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                size = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(size)
                with contextlib.suppress(ConnectionError):
                    outer._answer(self, self.command, urlsplit(self.path).path, body)

            do_GET = do_HEAD = do_POST = do_PUT = answer

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,)).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler, method, path, body):
        for pattern, (status, message) in self.refusals.items():
            if re.search(pattern, path):
                return send_json(handler, {"error": message}, status)
        # The store of LFS objects has addresses that are signed instead of a token.
        authorized = handler.headers.get("Authorization") == f"Bearer {TOKEN}"
        if not authorized and not path.startswith("/objects/"):
            return send_json(handler, {"error": "Invalid username or password."}, 401)
        with self._lock:
            for route_method, pattern, route in ROUTES:
                match = re.fullmatch(pattern, path)
                if match and method in route_method:
                    return route(self, handler, body, *match.groups())
        return send_json(handler, {"error": f"no route {method} {path}"}, 404)

    def create(self, handler, body):
        fields = json.loads(body)
        name = f"{fields['organization']}/{fields['name']}"
        url = f"{self.url}/{name}"
        if name in self.repositories:
            error = "You already created this model repo"
            return send_json(handler, {"error": error, "url": url}, 409)
        self.repositories[name] = {".gitattributes": b""}
        private = fields.get("visibility") == "private" or fields.get("private", False)
        self.private[name] = private
        return send_json(handler, {"url": url})

    def validate_card(self, handler, body):
        assert json.loads(body)["content"].startswith("---\n")
        return send_json(handler, {"errors": [], "warnings": []})

    def preupload(self, handler, body, name):
        answers = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(self.large) else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(body)["files"]
        ]
        return send_json(handler, {"files": answers})

    def batch(self, handler, body, name):
        objects = [
            {
                **entry,
                "actions": {"upload": {"href": f"{self.url}/objects/{entry['oid']}"}},
            }
            for entry in json.loads(body)["objects"]
        ]
        return send_json(handler, {"transfer": "basic", "objects": objects})

    def store(self, handler, body, digest):
        assert hashlib.sha256(body).hexdigest() == digest
        self._objects[digest] = body
        self.uploads[digest] = len(body)
        return send_json(handler, {})

    def commit(self, handler, body, name):
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                content = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                content = self._objects[value["oid"]]
            else:
                assert item["key"] == "header"
                continue
            self.repositories[name][value["path"]] = content
        url = f"{self.url}/{name}/commit/{COMMIT}"
        return send_json(handler, {"commitUrl": url, "commitOid": COMMIT})

    def list_files(self, handler, body, name):
        if name not in self.repositories:
            return send_json(handler, {"error": "Repository not found"}, 404)
        files = [
            {"type": "file", "path": path, "size": len(content), "oid": digest(content)}
            for path, content in self.repositories[name].items()
        ]
        return send_json(handler, files)

    def describe(self, handler, body, name):
        if name not in self.repositories:
            return send_json(handler, {"error": "Repository not found"}, 404)
        siblings = [{"rfilename": path} for path in self.repositories[name]]
        return send_json(handler, {"id": name, "sha": COMMIT, "siblings": siblings})

    def download(self, handler, body, name, path):
        content = self.repositories.get(name, {}).get(path)
        if content is None:
            return send(handler, b"", 404, {"X-Error-Code": "EntryNotFound"})
        headers = {"ETag": f'"{digest(content)}"', "X-Repo-Commit": COMMIT}
        return send(handler, content, 200, headers)


_NAME = r"([\w.-]+/[\w.-]+)"
ROUTES = (
    ("POST", "/api/repos/create", Hub.create),
    ("POST", "/api/validate-yaml", Hub.validate_card),
    ("POST", f"/api/models/{_NAME}/preupload/main", Hub.preupload),
    ("POST", f"/{_NAME}[.]git/info/lfs/objects/batch", Hub.batch),
    ("PUT", "/objects/([0-9a-f]{64})", Hub.store),
    ("POST", f"/api/models/{_NAME}/commit/main", Hub.commit),
    ("GET", rf"/api/models/{_NAME}/tree/\w+", Hub.list_files),
    ("GET", rf"/api/models/{_NAME}(?:/revision/\w+)?", Hub.describe),
    ("GET HEAD", rf"/{_NAME}/resolve/\w+/(.+)", Hub.download),
)


def digest(content):
    return hashlib.sha256(content).hexdigest()


def send_json(handler, value, status=200):
    content = json.dumps(value).encode()
    send(handler, content, status, {"Content-Type": "application/json"})


def send(handler, content, status, headers):
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(content)
