"""Encodes inputs, and runs a student on them in batches of about the same length."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import seqio
from absl import logging

from dsbs_jax import interruption
from dsbs_jax.data.preprocessors import encode_text
from dsbs_jax.local.partitioning import Partitioner
from dsbs_jax.local.row_merging import round_up_length


def encode_inputs(
    texts: Sequence[str], vocabulary: seqio.Vocabulary, limit: int
) -> list[np.ndarray]:
    """Encodes inputs as a student reads them.

    Args:
        texts: The inputs with their prefix.
        vocabulary: Encodes the segments.
        limit: Tokens to which an input is truncated, with the end token. A note on
            standard error gives the number of inputs of this length or more.

    Returns:
        int32 [S] for each input, with its own S and the end token.
    """
    encoded = [
        np.asarray(
            [*encode_text(text, vocabulary)[: limit - 1], vocabulary.eos_id], np.int32
        )
        for text in texts
    ]
    full = sum(len(ids) == limit for ids in encoded)
    if full:
        logging.warning(
            "%d of %d inputs have %d tokens or more; longer ones are truncated",
            full,
            len(encoded),
            limit,
        )
    return encoded


def padded_batch_size(batch_size: int, partitioner: Partitioner) -> int:
    """Rounds a batch size up to a multiple of the number of copies of the student."""
    copies = partitioner.data_size
    return copies * -(-batch_size // copies)


def in_batches(
    compute: Callable[[jax.Array], Any],
    inputs: Sequence[np.ndarray],
    batch_size: int,
    partitioner: Partitioner,
) -> list[Any]:
    """Computes a result for each input.

    Args:
        compute: Takes the inputs of a batch, int32 [B, S], and returns arrays whose
            first axis is B, in any tree such as a tuple.
        inputs: Token ids of each input, int32 [S] with its own S.
        batch_size: Inputs of a batch.
        partitioner: Spreads each batch over the devices.

    Returns:
        For each input a tree as `compute` returns it, of arrays without the first axis.

    Raises:
        interruption.Stopped: A signal arrived in a block that records them.
    """
    results: list[Any] = [None] * len(inputs)
    # The longest first, so that a batch that does not fit fails at once.
    order = sorted(range(len(inputs)), key=lambda i: -len(inputs[i]))
    size = padded_batch_size(batch_size, partitioner)
    for start in range(0, len(order), size):
        interruption.check()
        rows = order[start : start + size]
        count = padded_rows(len(rows), size, partitioner)
        batch = {"inputs": _padded([inputs[i] for i in rows], count)}
        tokens = partitioner.put_batch(batch)["inputs"]
        with partitioner.mesh, nn.logical_axis_rules(partitioner.axis_rules):
            computed = jax.device_get(compute(tokens))
        for place, i in enumerate(rows):
            results[i] = jax.tree.map(lambda array, row=place: array[row], computed)
    return results


def padded_rows(rows: int, batch_size: int, partitioner: Partitioner) -> int:
    """Returns the number of rows to which a batch is padded.

    With a batch size of 24 and one copy of the student: 1, 2, 4, 8, 16, 24. So few
    inputs take less time than a complete batch, and few shapes are compiled.

    Args:
        rows: Inputs of the batch.
        batch_size: The most rows, from `padded_batch_size`.
        partitioner: Each copy of the student gets a power of two of rows.
    """
    copies = partitioner.data_size
    each = -(-rows // copies)
    return min(batch_size, copies << (each - 1).bit_length())


def _padded(inputs: Sequence[np.ndarray], rows: int) -> np.ndarray:
    """Pads the inputs of a batch, int32 [rows, S].

    Widths are rounded up, because each new shape is compiled.
    """
    width = round_up_length(max(1, *(len(ids) for ids in inputs)))
    padded = np.zeros((rows, width), np.int32)
    for row, ids in zip(padded, inputs, strict=False):
        row[: len(ids)] = ids
    return padded
