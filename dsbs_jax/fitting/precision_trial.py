"""Measures on this machine whether mixed precision trains faster than float32."""

import dataclasses
import functools
import statistics
import time
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dsbs_jax.local import step
from dsbs_jax.student import precision as precisions
from dsbs_jax.student.config import T5Config
from dsbs_jax.student.network import Transformer
from dsbs_jax.student.precision import Precision
from dsbs_jax.task_ids import LABEL

# Most input tokens of the measured batch, and how often each precision is measured.
_TOKENS, _RUNS = 2048, 5
# Mixed precision has to save more than the measurement varies.
_WORTHWHILE = 1.05
# Width from which the measurement is worth its compilation. A step of a student of
# width 64 takes the same time in both precisions.
_SMALLEST_WIDTH = 256


def choose(
    network: T5Config, rows: int, input_length: int, target_length: int
) -> tuple[Precision, str]:
    """Chooses the precision of a run, and gives the reason.

    Measures the gradients of a student with one encoder and one decoder layer of the
    same size, and with the layer's share of the vocabulary.

    Args:
        network: The student's size.
        rows: Rows of a batch.
        input_length: Tokens of an input.
        target_length: Tokens of a target.
    """
    if network.emb_dim < _SMALLEST_WIDTH:
        return "float32", f"products of width {network.emb_dim} take little of a step"
    types = precisions.compute_types("mixed")
    if types == precisions.compute_types("float32"):
        return "float32", "products of bfloat16 numbers are not supported"
    rows = max(1, min(rows, _TOKENS // input_length))
    names: tuple[Precision, ...] = ("float32", "mixed")
    seconds = {
        name: _seconds(_one_layer(network, name), rows, input_length, target_length)
        for name in names
    }
    reason = ", ".join(f"{name} {1000 * s:.0f}" for name, s in seconds.items())
    faster = seconds["float32"] > _WORTHWHILE * seconds["mixed"]
    return "mixed" if faster else "float32", f"measured ms of a layer: {reason}"


def _one_layer(network: T5Config, precision: Precision) -> T5Config:
    layers = network.num_encoder_layers + network.num_decoder_layers
    return dataclasses.replace(
        network,
        num_encoder_layers=1,
        num_decoder_layers=1,
        # The embedding and the output layer are as large a part of the step as in the
        # complete student.
        vocab_size=max(256, 2 * network.vocab_size // layers),
        precision=precision,
        scan=False,
    )


@functools.cache
def _seconds(
    network: T5Config, rows: int, input_length: int, target_length: int
) -> float:
    """Returns the time of the gradients of a batch of random tokens."""
    model = Transformer(network)
    rng = np.random.default_rng(0)

    def tokens(length: int) -> jax.Array:
        return jnp.asarray(rng.integers(1, network.vocab_size, (rows, length)))

    batch = {
        "encoder_input_tokens": tokens(input_length),
        "decoder_input_tokens": tokens(target_length),
        "decoder_target_tokens": tokens(target_length),
        "decoder_task_ids": jnp.full((rows, target_length), LABEL),
    }
    start = batch["encoder_input_tokens"], batch["decoder_input_tokens"]
    params: Any = nn.unbox(jax.jit(model.init)(jax.random.key(0), *start))["params"]
    gradients = jax.jit(functools.partial(step.gradients, model, alpha=1.0))
    jax.block_until_ready(gradients(params, batch))  # compiles
    seconds = []
    for _ in range(_RUNS):
        began = time.perf_counter()
        jax.block_until_ready(gradients(params, batch))
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)
