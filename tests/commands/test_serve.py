"""`dsbs-jax serve`: what ends it before it serves."""

import socket
import subprocess
import sys

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")


@pytest.mark.parametrize("package", ["fastapi", "uvicorn", "prometheus_client"])
def test_missing_package_names_the_extra(package):
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from dsbs_jax.commands import app\n"
        "sys.exit(app.run(['serve', 'runs/tickets']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: the package {package} is not installed: pip install "
        "'dsbs-jax[serve]'\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runs/a", "old/a"], "runs/a and old/a have the same name 'a', by which"),
        (["a", "--port", "99999"], "--port is '99999', expected 0 to 65535"),
        (["a", "--queue_size", "8"], "MAX_INPUTS is 64, expected at most QUEUE_SIZE"),
        (["a", "--request_timeout", "0"], "--request_timeout is '0', expected"),
        (["a", "--template", "x"], "template 'x' names no column"),
        (["a", "--api_key_variable", "NONE"], "--api_key_variable: the variable NONE"),
        (["a", "--host", "256.0.0.1"], "cannot listen on 256.0.0.1:8000: "),
    ],
)
def test_wrong_settings_end_with_one_line(dsbs, monkeypatch, arguments, message):
    monkeypatch.setenv("NONE", "")
    done = dsbs("serve", *arguments)
    assert (done.status, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert line.startswith(f"error: {message}")


def test_port_in_use_is_reported(dsbs):
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = used.getsockname()[1]
        done = dsbs("serve", "a", "--port", port)
    assert done.status == 2
    assert done.err == (
        f"error: cannot listen on 127.0.0.1:{port}: Address already in use; choose "
        "another --host or --port\n"
    )
