"""Merges the examples of a batch into fewer rows, so that less of it is padding.

The training loop does this with every batch that SeqIO has not packed. SeqIO's packing
(`PACK`) fills rows while it reads the dataset, and so changes which examples are in a
batch. Merging keeps the examples of a batch and only moves them.
The objective averages over tokens, so the loss and the gradients are those of one
example per row (except for the random masks of dropout).
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

# The number of merged rows is a multiple of this, so that a batch has the same shape on
# 1, 2, 4 or 8 devices.
_ROWS_MULTIPLE = 8
Batch = dict[str, np.ndarray]


def round_up_length(length: int) -> int:
    """Rounds a length up by less than a third, so that few shapes are compiled.

    8, 16, 24, 32, 40, ... 64, 80, ... 128, 160, ... 256, 320, ...
    """
    # An eighth to a quarter of the length: four steps to each power of two.
    unit = max(8, 2 ** (length.bit_length() - 3))
    return -(-length // unit) * unit


class _Place(NamedTuple):
    """Where an example is in the merged batch.

    Attributes:
        row: The row.
        segment: Number of the example in its row, from 1.
        encoder_start: Column of its first input token.
        decoder_start: Column of its first target token.
    """

    row: int
    segment: int
    encoder_start: int
    decoder_start: int


def merge_rows(batch: Batch, tokens_per_row: int, multiple_of: int = 1) -> Batch:
    """Moves the examples of a batch into fewer and longer rows.

    [a a 0 0], [b 0 0 0] -> [a a b 0] with segment ids [1 1 2 0]

    Args:
        batch: int32, one example in each row: [B, S] for encoder features, [B, T] for
            decoder features. A batch with segment ids is not changed.
        tokens_per_row: Input tokens of a row on average, at most. Half of the student's
            width (D / 2) is a good choice: the cost of attention for a token grows with
            the length of the row, all other costs grow with D.
        multiple_of: The number of rows is a multiple of this.

    Returns:
        The same features, int32 [R, S'] and [R, T'], with `encoder_segment_ids` and
        `decoder_segment_ids`: the number of the example that each token belongs to,
        from 1 in each row. The batch itself if merging saves no row.
    """
    if "encoder_segment_ids" in batch:
        return batch
    lengths = np.stack(
        [
            (batch["encoder_input_tokens"] > 0).sum(axis=1),
            (batch["decoder_target_tokens"] > 0).sum(axis=1),
        ],
        axis=1,
    )
    unit = math.lcm(_ROWS_MULTIPLE, multiple_of)
    rows = unit * -(-int(lengths[:, 0].sum()) // (unit * tokens_per_row))
    if rows >= len(lengths):
        return batch
    places, used = _assign_rows(lengths, rows)
    return _copy_examples(batch, lengths, places, used)


def _copy_examples(
    batch: Mapping[str, np.ndarray],
    lengths: np.ndarray,
    places: list[_Place],
    used: np.ndarray,
) -> Batch:
    """Copies each example to its place in new arrays.

    Args:
        batch: As in `merge_rows`.
        lengths: int [B, 2], input and target tokens of each example.
        places: The place of each example.
        used: int [R, 2], input and target tokens of each merged row.
    """
    widths = {
        "encoder": round_up_length(int(used[:, 0].max())),
        "decoder": round_up_length(int(used[:, 1].max())),
    }
    merged = {
        name: np.zeros((len(used), widths[name.split("_")[0]]), np.int32)
        for name in (*batch, "encoder_segment_ids", "decoder_segment_ids")
    }
    for example, place in enumerate(places):
        source, target = lengths[example]
        columns = {
            "encoder": (place.encoder_start, source),
            "decoder": (place.decoder_start, target),
        }
        for side, (start, length) in columns.items():
            span = slice(start, start + length)
            merged[f"{side}_segment_ids"][place.row, span] = place.segment
            for name in batch:
                if name.startswith(side):
                    merged[name][place.row, span] = batch[name][example, :length]
    return merged


def _assign_rows(lengths: np.ndarray, rows: int) -> tuple[list[_Place], np.ndarray]:
    """Spreads examples over rows of about the same length.

    The rule is "longest processing time first" (Graham 1969), for input and target
    tokens at once: the examples are placed in order of length, the longest first. Each
    example goes into the row that is the least full with it. A row's fullness is the
    larger of its proportions of all input tokens and of all target tokens, because the
    fullest row decides the width of either side.

    Args:
        lengths: int [B, 2], input and target tokens of each example.
        rows: R, the number of rows.

    Returns:
        The place of each example, and the tokens of each row, int [R, 2].
    """
    proportions = lengths / np.maximum(lengths.sum(axis=0), 1)
    used, filled = np.zeros((rows, 2), int), np.zeros((rows, 2))
    counts = np.zeros(rows, int)
    places: dict[int, _Place] = {}
    # A stable sort makes the result depend on the batch alone.
    for example in np.argsort(-proportions.max(axis=1), kind="stable"):
        row = int(np.argmin((filled + proportions[example]).max(axis=1)))
        counts[row] += 1
        places[int(example)] = _Place(row, int(counts[row]), *used[row].tolist())
        used[row] += lengths[example]
        filled[row] += proportions[example]
    return [places[example] for example in range(len(lengths))], used
