"""The scripts that start long runs elsewhere, with a `gcloud` that writes down."""

import os
import pathlib
import shlex
import shutil
import subprocess

import pytest

LAUNCH = pathlib.Path(__file__).resolve().parents[1] / "launch"
AWKWARD = [
    "--gin_file=t5x/train.gin",
    "--gin.FILES='my rows.jsonl'",
    '--gin.NAME="$HOME `id` \\ ; & | * it\'s"',
    "--gin.EVIL=$(touch evil)",
    "",
]
RUN_DIR = 'gs://bucket/it\'s $HOME "run"'
SLICE = {"NAME": "a slice", "ZONE": "us-central2-b", "TYPE": "v4-32"}


@pytest.fixture
def checkout(tmp_path):
    """A repository with one commit that holds the scripts."""
    folder = tmp_path / "check out"
    shutil.copytree(LAUNCH, folder / "launch")

    def git(*arguments):
        subprocess.run(
            ["git", "-c", "user.name=x", "-c", "user.email=x@x", *arguments],
            cwd=folder,
            check=True,
            capture_output=True,
        )

    git("init", "--quiet")
    git("add", "launch")
    git("commit", "--quiet", "--message=first")
    return folder


def run(checkout, script, *arguments, **environment):
    return subprocess.run(
        ["bash", f"launch/{script}", *arguments],
        cwd=checkout,
        env={"PATH": os.environ["PATH"], "HOME": "/", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def commands(result):
    assert result.returncode == 0, result.stderr
    return [shlex.split(line) for line in result.stdout.splitlines()]


def after_train(words):
    """What t5x.train is given."""
    return words[words.index("t5x.train") + 1 :]


def test_dry_run_of_tpu_vm_prints_quoted_commands(checkout):
    result = run(
        checkout, "tpu_vm.sh", "--dry-run", *AWKWARD, **SLICE, RUN_DIR=RUN_DIR, SPOT="1"
    )
    printed = commands(result)
    gcloud = [words for words in printed if words[0] == "gcloud"]
    assert [words[3:5] for words in gcloud] == [
        ["queued-resources", "create"],
        ["tpu-vm", "scp"],
        ["tpu-vm", "ssh"],
        ["tpu-vm", "ssh"],
        ["tpu-vm", "ssh"],
        ["queued-resources", "delete"],
    ]
    assert all("--zone=us-central2-b" in words for words in gcloud)
    assert "a slice" in gcloud[0] and "--spot" in gcloud[0]
    remote = [w.removeprefix("--command=") for w in sum(gcloud, []) if "--command" in w]
    # The host's shell takes the command apart once more.
    given = after_train(shlex.split(remote[2]))
    assert given[:2] == ["--multiprocess_gpu", "--gin_search_paths=gin"]
    assert given[2:-1] == AWKWARD
    assert given[-1] == f"--gin.MODEL_DIR={RUN_DIR!r}"
    stored = shlex.split(remote[1])
    for name in ("commit.txt", "arguments.txt", "packages.txt"):
        assert f"{RUN_DIR}/{name}" in stored
    assert not (checkout / "evil").exists()


def test_dry_run_of_gpu_host_prints_quoted_commands(checkout):
    result = run(
        checkout, "gpu_host.sh", "--dry-run", *AWKWARD, RUN_DIR="runs/it's $HOME"
    )
    printed = commands(result)
    (train,) = [words for words in printed if "t5x.train" in words]
    given = after_train(train)
    assert given[0] == "--gin_search_paths=gin" and given[1:-1] == AWKWARD
    where = str(checkout / "runs/it's $HOME")
    assert given[-1] == f"--gin.MODEL_DIR={where!r}"
    written = {words[-1] for words in printed} | {w for p in printed for w in p}
    for name in ("commit.txt", "arguments.txt", "packages.txt"):
        assert f"runs/it's $HOME/{name}" in written
    assert not (checkout / "runs").exists() and not (checkout / "evil").exists()


@pytest.mark.parametrize("script", ["tpu_vm.sh", "gpu_host.sh"])
def test_nothing_else_of_the_environment_is_passed_on(checkout, script):
    result = run(
        checkout,
        script,
        "--dry-run",
        **SLICE,
        RUN_DIR="runs/cqa",
        OPENAI_API_KEY="sk-secret",
        HF_TOKEN="hf-secret",
    )
    assert result.returncode == 0 and "secret" not in result.stdout + result.stderr


@pytest.mark.parametrize("missing", ["NAME", "ZONE", "TYPE", "RUN_DIR"])
def test_a_missing_setting_is_named(checkout, missing):
    given = {**SLICE, "RUN_DIR": "gs://bucket/run"}
    del given[missing]
    result = run(checkout, "tpu_vm.sh", "--dry-run", **given)
    assert result.returncode != 0 and missing in result.stderr and not result.stdout


def test_gpu_host_takes_no_address(checkout):
    result = run(checkout, "gpu_host.sh", "--dry-run", RUN_DIR="gs://bucket/run")
    assert result.returncode == 2 and "expected a folder" in result.stderr


@pytest.mark.parametrize("script", ["tpu_vm.sh", "gpu_host.sh"])
def test_what_is_not_committed_does_not_run(checkout, script):
    with (checkout / "launch/run.sh").open("a") as file:
        file.write("# changed\n")
    result = run(checkout, script, **SLICE, RUN_DIR="runs/cqa")
    assert result.returncode == 2 and "not committed" in result.stderr


# Writes its arguments down; the first training fails, and the slice is taken away, as
# its state tells a little later.
FAKE_GCLOUD = r"""#!/bin/bash
printf '%s\n' "$*" >>"$CALLS"
case "$*" in
  *describe*)
    cat "$STATE" 2>/dev/null
    case "$(cat "$STATE" 2>/dev/null)" in
      WAITING*) echo ACTIVE >"$STATE" ;;
      ACTIVE) if [ -e "$STATE.taken" ]; then mv "$STATE.taken" "$STATE"; fi ;;
    esac ;;
  *create*) echo ACTIVE >"$STATE" ;;
  *delete*) rm -f "$STATE" ;;
  *t5x.train*)
    if [ ! -e "$CALLS.failed" ]; then
      touch "$CALLS.failed"
      if [ -z "$STANDS" ]; then echo SUSPENDED >"$STATE.taken"; fi
      exit 255
    fi ;;
esac
"""


@pytest.fixture
def cloud(tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "gcloud").write_text(FAKE_GCLOUD)
    (folder / "gcloud").chmod(0o755)
    return {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "CALLS": str(tmp_path / "calls"),
        "STATE": str(tmp_path / "state"),
        "STANDS": "",
        "TMPDIR": str(tmp_path),
        "POLL_SECONDS": "0",
        **SLICE,
        "RUN_DIR": "gs://bucket/run",
    }


def test_after_a_preemption_it_asks_again_and_goes_on(checkout, cloud, tmp_path):
    result = run(checkout, "tpu_vm.sh", "--gin_file=t5x/train.gin", **cloud)
    assert result.returncode == 0, result.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    doing = [
        next(word for word in ("create", "delete", "t5x.train") if word in call)
        for call in calls
        if any(word in call for word in ("create", "delete", "t5x.train"))
    ]
    assert doing == ["create", "t5x.train", "delete", "create", "t5x.train", "delete"]
    # The same command, which finds the last checkpoint in the same folder.
    trained = [call for call in calls if "t5x.train" in call]
    assert trained[0] == trained[1] and "gs://bucket/run" in trained[0]


@pytest.mark.parametrize("state", ["SUSPENDED", "WAITING_FOR_RESOURCES", "ACTIVE"])
def test_it_goes_on_with_a_request_that_stands(checkout, cloud, tmp_path, state):
    """The script itself was stopped, or the slice taken away while it waited."""
    (tmp_path / "state").write_text(state + "\n")
    (tmp_path / "calls.failed").touch()
    result = run(checkout, "tpu_vm.sh", **cloud)
    assert result.returncode == 0, result.stderr
    calls = (tmp_path / "calls").read_text()
    assert calls.count(" create ") == (state == "SUSPENDED")
    assert calls.count("t5x.train") == 1 and not (tmp_path / "state").exists()


def test_a_slice_that_cannot_be_made_is_an_error(checkout, cloud, tmp_path):
    (tmp_path / "state").write_text("FAILED\n")
    result = run(checkout, "tpu_vm.sh", **cloud)
    assert result.returncode == 1 and "could not be made" in result.stderr


def test_a_run_that_fails_on_a_standing_slice_ends_with_an_error(
    checkout, cloud, tmp_path
):
    result = run(checkout, "tpu_vm.sh", **{**cloud, "STANDS": "1"})
    assert result.returncode == 1 and "the slice still stands" in result.stderr
    assert "delete" not in (tmp_path / "calls").read_text()


FAKE_PYTHON = r"""#!/bin/bash
printf '%s\n' "$*" >>"$CALLS"
case "$*" in
  *freeze*) echo jax==1.2.3 ;;
  *t5x.train*) [ "$(grep -c t5x.train "$CALLS")" -gt "$FAILURES" ] ;;
esac
"""


@pytest.mark.parametrize(("failures", "status"), [(1, 0), (2, 1)])
def test_gpu_host_starts_again_so_often_and_leaves_what_ran(
    checkout, tmp_path, failures, status
):
    (checkout / "launch/setup.sh").write_text("")
    subprocess.run(
        ["git", "update-index", "--assume-unchanged", "launch/setup.sh"],
        cwd=checkout,
        check=True,
    )
    python = checkout / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    calls = tmp_path / "calls"
    result = run(
        checkout,
        "gpu_host.sh",
        *AWKWARD,
        RUN_DIR="runs/a b",
        RESTARTS="1",
        WAIT_SECONDS="0",
        CALLS=str(calls),
        FAILURES=str(failures),
    )
    assert result.returncode == status, result.stderr
    assert calls.read_text().count("-m t5x.train") == 2
    folder = checkout / "runs/a b"
    assert (folder / "packages.txt").read_text() == "jax==1.2.3\n"
    assert (folder / "arguments.txt").read_text().splitlines() == AWKWARD
    assert len((folder / "commit.txt").read_text().strip()) == 40
