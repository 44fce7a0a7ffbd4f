import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from dsbs_jax.data import vocabulary
from dsbs_jax.errors import UserError
from dsbs_jax.local.label_scorer import LabelScorer, probabilities
from dsbs_jax.local.partitioning import Partitioner
from dsbs_jax.student import label_scoring
from support.students import make_student

LABELS = ["red", "blue", "red jar", "white", "blue and red"]
# Runs in its own process, because JAX's number of devices is fixed when it starts.
ON_DEVICES = """
import json, sys
import jax, numpy as np
from dsbs_jax.data import vocabulary
from dsbs_jax.local.label_scorer import LabelScorer
from dsbs_jax.local.partitioning import Partitioner
from support.students import make_student
model, params = make_student(vocab_size=256, num_heads=4, head_dim=4)
inputs = [np.asarray(ids, np.int32) for ids in json.loads(sys.argv[2])]
results = {}
for copies, partitions in ((1, 1), (4, 1), (2, 2)):
    partitioner = Partitioner(partitions, jax.devices()[: copies * partitions])
    scorer = LabelScorer(
        model, json.loads(sys.argv[3]), vocabulary.load(sys.argv[1]), partitioner, 3, 16
    )
    results[f"{copies}x{partitions}"] = scorer(params, inputs).tolist()
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def pieces(tiny_vocabulary):
    return vocabulary.load(str(tiny_vocabulary))


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    return [rng.integers(3, 200, size=n).astype(np.int32) for n in (5, 30, 9, 1, 12)]


@pytest.fixture(scope="module")
def student():
    return make_student(vocab_size=256, num_heads=4, head_dim=4)


@pytest.fixture(scope="module")
def make_scorer(student, pieces):
    def make(labels=LABELS, batch_size=2, longest=16):
        partitioner = Partitioner(1, jax.local_devices()[:1])
        return LabelScorer(student[0], labels, pieces, partitioner, batch_size, longest)

    return make


@pytest.mark.slow
def test_batches_and_padding_do_not_change_scores(make_scorer, student, pieces, inputs):
    model, params = student
    scores = make_scorer()(params, inputs)
    assert scores.dtype == np.float32
    assert scores.shape == (5, 5)
    ids = [[*pieces.encode(label), 1] for label in LABELS]
    trees = label_scoring.make_trees(ids, model.config, 1)
    for row, source in zip(scores, inputs, strict=True):
        padded = np.zeros((1, 32), np.int32)
        padded[0, : len(source)] = source
        alone = label_scoring.score_labels(model, params, padded, trees)[0]
        np.testing.assert_allclose(row, alone, rtol=0, atol=1e-4)


def test_no_inputs_give_no_rows(make_scorer, student):
    assert make_scorer()(student[1], []).shape == (0, 5)


def test_columns_follow_the_order_of_the_labels(make_scorer, student, inputs):
    scores = make_scorer()(student[1], inputs)
    reversed_scores = make_scorer(LABELS[::-1])(student[1], inputs)
    np.testing.assert_allclose(reversed_scores, scores[:, ::-1], rtol=0, atol=1e-5)


def test_labels_that_cannot_be_generated_are_errors(make_scorer):
    with pytest.raises(UserError, match="label 'blue and red' has .* at most"):
        make_scorer(longest=3)


def test_probabilities_are_normalized_over_the_labels():
    rows = np.asarray([[-1.0, -1.0, -9.0], [-1000.0, -1001.0, -2000.0]], np.float32)
    result = probabilities(rows)
    np.testing.assert_allclose(result.sum(axis=1), 1.0)
    np.testing.assert_allclose(result[0], [0.49992, 0.49992, 0.00017], atol=1e-5)
    np.testing.assert_allclose(result[1], [0.73106, 0.26894, 0.0], atol=1e-5)


@pytest.mark.slow
def test_scores_are_equal_on_several_devices(
    make_scorer, student, inputs, tiny_vocabulary
):
    arguments = [
        str(tiny_vocabulary),
        json.dumps([ids.tolist() for ids in inputs]),
        json.dumps(LABELS),
    ]
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4 "
        "--xla_backend_optimization_level=0",
    }
    done = subprocess.run(
        [sys.executable, "-c", ON_DEVICES, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads(done.stdout.splitlines()[-1])
    expected = make_scorer()(student[1], inputs)
    for mesh, scores in results.items():
        np.testing.assert_allclose(scores, expected, atol=1e-4, err_msg=mesh)
