"""An emulator of Google Cloud Storage for TensorFlow, tensorstore and Google's client.

tensorstore and Google's client read the server's address from the environment.
TensorFlow's addresses are constants, so the emulator is also the proxy of the process:
it answers the requests for Google's hosts itself, with a certificate that only this
process trusts. Tests that import this module are skipped without the emulator.
"""

import contextlib
import dataclasses
import functools
import http.client
import http.server
import os
import pathlib
import shutil
import ssl
import subprocess
import sys
import threading
import urllib.parse

import pytest

pytest.importorskip(
    "gcp_storage_emulator", reason="gcp-storage-emulator is not installed"
)
if shutil.which("openssl") is None:
    pytest.skip("openssl is not installed", allow_module_level=True)

from gcp_storage_emulator import server, storage  # noqa: E402
from gcp_storage_emulator.handlers import buckets  # noqa: E402

HOSTS = ("www.googleapis.com", "storage.googleapis.com")

# The emulator reads an empty body as None, and fails on it. TensorFlow's folders are
# empty objects.
_read_data = server._read_data
server._read_data = lambda *arguments: _read_data(*arguments) or b""


class _Router(server.Router):
    """Adds generations to the emulator, with which tensorstore writes atomically."""

    # The emulator's storage is not made for requests from several threads.
    _lock = threading.Lock()

    def handle(self, method):
        """Answers a request if the object has the generation that the request names."""
        handler = self._request_handler
        url = urllib.parse.urlsplit(handler.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        with self._lock:
            current = _find_generation(handler.storage, url.path, query)
            handler.generation = current
            if query.get("ifGenerationMatch", current) != current:
                server._read_raw_data(handler)
                handler.answer(http.HTTPStatus.PRECONDITION_FAILED)
            elif current != "0" and query.get("ifGenerationNotMatch") == current:
                handler.answer(http.HTTPStatus.NOT_MODIFIED)
            else:
                super().handle(method)


server.Router = _Router


def _find_generation(objects, path, query):
    """Returns the generation of a request's object as text; "0" if it does not exist.

    Args:
        objects: The emulator's storage.
        path: `/storage/v1/b/<bucket>/o/<quoted name>`, or `/upload/…/b/<bucket>/o`.
        query: The parameters of the request. An upload has the object's `name`.
    """
    bucket, _, name = path.partition("/b/")[2].partition("/o")
    name = query.get("name", urllib.parse.unquote(name[1:]))
    return objects.objects.get(bucket, {}).get(name, {}).get("generation", "0")


class _Handler(server.RequestHandler):
    """Answers requests to the emulator's address, and those to Google's hosts.

    Attributes:
        generation: The generation of the object that the request names.
    """

    generation = "0"
    # Answers "Expect: 100-continue", for which TensorFlow otherwise waits a second.
    protocol_version = "HTTP/1.1"

    def __init__(self, context, *arguments):
        self._context = context
        super().__init__(*arguments)

    def do_CONNECT(self):
        """Starts a TLS connection to the client, whose requests follow."""
        self.send_response(http.HTTPStatus.OK)
        super().end_headers()
        self.request = self._context.wrap_socket(self.connection, server_side=True)
        self.setup()
        self.close_connection = False

    def do_GET(self):
        """Also answers whether the bucket has real folders, before a rename."""
        if self.path.endswith("/storageLayout"):
            layout = b'{"hierarchicalNamespace": {"enabled": false}}'
            self.answer(http.HTTPStatus.OK, layout)
        else:
            super().do_GET()

    def answer(self, status, content=b""):
        """Sends a complete answer."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def end_headers(self):
        """Adds the generation of the object that was read."""
        self.send_header("X-Goog-Generation", self.generation)
        super().end_headers()

    def parse_request(self):
        """Removes from a request what the emulator does not expect.

        Requests to a proxy for http:// addresses have the host in their path, and
        TensorFlow's uploads have the length in addition to the lengths of the chunks.
        """
        complete = super().parse_request()
        if complete and self.path.startswith("http://"):
            self.path = "/" + self.path.split("/", 3)[3]
        if complete and self.headers.get("Transfer-Encoding") == "chunked":
            del self.headers["Content-Length"]
        return complete

    def finish(self):
        super().finish()
        self.connection.close()


def _make_certificate(folder):
    """Returns files of a certificate for Google's hosts and of its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    names = ",".join(f"DNS:{host}" for host in HOSTS)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        + ["-subj", "/CN=emulator", "-addext", f"subjectAltName={names}"]
        + ["-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    return certificate, key


@dataclasses.dataclass(frozen=True)
class Bucket:
    """A bucket of a running emulator.

    Attributes:
        name: The bucket's name, as in gs://name.
        host: Address and port of the emulator.
        certificate: File of the certificate for Google's hosts.
    """

    name: str
    host: str
    certificate: pathlib.Path

    def run(self, *arguments):
        """Runs Python in a process that sees the bucket; returns standard error."""
        ended = subprocess.run(
            [sys.executable, *map(str, arguments)],
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=1800,
        )
        assert ended.returncode == 0, ended.stderr[-4000:]
        return ended.stderr

    def _environment(self):
        address = f"http://{self.host}"
        return {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            # TensorFlow and Python use the proxy, and trust the certificate.
            "http_proxy": address,
            "https_proxy": address,
            "no_proxy": "127.0.0.1,localhost",
            "CURL_CA_BUNDLE": str(self.certificate),
            "SSL_CERT_FILE": str(self.certificate),
            "NO_GCE_CHECK": "true",
            # TensorFlow and tensorstore read the token, which the emulator ignores.
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "token",
            "TENSORSTORE_GCS_HTTP_URL": address,
            # Google's client needs no token then.
            "STORAGE_EMULATOR_HOST": address,
        }

    def upload(self, path, name):
        """Writes a file, or all files below a folder, to gs://bucket/name."""
        for file in filter(pathlib.Path.is_file, [path, *path.rglob("*")]):
            target = pathlib.PurePosixPath(name, file.relative_to(path))
            self._request("PUT", target, file.read_bytes())

    def read(self, name):
        """Reads the object gs://bucket/name."""
        return self._request("GET", name)

    def _request(self, method, name, content=None):
        connection = http.client.HTTPConnection(self.host)
        with contextlib.closing(connection):
            path = urllib.parse.quote(f"/{self.name}/{name}")
            connection.request(method, path, content)
            answer = connection.getresponse()
            assert answer.status == http.HTTPStatus.OK, (method, name, answer.status)
            return answer.read()


@contextlib.contextmanager
def serve(name, folder):
    """Serves an empty bucket as long as the context lasts.

    Args:
        name: The bucket's name.
        folder: A folder for the certificate.

    Yields:
        The `Bucket`.
    """
    certificate, key = _make_certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    objects = storage.Storage(use_memory_fs=True)
    buckets.create_bucket(name, objects)
    handler = functools.partial(_Handler, context, objects)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as emulator:
        thread = threading.Thread(target=emulator.serve_forever)
        thread.start()
        try:
            yield Bucket(name, f"127.0.0.1:{emulator.server_port}", certificate)
        finally:
            emulator.shutdown()
            thread.join()
