"""Span corruption, the objective with which T5 is pretrained on plain text.

Spans of a text are replaced by sentinels, and the student writes the spans:

    text      the quick brown fox jumps over the lazy dog
    inputs    the quick <extra_id_0> jumps over <extra_id_1> dog
    targets   <extra_id_0> brown fox <extra_id_1> the lazy

The definition is that of T5 (Raffel et al. 2020, section 3.1.4; google-research/
text-to-text-transfer-transformer, `t5/data/preprocessors.py`, `random_spans_noise_mask`
and `noise_span_to_unique_sentinel`). Of n tokens, round(0.15 n) are noise, in
round(noise / 3) spans, at least one of each; halves are rounded to the even number.
Spans of kept and of noise tokens alternate, and the first is kept. All such masks are
equally likely. The sentinels are the last ids of the vocabulary, the first one the
highest.

T5 joins texts to examples of equal length. Here a text stays an example, and only texts
that are too long are split, so that the student sees rows like those of its later task.
"""

import re
from collections.abc import Mapping

import seqio
import tensorflow as tf

from dsbs_jax.data.records import SEGMENT_SEPARATOR
from dsbs_jax.errors import UserError

NOISE_DENSITY = 0.15
MEAN_SPAN_LENGTH = 3.0
# A text of one token would have noise only.
MIN_TOKENS = 2
_END = 1  # tokens of an end of sequence


def noise_counts(tokens: int) -> tuple[int, int]:
    """Returns the noise tokens and the spans of a text of at least two tokens.

    20 tokens -> 3 noise tokens in 1 span
    """
    noise = min(max(round(tokens * NOISE_DENSITY), 1), tokens - 1)
    return noise, max(round(noise / MEAN_SPAN_LENGTH), 1)


def longest_text(lengths: Mapping[str, int], sentinels: int) -> int:
    """Returns the most tokens of a text whose inputs and targets are not truncated.

    Args:
        lengths: Tokens of `inputs` and `targets`, end tokens included.
        sentinels: Sentinels of the vocabulary.

    Raises:
        UserError: No text fits.
    """

    def fits(tokens: int) -> bool:
        noise, spans = noise_counts(tokens)
        return (
            tokens - noise + spans + _END <= lengths["inputs"]
            and noise + spans + _END <= lengths["targets"]
            and spans <= sentinels
        )

    # With two tokens to a part, a text of three can be split.
    longest = MIN_TOKENS + 1
    if not fits(longest):
        raise UserError(
            f"TASK_FEATURE_LENGTHS: inputs is {lengths['inputs']} and targets is "
            f"{lengths['targets']}, expected at least 4 and 3 for pretraining"
        )
    while fits(longest + 1):
        longest += 1
    return longest


