"""Tiny students of both T5 versions and of umT5, and batches for them."""

import dataclasses
import functools
import pathlib
import shutil

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import traverse_util

from dsbs_jax import weights
from dsbs_jax.local import step
from dsbs_jax.student.config import T5Config
from dsbs_jax.student.network import Transformer, parameter_shapes
from dsbs_jax.student.precision import ComputeTypes


@functools.partial(jax.jit, static_argnums=0)
def forward(model, params, batch):
    """Returns the logits of a batch, float32 [B, T, V]; also of T5X's network."""
    return model.apply(
        {"params": params},
        batch["encoder_input_tokens"],
        batch["decoder_input_tokens"],
        encoder_segment_ids=batch.get("encoder_segment_ids"),
        decoder_segment_ids=batch.get("decoder_segment_ids"),
    )


gradients = jax.jit(step.gradients, static_argnames=("model", "num_microbatches"))

# The types of mixed precision on a CPU that multiplies bfloat16 numbers.
BFLOAT16_PRODUCTS = ComputeTypes("bfloat16", "float32", "float32")
VERSIONS = {
    "t5_1_0": {"mlp_activations": ("relu",), "logits_via_embedding": True},
    "t5_1_1": {"mlp_activations": ("gelu", "linear"), "logits_via_embedding": False},
}
# T5X and CTranslate2 have no umT5.
NETWORKS = {
    **VERSIONS,
    "umt5": {**VERSIONS["t5_1_1"], "relative_bias_in_layers": True},
}


def assert_same_gradients(left, right, tolerance=1e-6):
    """Checks that trees are equal up to `tolerance` of the largest entry of `left`."""
    scale = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(left))
    assert scale > 1e-3
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale),
        left,
        right,
    )


def make_student(version="t5_1_1", **changes):
    fields = {
        "vocab_size": 48,
        "emb_dim": 16,
        "num_heads": 2,
        "head_dim": 8,
        "num_encoder_layers": 2,
        "num_decoder_layers": 2,
        "mlp_dim": 24,
        "dropout_rate": 0.0,
        **NETWORKS[version],
        **changes,
    }
    model = Transformer(T5Config(**fields))
    tokens = np.ones((1, 2), np.int32)
    params = nn.unbox(model.init(jax.random.key(7), tokens, tokens)["params"])
    return model, params


def random_parameters(config):
    """Parameters whose answers differ clearly, float32 arrays by name."""
    rng = np.random.default_rng(0)
    return {
        name: (rng.normal(size=shape) * 0.3 + ("norm" in name)).astype(np.float32)
        for name, shape in parameter_shapes(config).items()
    }


@pytest.fixture(
    scope="session",
    params=[*sorted(VERSIONS), pytest.param("umt5", marks=pytest.mark.slow)],
)
def student(request):
    return make_student(request.param)


@dataclasses.dataclass
class T5XStudent:
    """A student of T5X with T5X's results for it, see tests/fixtures/t5x/make.py."""

    folder: pathlib.Path
    model: Transformer
    params: dict
    numbers: dict


@pytest.fixture(
    scope="session",
    params=[(origin, v) for origin in ("fixture", "reference") for v in VERSIONS],
    ids="-".join,
)
def t5x(request, tmp_path_factory):
    """T5X's students: those in tests/fixtures, and those of `t5x_reference_dir`."""
    origin, version = request.param
    if origin == "fixture":
        folder = tmp_path_factory.mktemp(version)
        archive = pathlib.Path(__file__).parents[1] / f"fixtures/t5x/{version}.zip"
        shutil.unpack_archive(archive, folder)
    else:
        folder = request.getfixturevalue("t5x_reference_dir") / version
    reader = weights.open_checkpoint(str(folder / "native"))
    config = dataclasses.replace(weights.config_of(reader), dropout_rate=0.0)
    params = {name: reader.read(name) for name in reader.shapes()}
    return T5XStudent(
        folder,
        Transformer(config),
        traverse_util.unflatten_dict(params, sep="/"),
        dict(np.load(folder / "reference.npz")),
    )


def make_batch(examples, source=12, target=8):
    """Pads examples (inputs, targets, task id) to a batch, one example in each row."""
    rows = len(examples)
    batch = {
        "encoder_input_tokens": np.zeros((rows, source), np.int32),
        "decoder_target_tokens": np.zeros((rows, target), np.int32),
        "decoder_input_tokens": np.zeros((rows, target), np.int32),
        "decoder_task_ids": np.zeros((rows, target), np.int32),
    }
    for row, (inputs, targets, task) in enumerate(examples):
        batch["encoder_input_tokens"][row, : len(inputs)] = inputs
        batch["decoder_target_tokens"][row, : len(targets)] = targets
        batch["decoder_input_tokens"][row, 1 : len(targets)] = targets[:-1]
        batch["decoder_task_ids"][row, : len(targets)] = task
    return batch


def make_packed(pairs, source=24, target=16):
    """Packs each pair of examples into one row, as the feature converter does."""
    batch = make_batch([([0], [0], 0)] * len(pairs), source, target)
    for name in ("encoder_segment_ids", "decoder_segment_ids"):
        like = name.replace("segment_ids", "input_tokens")
        batch[name] = np.zeros_like(batch[like])
    for row, pair in enumerate(pairs):
        s = t = 0
        for segment, (inputs, targets, task) in enumerate(pair, 1):
            here, there = slice(s, s + len(inputs)), slice(t, t + len(targets))
            batch["encoder_input_tokens"][row, here] = inputs
            batch["encoder_segment_ids"][row, here] = segment
            batch["decoder_target_tokens"][row, there] = targets
            batch["decoder_input_tokens"][row, there] = [0, *targets[:-1]]
            batch["decoder_segment_ids"][row, there] = segment
            batch["decoder_task_ids"][row, there] = task
            s, t = here.stop, there.stop
    return batch


def make_examples(count=8, seed=0):
    """Makes label rows with short targets, alternating with longer rationale rows."""
    rng = np.random.default_rng(seed)
    examples = []
    for number in range(count):
        task = 1 + number % 2
        inputs = [*rng.integers(2, 48, rng.integers(4, 11)).tolist(), 1]
        targets = [*rng.integers(2, 48, 1 if task == 1 else 6).tolist(), 1]
        examples.append((inputs, targets, task))
    return examples
