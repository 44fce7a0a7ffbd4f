"""Tests of the launch scripts, with a fake `gcloud` that records its calls."""

import os
import pathlib
import shlex
import shutil
import subprocess

import pytest

LAUNCH = pathlib.Path(__file__).resolve().parents[1] / "launch"
AWKWARD = [
    "--gin_file=t5x/train.gin",
    "--gin.DATA_FILES='my rows.jsonl'",
    '--gin.NAME="$HOME `id` \\ ; & | * it\'s"',
    "--gin.EVIL=$(touch evil)",
    "",
]
RUN_DIR = 'gs://bucket/it\'s $HOME "run"'
SLICE = {"NAME": "a slice", "ZONE": "us-central2-b", "TYPE": "v4-32"}


@pytest.fixture
def checkout(tmp_path):
    """A git repository with one commit that contains the launch scripts."""
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


def train_arguments(words):
    """Returns the arguments of `python -m t5x.train`."""
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
    # The host's shell splits the command a second time.
    given = train_arguments(shlex.split(remote[2]))
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
    given = train_arguments(train)
    assert given[0] == "--gin_search_paths=gin" and given[1:-1] == AWKWARD
    model_dir = str(checkout / "runs/it's $HOME")
    assert given[-1] == f"--gin.MODEL_DIR={model_dir!r}"
    written = {words[-1] for words in printed} | {w for p in printed for w in p}
    for name in ("commit.txt", "arguments.txt", "packages.txt"):
        assert f"runs/it's $HOME/{name}" in written
    assert not (checkout / "runs").exists() and not (checkout / "evil").exists()


@pytest.mark.parametrize("script", ["tpu_vm.sh", "gpu_host.sh"])
def test_other_environment_variables_are_not_passed_on(checkout, script):
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
def test_an_error_names_a_missing_setting(checkout, missing):
    given = {**SLICE, "RUN_DIR": "gs://bucket/run"}
    del given[missing]
    result = run(checkout, "tpu_vm.sh", "--dry-run", **given)
    assert result.returncode != 0 and missing in result.stderr and not result.stdout


def test_gpu_host_rejects_a_bucket_address(checkout):
    result = run(checkout, "gpu_host.sh", "--dry-run", RUN_DIR="gs://bucket/run")
    assert result.returncode == 2 and "expected a folder" in result.stderr


@pytest.mark.parametrize("script", ["tpu_vm.sh", "gpu_host.sh"])
def test_uncommitted_changes_are_an_error(checkout, script):
    with (checkout / "launch/run.sh").open("a") as file:
        file.write("# changed\n")
    result = run(checkout, script, **SLICE, RUN_DIR="runs/cqa")
    assert result.returncode == 2 and "uncommitted changes" in result.stderr


# Records its arguments. The first training fails, and the slice is preempted; its state
# is still ACTIVE at the first query after the failure.
FAKE_GCLOUD = r"""#!/bin/bash
printf '%s\n' "$*" >>"$CALLS"
case "$*" in
  *describe*)
    cat "$STATE" 2>/dev/null
    case "$(cat "$STATE" 2>/dev/null)" in
      WAITING*) echo ACTIVE >"$STATE" ;;
      ACTIVE) if [ -e "$STATE.preempted" ]; then mv "$STATE.preempted" "$STATE"; fi ;;
    esac ;;
  *create*) echo ACTIVE >"$STATE" ;;
  *delete*) rm -f "$STATE" ;;
  *t5x.train*)
    if [ ! -e "$CALLS.failed" ]; then
      touch "$CALLS.failed"
      if [ -z "$KEEP_SLICE" ]; then echo SUSPENDED >"$STATE.preempted"; fi
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
        "KEEP_SLICE": "",
        "TMPDIR": str(tmp_path),
        "POLL_SECONDS": "0",
        **SLICE,
        "RUN_DIR": "gs://bucket/run",
    }


def test_after_a_preemption_the_slice_is_requested_again(checkout, cloud, tmp_path):
    result = run(checkout, "tpu_vm.sh", "--gin_file=t5x/train.gin", **cloud)
    assert result.returncode == 0, result.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    order = [
        next(word for word in ("create", "delete", "t5x.train") if word in call)
        for call in calls
        if any(word in call for word in ("create", "delete", "t5x.train"))
    ]
    assert order == ["create", "t5x.train", "delete", "create", "t5x.train", "delete"]
    # The command is the same, so that it finds the last checkpoint in the same folder.
    trained = [call for call in calls if "t5x.train" in call]
    assert trained[0] == trained[1] and "gs://bucket/run" in trained[0]


@pytest.mark.parametrize("state", ["SUSPENDED", "WAITING_FOR_RESOURCES", "ACTIVE"])
def test_an_existing_request_is_reused(checkout, cloud, tmp_path, state):
    """The script was stopped earlier, or the slice was preempted while it waited."""
    (tmp_path / "state").write_text(state + "\n")
    (tmp_path / "calls.failed").touch()
    result = run(checkout, "tpu_vm.sh", **cloud)
    assert result.returncode == 0, result.stderr
    calls = (tmp_path / "calls").read_text()
    assert calls.count(" create ") == (state == "SUSPENDED")
    assert calls.count("t5x.train") == 1 and not (tmp_path / "state").exists()


def test_a_failed_request_is_an_error(checkout, cloud, tmp_path):
    (tmp_path / "state").write_text("FAILED\n")
    result = run(checkout, "tpu_vm.sh", **cloud)
    assert result.returncode == 1 and "could not create the slice" in result.stderr


def test_a_failed_run_on_an_active_slice_keeps_the_slice(checkout, cloud, tmp_path):
    result = run(checkout, "tpu_vm.sh", **{**cloud, "KEEP_SLICE": "1"})
    assert result.returncode == 1 and "is still active" in result.stderr
    assert "delete" not in (tmp_path / "calls").read_text()


FAKE_PYTHON = r"""#!/bin/bash
printf '%s\n' "$*" >>"$CALLS"
case "$*" in
  *freeze*) echo jax==1.2.3 ;;
  *t5x.train*) [ "$(grep -c t5x.train "$CALLS")" -gt "$FAILURES" ] || exit "$STATUS" ;;