def encode(
    dataset: tf.data.Dataset, output_features: Mapping[str, seqio.Feature]
) -> tf.data.Dataset:
    """Encodes the inputs of rows as plain text, and skips texts of one token.

    {"id": "7", "input": "A man.</s>A dog.", …}
    -> {"id": "7", "targets": [71, 388, 71, 1782],
        "targets_pretokenized": "A man. A dog."}

    Args:
        dataset: Rows with the fields of `row_schema`.
        output_features: Features with the vocabulary of `targets`.
    """
    vocabulary = output_features["targets"].vocabulary

    def convert(row: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        # An end token within the text would end the targets.
        separator = re.escape(SEGMENT_SEPARATOR)
        text = tf.strings.regex_replace(row["input"], separator, " ")
        return {
            "id": row["id"],
            "targets": vocabulary.encode_tf(text),
            "targets_pretokenized": text,
        }

    encoded = dataset.map(convert, num_parallel_calls=tf.data.AUTOTUNE)
    return encoded.filter(lambda example: tf.size(example["targets"]) >= MIN_TOKENS)


def split_long_texts(
    dataset: tf.data.Dataset,
    output_features: Mapping[str, seqio.Feature],
    sequence_length: Mapping[str, int] | None = None,
) -> tf.data.Dataset:
    """Splits texts that are too long into parts of about equal length.

    With at most 4 tokens: [1 2 3 4 5 6 7] -> [1 2 3], [4 5 6 7]

    Args:
        dataset: Examples with int32 `targets` [T].
        output_features: Features with the vocabulary of `targets`.
        sequence_length: Tokens of `inputs` and `targets`; None splits nothing.

    Raises:
        UserError: No text fits into these lengths.
    """
    if sequence_length is None:
        return dataset
    longest = longest_text(
        sequence_length, output_features["targets"].vocabulary.extra_ids
    )

    def split(example: Mapping[str, tf.Tensor]) -> tf.data.Dataset:
        tokens = example["targets"]
        size = tf.size(tokens)
        parts = (size + longest - 1) // longest

        def part(number: tf.Tensor) -> dict[str, tf.Tensor]:
            start, end = number * size // parts, (number + 1) * size // parts
            return {**example, "targets": tokens[start:end]}

        return tf.data.Dataset.range(tf.cast(parts, tf.int64)).map(
            lambda number: part(tf.cast(number, tf.int32))
        )

    return dataset.flat_map(split)


@seqio.map_over_dataset(num_seeds=2)
def corrupt(
    example: Mapping[str, tf.Tensor],
    output_features: Mapping[str, seqio.Feature],
    seeds: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Replaces random spans of `targets` by sentinels, and makes them the targets.

    With 3 as the highest sentinel's id (a toy): targets [10 11 12 13] ->
    inputs [10 3 13], targets [3 11 12]

    SeqIO gives each example other seeds in each pass over the data, and the same seeds
    for the same seed of the run.

    Args:
        example: int32 `targets` [T] with T >= 2.
        output_features: Features with the vocabulary of `targets`.
        seeds: Two seeds, int32 [2] each.
    """
    tokens = example["targets"]
    mask = noise_mask(tf.size(tokens), seeds)
    highest = output_features["targets"].vocabulary.vocab_size - 1
    return {
        **example,
        "inputs": replace_spans(tokens, mask, highest),
        "targets": replace_spans(tokens, ~mask, highest),
    }


def noise_mask(length: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
    """Draws which tokens are noise, bool [length].

    Args:
        length: Int32 scalar, at least 2.
        seeds: Two seeds, int32 [2] each.
    """
    noise, spans = _noise_counts(length)
    kept_lengths = _random_parts(length - noise, spans, seeds[0])
    noise_lengths = _random_parts(noise, spans, seeds[1])
    # kept, noise, kept, noise, …
    alternating = tf.reshape(tf.stack([kept_lengths, noise_lengths], axis=1), [-1])
    numbers = tf.searchsorted(tf.cumsum(alternating), tf.range(length), side="right")
    return numbers % 2 == 1


def _noise_counts(length: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes `noise_counts` of int32 [...], in float64 as Python does.

    T5 computes its masks in float32, which rounds the product 52.5 of 350 tokens up: of
    the lengths to 1,024, eight have one more noise token there than T5's own Python
    function counts.
    """

    def rounded(value: tf.Tensor) -> tf.Tensor:
        return tf.maximum(tf.cast(tf.round(value), tf.int32), 1)

    noise = rounded(tf.cast(length, tf.float64) * NOISE_DENSITY)
    noise = tf.minimum(noise, length - 1)
    return noise, rounded(tf.cast(noise, tf.float64) / MEAN_SPAN_LENGTH)


def _random_parts(items: tf.Tensor, parts: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Divides items into consecutive parts, each division with the same probability.

    7 items in 3 parts -> [2 1 4]

    Args:
        items: Int32 scalar, at least `parts`.
        parts: Int32 scalar, at least 1.
        seed: int32 [2].

    Returns:
        The number of items of each part, int32 [parts], at least 1.
    """
    # A division is a choice of parts - 1 of the items - 1 places between two items.
    order = tf.argsort(tf.random.stateless_uniform([items - 1], seed))
    ends = tf.concat([tf.sort(order[: parts - 1]) + 1, [items]], axis=0)
    return ends - tf.concat([[0], ends[:-1]], axis=0)


def replace_spans(tokens: tf.Tensor, mask: tf.Tensor, highest: int) -> tf.Tensor:
    """Replaces each run of masked tokens by one sentinel, the highest id first.

    [10 11 12 13 14], mask [0 1 1 0 1], highest 99 -> [10 99 13 98]

    Args:
        tokens: int32 [T].
        mask: bool [T].
        highest: Id of the first sentinel.

    Returns:
        int32, as many ids as kept tokens and runs.
    """
    starts = mask & ~tf.concat([[False], mask[:-1]], axis=0)
    runs_so_far = tf.cumsum(tf.cast(starts, tokens.dtype))
    replaced = tf.where(starts, highest + 1 - runs_so_far, tokens)
    return tf.boolean_mask(replaced, starts | ~mask)
