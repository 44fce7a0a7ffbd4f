"""`dsbs-jax fit` of the shipped sample with each method, killed and resumed."""

import json
import pathlib
import subprocess
import sys
import time

import pytest

from dsbs_jax.data.methods import METHODS

SAMPLE = pathlib.Path(__file__).parents[2] / "examples/tickets.jsonl"
SHORT = ("--train_steps=12", "--set=eval_period=3", "--set=trackers=[]")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """The sample, with the fields that only `counterfactual` reads.

    The counterfactual rationale of a row is that of the next row with another label.
    """
    sample = [json.loads(line) for line in SAMPLE.read_text().splitlines()]
    for number, row in enumerate(sample):
        rest = sample[number + 1 :] + sample[:number]
        others = (o for o in rest if o.get("rationale") and o["label"] != row["label"])
        other = next(others)
        row["counterfactual_rationale"] = other["rationale"]
        row["counterfactual_label"] = other["label"]
    path = tmp_path_factory.mktemp("sample") / "tickets.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in sample))
    return path


def start(rows, output, method):
    command = [sys.executable, "-m", "dsbs_jax", "fit", str(rows), "--output", output]
    return subprocess.Popen(
        [*command, f"--method={method}", *SHORT],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*arguments):
    process = start(*arguments)
    text, _ = process.communicate(timeout=600)
    assert process.returncode == 0, text
    return text


def scores(folder):
    results = json.loads((folder / "results.json").read_text())
    del results["seconds"]
    return results


def answers(folder):
    paths = sorted((folder / "predictions").glob("test-*.jsonl"))
    assert paths
    return [path.read_text() for path in paths]


@pytest.mark.scheduled
@pytest.mark.parametrize("method", METHODS)
def test_each_method_trains_on_the_sample_and_resumes(rows, tmp_path, method):
    # The dataset has the name of the folder.
    killed, complete = tmp_path / "killed/run", tmp_path / "complete/run"
    process = start(rows, killed, method)
    while not (killed / "checkpoints/checkpoint_3").exists():
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.05)
    process.kill()
    process.communicate()
    assert not (killed / "results.json").exists()
    # The first part is not trained again.
    assert "step 3: validation" not in finish(rows, killed, method)
    finish(rows, complete, method)
    assert scores(killed) == scores(complete)
    assert answers(killed) == answers(complete)