esac
"""


@pytest.fixture
def gpu_host(checkout, tmp_path):
    """Runs gpu_host.sh with one restart: (failures, status of the failed training)."""
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

    def start(failures, status):
        return run(
            checkout,
            "gpu_host.sh",
            *AWKWARD,
            RUN_DIR="runs/a b",
            RESTARTS="1",
            WAIT_SECONDS="0",
            CALLS=str(tmp_path / "calls"),
            FAILURES=str(failures),
            STATUS=str(status),
        )

    return start


@pytest.mark.parametrize(("failures", "status"), [(1, 0), (2, 1)])
def test_gpu_host_restarts_and_records_what_ran(
    gpu_host, checkout, tmp_path, failures, status
):
    result = gpu_host(failures, 1)
    assert result.returncode == status, result.stderr
    assert (tmp_path / "calls").read_text().count("-m t5x.train") == 2
    folder = checkout / "runs/a b"
    assert (folder / "packages.txt").read_text() == "jax==1.2.3\n"
    assert (folder / "arguments.txt").read_text().splitlines() == AWKWARD
    assert len((folder / "commit.txt").read_text().strip()) == 40


@pytest.mark.parametrize("status", [130, 143])
def test_gpu_host_does_not_restart_a_stopped_run(gpu_host, tmp_path, status):
    assert gpu_host(1, status).returncode == status
    assert (tmp_path / "calls").read_text().count("-m t5x.train") == 1


@pytest.mark.parametrize(
    ("system", "given", "expected"),
    [
        (
            "Linux",
            None,
            "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0"
            ":glibc.malloc.trim_threshold=17179869184",
        ),
        ("Linux", "glibc.malloc.check=1", "glibc.malloc.check=1"),
        ("Linux", "", ""),
        ("Darwin", None, "unset"),
    ],
    ids=["default", "own", "empty", "other system"],
)
def test_malloc_is_set_up_only_on_linux_and_when_unset(
    tmp_path, system, given, expected
):
    (tmp_path / "uname").write_text(f"#!/bin/sh\necho {system}\n")
    (tmp_path / "uname").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    if given is not None:
        environment["GLIBC_TUNABLES"] = given
    script = 'source launch/malloc.sh; echo "${GLIBC_TUNABLES-unset}"'
    result = subprocess.run(
        ["bash", "-euc", script],
        cwd=LAUNCH.parent,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.stdout.strip() == expected, result.stderr


@pytest.mark.parametrize("script", ["run.sh", "demo.sh"])
def test_scripts_for_one_machine_set_up_malloc(script):
    lines = (LAUNCH / script).read_text().splitlines()
    assert lines.index("source launch/malloc.sh") < len(lines) - 1
    assert lines[-1].startswith("exec .venv/bin/python -m ")
