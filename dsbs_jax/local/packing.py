"""Several examples in a row, so that little of a batch is padding.

The objective counts tokens, so the same examples give the same loss and the same
gradients in whatever rows they stand (dropout's masks apart).
"""

import math

import numpy as np

# Rows of a packed batch are a multiple of this, so that a batch has the same shape on
# 1, 2, 4 or 8 devices.
_ROWS = 8
Batch = dict[str, np.ndarray]


def bucket(length: int) -> int:
    """Rounds a length up by less than a third, so that few shapes are compiled.

    8, 16, 24, 32, 40, … 64, 80, … 128, 160, … 256, 320 and so on.
    """
    unit = max(8, 2 ** (length.bit_length() - 3))
    return -(-length // unit) * unit


def pack(batch: Batch, tokens: int, parts: int = 1) -> Batch:
    """Puts a batch's examples into fewer and longer rows.

    Args:
        batch: Int32, one example a row: encoder features [B, S], decoder features [B, T].
        tokens: Inputs that a row holds on average, at most. Half of the student's width
            (D / 2) is a good choice: attention's cost for a token grows with the row's
            length, all other costs with D.
        parts: What the number of rows has to divide by.

    Returns:
        int32, the same features [R, S'] and [R, T'], and which example of its row each
        token is of, from 1, as `encoder_segment_ids` and `decoder_segment_ids`. The batch
        as it is, where it has no more rows than would come out.
    """
    lengths = np.stack(
        [
            (batch["encoder_input_tokens"] > 0).sum(axis=1),
            (batch["decoder_target_tokens"] > 0).sum(axis=1),
        ],
        axis=1,
    )
    unit = math.lcm(_ROWS, parts)
    rows = unit * -(-int(lengths[:, 0].sum()) // (unit * tokens))
    if rows >= len(lengths):
        return batch
    places, loads = _assign(lengths, rows)
    widths = {
        "encoder": bucket(int(loads[:, 0].max())),
        "decoder": bucket(int(loads[:, 1].max())),
    }
    packed = {
        name: np.zeros((rows, widths[name.split("_")[0]]), np.int32)
        for name in (*batch, "encoder_segment_ids", "decoder_segment_ids")
    }
    for example, (row, segment, *starts) in enumerate(places):
        for side, start, length in zip(
            ("encoder", "decoder"), starts, lengths[example], strict=True
        ):
            here = slice(start, start + length)
            packed[f"{side}_segment_ids"][row, here] = segment
            for name in batch:
                if name.startswith(side):
                    packed[name][row, here] = batch[name][example, :length]
    return packed


def _assign(lengths: np.ndarray, rows: int) -> tuple[list[tuple], np.ndarray]:
    """Spreads examples over rows so that none is much longer than another.

    The longest first, each to the row that it makes the least long: the "longest
    processing time" rule, for input and target tokens at once.

    Args:
        lengths: [B, 2], input and target tokens.
        rows: R.

    Returns:
        For each example its row, its number in the row from 1 and where its inputs and
        targets begin; and the tokens of each row, [R, 2].
    """
    share = lengths / np.maximum(lengths.sum(axis=0), 1)
    loads, shares = np.zeros((rows, 2), int), np.zeros((rows, 2))
    counts = np.zeros(rows, int)
    places: list[tuple] = [()] * len(lengths)
    for example in np.argsort(-share.max(axis=1), kind="stable"):
        row = int(np.argmin((shares + share[example]).max(axis=1)))
        counts[row] += 1
        places[example] = (row, int(counts[row]), *loads[row].tolist())
        loads[row] += lengths[example]
        shares[row] += share[example]
    return places, loads
