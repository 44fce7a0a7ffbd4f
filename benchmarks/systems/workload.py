"""The examples, student sizes and operation counts that all systems share."""

import argparse
import dataclasses
import pathlib
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

# Token ids of a batch's pairs. "predict" and "explain" are the inputs of the two tasks,
# "label" and "rationale" their targets.
Batch = dict[str, list[list[int]]]


@dataclasses.dataclass(frozen=True)
class Shape:
    """Dimensions of a T5 v1.1 student."""

    width: int
    heads: int
    head_width: int
    layers: int
    mlp_width: int


SHAPES = {
    "tiny": Shape(64, 4, 16, 2, 128),
    "small": Shape(512, 6, 64, 8, 1024),
    "base": Shape(768, 12, 64, 12, 2048),
}
# Rows of the embedding, as published.
VOCAB_SIZE = 32_128
# Pieces of the vocabulary that is trained if none is given.
PIECES = 8_000
ALPHA, LEARNING_RATE, DROPOUT, CLIP = 0.5, 5e-5, 0.1, 1.0
# Largest number of new tokens of a prediction.
NEW_TOKENS = 64
# Rows that are decoded together.
ROWS = 64


def make_batches(options: argparse.Namespace) -> list[Batch]:
    """Tokenizes pairs of CommonsenseQA: label and rationale rows with their inputs.

    Training uses random rows of the training split, labelling uses the test split.
    """
    splits = read_examples(options.release)
    encode = load_vocabulary(options.vocabulary, splits["train"]).encode
    if options.work == "label":
        chosen = splits["test"][: options.examples or None]
    else:
        order = np.random.default_rng(0).permutation(len(splits["train"]))
        order = order[: options.pairs * options.batches]
        chosen = [splits["train"][i] for i in order]
    return [
        tokenize(chosen[start : start + options.pairs], encode)
        for start in range(0, len(chosen), options.pairs)
    ]


def read_examples(release: str) -> dict[str, list]:
    """Reads the records of each split that have a label and a rationale."""
    from dsbs_jax.released import reader

    splits = reader.open_release(release).read("cqa", "palm", None)
    return {
        name: [r for r in split.records if r.rationale and r.label]
        for name, split in splits.items()
    }


def load_vocabulary(path: str, records: Sequence) -> Any:
    """Loads a SentencePiece vocabulary, or trains one on `records` if `path` is ""."""
    from dsbs_jax.data import vocabulary

    if path:
        return vocabulary.load(path)
    with tempfile.TemporaryDirectory() as folder:
        model = str(pathlib.Path(folder) / "model")
        vocabulary.train(vocabulary.texts_of(records), model, PIECES)
        return vocabulary.load(model)


def tokenize(records: Sequence, encode: Callable[[str], list[int]]) -> Batch:
    """Tokenizes records; each row ends with the end token, 1."""
    return {
        "predict": [[*encode("predict: " + r.input), 1] for r in records],
        "label": [[*encode(r.label), 1] for r in records],
        "explain": [[*encode("explain: " + r.input), 1] for r in records],
        "rationale": [[*encode(r.rationale), 1] for r in records],
    }


def rows_to_label(batches: list[Batch]) -> list[list[int]]:
    """Lists the token ids of all inputs of the label task, in order."""
    return [row for batch in batches for row in batch["predict"]]


def pad(rows: list[list[int]], dtype: str = "int32") -> np.ndarray:
    """Makes one array of rows of different lengths: [[5 6] [7]] -> [[5 6] [7 0]]."""
    padded = np.zeros((len(rows), max(map(len, rows))), dtype)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = row
    return padded


def features_of_both_tasks(batch: Batch) -> dict[str, np.ndarray]:
    """Makes features of a batch's label rows, followed by its rationale rows.

    Each feature is padded to its longest row.
    """
    from dsbs_jax import task_ids

    targets = pad(batch["label"] + batch["rationale"])
    tasks = np.repeat([task_ids.LABEL, task_ids.RATIONALE], len(batch["label"]))
    return {
        "encoder_input_tokens": pad(batch["predict"] + batch["explain"]),
        "decoder_target_tokens": targets,
        "decoder_input_tokens": np.pad(targets, ((0, 0), (1, 0)))[:, :-1],
        "decoder_task_ids": np.where(targets > 0, tasks[:, None], 0).astype("i4"),
    }


def forward_flops(shape: Shape, source: float, target: float) -> float:
    """Counts the operations of a forward pass over one row, without padding.

    Args:
        shape: Dimensions of the student.
        source: Tokens of the input.
        target: Tokens of the target.
    """
    from dsbs_jax.student import operations

    size = {
        "EMB_DIM": shape.width,
        "NUM_HEADS": shape.heads,
        "HEAD_DIM": shape.head_width,
        "NUM_ENCODER_LAYERS": shape.layers,
        "NUM_DECODER_LAYERS": shape.layers,
        "MLP_DIM": shape.mlp_width,
        "MLP_ACTIVATIONS": ("gelu", "linear"),
    }
    return operations.forward_operations(size, source, target, VOCAB_SIZE)


def random_rows(rows: int, source: int, target: int) -> dict[str, np.ndarray]:
    """Makes a batch without padding: int32, encoder [B, S] and decoder [B, T]."""
    rng = np.random.default_rng(0)

    def tokens(length: int, end: int) -> np.ndarray:
        return rng.integers(1, end, (rows, length), dtype=np.int32)

    return {
        "encoder_input_tokens": tokens(source, VOCAB_SIZE),
        "decoder_input_tokens": tokens(target, VOCAB_SIZE),
        "decoder_target_tokens": tokens(target, VOCAB_SIZE),
        # 1 is a label and 2 a rationale.
        "decoder_task_ids": tokens(target, 3),
    }


def training_flops(shape: Shape, batch: Batch) -> float:
    """Counts the operations of forward and backward passes over a batch.

    A backward pass has twice the operations of a forward pass. Padding is not counted.
    """
    return 3 * sum(
        forward_flops(shape, len(source), len(target))
        for inputs, targets in (("predict", "label"), ("explain", "rationale"))
        for source, target in zip(batch[inputs], batch[targets], strict=True)
    )


def labelling_flops(shape: Shape, batches: list[Batch], tokens: float) -> float:
    """Counts the operations of predictions of `tokens` tokens for all label rows."""
    return sum(forward_flops(shape, len(row), tokens) for row in rows_to_label(batches))


def matrix_product_rate(factors: str) -> float:
    """Measures operations per second of a matrix product: the best of three shapes.

    Args:
        factors: The factors' type; the result is float32.
    """
    import jax
    import jax.numpy as jnp

    product = jax.jit(
        lambda left, right: jnp.dot(left, right, preferred_element_type=jnp.float32)
    )
    best = 0.0
    for m, k, n in ((2048, 512, 2048), (2048, 2048, 2048), (2048, 512, 32_128)):
        left, right = jnp.ones((m, k), factors), jnp.ones((k, n), factors)
        product(left, right).block_until_ready()
        for _ in range(5):
            start = time.perf_counter()
            product(left, right).block_until_ready()
            best = max(best, 2 * m * k * n / (time.perf_counter() - start))
    return best


def time_twice(work: Callable[[Any], None], batches: list) -> tuple[float, float]:
    """Measures the seconds for all batches: with compilation, and a second time."""
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        for batch in batches:
            work(batch)
        seconds.append(time.perf_counter() - start)
    return seconds[0], seconds[1]
