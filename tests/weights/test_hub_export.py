"""Uploads with the real client of the Hugging Face hub to a hub on loopback."""

import os
import socket
import subprocess
import sys

import jax
import pytest
from flax import traverse_util
from huggingface_hub import constants

from dsbs_jax import hub
from dsbs_jax.data import vocabulary
from dsbs_jax.errors import UserError
from dsbs_jax.weights import hub_export, huggingface_reader
from support.loopback_hub import TOKEN, Hub, use
from support.students import make_student

REPOSITORY = "lab/jars"


@pytest.fixture
def server():
    server = Hub()
    yield server
    server.close()


@pytest.fixture
def client(server, monkeypatch):
    """Makes the client of this process use the loopback hub, without Xet."""
    use(monkeypatch, server.url)
    return server


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A model folder with a tokenizer, a card and a hidden file."""
    folder = tmp_path_factory.mktemp("export") / "jars"
    folder.mkdir()
    model, params = make_student(vocab_size=256)
    params = traverse_util.flatten_dict(jax.device_get(params), sep="/")
    huggingface_reader.write_model(folder, params, model.config)
    vocabulary.train(["a red jar and a blue jar"] * 9, folder / "spiece.model", 100)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Jars\n")
    (folder / ".cache").write_text("not for others")
    return folder


def visible(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name[0] != "."}


@pytest.mark.slow
def test_upload_and_download_with_the_clients_own_settings(
    server, model_folder, tmp_path
):
    """HF_ENDPOINT and HF_TOKEN, in processes that import the client again."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": server.url,
        "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": TOKEN,
        "HF_HOME": str(tmp_path),
    }

    def run(code, *arguments):
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    push = "import sys; from dsbs_jax.weights.hub_export import push; "
    push += "print(push(sys.argv[1], sys.argv[2]))"
    url = run(push, str(model_folder), REPOSITORY)
    assert url == f"{server.url}/{REPOSITORY}"
    files = server.repositories[REPOSITORY]
    assert files == {".gitattributes": b"", **visible(model_folder)}
    assert server.private[REPOSITORY]
    # Large files are LFS objects, so that the commit itself is small.
    sizes = [len(files[name]) for name in ("model.safetensors", "spiece.model")]
    assert sorted(server.uploads.values()) == sorted(sizes)
    read = "import sys; from dsbs_jax import weights; "
    read += "print(len(weights.open_checkpoint('hub:' + sys.argv[1]).shapes()))"
    expected = len(huggingface_reader.HuggingFaceReader(model_folder).shapes())
    assert run(read, REPOSITORY) == str(expected)


def test_second_upload_replaces_files(client, model_folder):
    hub_export.push(model_folder, REPOSITORY, private=False)
    assert not client.private[REPOSITORY]
    client.repositories[REPOSITORY]["config.json"] = b"{}"
    hub_export.push(model_folder, REPOSITORY)
    assert not client.private[REPOSITORY]
    files = client.repositories[REPOSITORY]
    assert files["config.json"] == (model_folder / "config.json").read_bytes()


def test_client_with_xet(client, model_folder, monkeypatch):
    """The hub stores large files with Xet; here the hub calls no file large."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    client.large = ("nothing",)
    hub_export.push(model_folder, REPOSITORY)
    files = client.repositories[REPOSITORY]
    assert files == {".gitattributes": b"", **visible(model_folder)}
    client.refusals["/preupload/"] = (403, "no")
    with pytest.raises(UserError, match="no right to write there"):
        hub_export.push(model_folder, REPOSITORY)


def test_other_files_are_an_error_and_remain(client, model_folder):
    client.private[REPOSITORY] = True
    others = {"pytorch_model.bin": b"0", "LICENSE": b"MIT"}
    client.repositories[REPOSITORY] = dict(others)
    message = "has files that .*jars does not have: pytorch_model.bin, LICENSE; delete"
    with pytest.raises(UserError, match=message):
        hub_export.push(model_folder, REPOSITORY)
    assert client.repositories[REPOSITORY] == others
    hub_export.push(model_folder, REPOSITORY, allow_other_files=True)
    assert client.repositories[REPOSITORY].items() > others.items()


def test_missing_token_is_an_error(client, model_folder, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "t"))
    message = (
        "hub:lab/jars: the upload needs a token .* run `hf auth login`, or set HF_TOKEN"
    )
    with pytest.raises(UserError, match=message):
        hub_export.push(model_folder, REPOSITORY)


def test_token_that_the_hub_does_not_accept_is_an_error(client, model_folder):
    message = "hub:lab/jars: the hub does not accept the token .401.; create one"
    with pytest.raises(UserError, match=message):
        hub_export.push(model_folder, REPOSITORY, token="hf_old")
    assert client.repositories == {}


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        (
            "repos/create",
            403,
            "has no right to write there .403.; check the owner's name",
        ),
        ("/commit/", 403, "has no right to write there .403."),
        ("/commit/", 400, "cannot be uploaded to http.*: .*the disk is full"),
        ("^/objects/", 400, "cannot be uploaded to http.*: .*the disk is full"),
    ],
)
def test_refusal_is_one_error(client, model_folder, path, status, message):
    client.refusals[path] = (status, "the disk is full")
    with pytest.raises(UserError, match=f"hub:lab/jars: .*{message}") as caught:
        hub_export.push(model_folder, REPOSITORY)
    assert "\n" not in str(caught.value)


def test_hub_that_cannot_be_reached_is_an_error(model_folder, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        use(monkeypatch, f"http://127.0.0.1:{unused.getsockname()[1]}")
        message = "hub:lab/jars: cannot be uploaded to http://127.0.0.1.* refused"
        with pytest.raises(UserError, match=message):
            hub_export.push(model_folder, REPOSITORY)


@pytest.mark.parametrize("name", ["jars", "lab/jars/1", "lab/j ars", ""])
def test_repository_without_an_owner_is_an_error(model_folder, name):
    with pytest.raises(UserError, match="expected <owner>/<name>"):
        hub.upload_folder(model_folder, name, private=True, token=TOKEN)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("config.json", "expected a Hugging Face model folder"),
        ("model.safetensors", "model.safetensors"),
        ("spiece.model", "has no tokenizer, expected spiece.model or tokenizer.json"),
    ],
)
def test_incomplete_folder_is_not_uploaded(
    client, tmp_path, model_folder, missing, message
):
    for name, content in visible(model_folder).items():
        if name != missing:
            (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        hub_export.push(tmp_path, REPOSITORY)
    assert client.repositories == {}
