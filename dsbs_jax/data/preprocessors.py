"""Preprocessors: from a source's rows to the features of a task.

Rows have the fields of `row_schema`. With the prefix "predict: " and the label field
"label", one row passes through

    text_to_text   {"id": "7", "input": "2 + 2", "label": "4", "has_label": True, …}
                   -> {"id": "7", "inputs": "predict: 2 + 2", "targets": "4"}
    tokenize       -> {…, "inputs": [8, 20, 5, 20], "targets": [31]}
    (SeqIO)        cuts both features and appends the end-of-sequence token, id 1
    add_task_ids   -> {…, "targets": [31, 1], "task_ids": [1, 1]}
"""

from collections.abc import Mapping

import seqio
import tensorflow as tf

from dsbs_jax.data import row_schema
from dsbs_jax.data.methods import ANSWER_MARKER
from dsbs_jax.data.records import SEGMENT_SEPARATOR


def text_to_text(
    dataset: tf.data.Dataset,
    *,
    prefix: str = "",
    label: str | None = None,
    rationale: str | None = None,
) -> tf.data.Dataset:
    """Makes `inputs` and `targets`, and skips rows without a field that is needed.

    With both fields the target is the rationale followed by the label, the single-task
    variant of the paper (section 4.3):

        prefix="explain: ", rationale="palm_rationale":
        {"id": "7", "input": "2 + 2", "palm_rationale": "two and two", …}
        -> {"id": "7", "inputs": "explain: 2 + 2", "targets": "two and two"}

        rationale="palm_rationale", label="label":
        -> {"id": "7", "inputs": "2 + 2",
            "targets": "two and two So the answer is 4"}

    Args:
        dataset: Rows with the fields of `row_schema`.
        prefix: Text before the input.
        label: Name of the field of the label.
        rationale: Name of the field of the rationale.

    Returns:
        Examples `{"id", "inputs", "targets"}`, scalar strings. If `label` is the human
        label and the rows have several acceptable ones, also `answers`, strings [N].
    """
    fields = [field for field in (rationale, label) if field is not None]

    def is_complete(row: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return tf.reduce_all([row[row_schema.flag_of(field)] for field in fields])

    def convert(row: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        target = tf.strings.join([row[f] for f in fields], separator=ANSWER_MARKER)
        example = {
            "id": row["id"],
            "inputs": tf.strings.join([prefix, row["input"]]),
            "targets": target,
        }
        if label == row_schema.LABEL and row_schema.ANSWERS in row:
            example[row_schema.ANSWERS] = row[row_schema.ANSWERS]
        return example

    complete = dataset.filter(is_complete)
    return complete.map(convert, num_parallel_calls=tf.data.AUTOTUNE)


def encode_segments(text: tf.Tensor, vocabulary: seqio.Vocabulary) -> tf.Tensor:
    """Encodes a text whose segments are separated by the end-of-sequence token.

    "A man sleeps.</s>No man sleeps." -> [71, 388, 1, 465, 388]

    Hugging Face's tokenizer, with which the released students were trained, encodes
    `</s>` as one token. A SentencePiece encoder splits it into pieces, so the token is
    inserted here.

    Args:
        text: Scalar string.
        vocabulary: Encodes the segments.

    Returns:
        int32 [S], the segments' ids with id 1 between them and none at the end.
    """
    segments = tf.strings.split(text, SEGMENT_SEPARATOR)
    ids = vocabulary.encode_tf(segments)
    ends = tf.fill([ids.nrows(), 1], tf.cast(vocabulary.eos_id, ids.dtype))
    return tf.concat([ids, ends], axis=1).flat_values[:-1]


def encode_text(text: str, vocabulary: seqio.Vocabulary) -> list[int]:
    """Encodes a text as `encode_segments`, without TensorFlow."""
    first, *others = text.split(SEGMENT_SEPARATOR)
    ids = [*vocabulary.encode(first)]
    for segment in others:
        ids += [vocabulary.eos_id, *vocabulary.encode(segment)]
    return ids


def tokenize(
    dataset: tf.data.Dataset, output_features: Mapping[str, seqio.Feature]
) -> tf.data.Dataset:
    """Encodes `inputs` by segments and `targets` as one text, and keeps the texts.

    {"id": "7", "inputs": "predict: 2 + 2", "targets": "4"}
    -> {"id": "7", "inputs": [8, 20, 5, 20], "targets": [31],
        "inputs_pretokenized": "predict: 2 + 2", "targets_pretokenized": "4"}

    Args:
        dataset: The examples that `text_to_text` returns.
        output_features: Features with the vocabularies of `inputs` and `targets`.

    Returns:
        Examples with int32 `inputs` [S] and `targets` [T], without a final
        end-of-sequence token.
    """

    def convert(example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        inputs, targets = example["inputs"], example["targets"]
        return {
            **example,
            "inputs": encode_segments(inputs, output_features["inputs"].vocabulary),
            "targets": output_features["targets"].vocabulary.encode_tf(targets),
            "inputs_pretokenized": inputs,
            "targets_pretokenized": targets,
        }

    return dataset.map(convert, num_parallel_calls=tf.data.AUTOTUNE)


def add_task_ids(dataset: tf.data.Dataset, *, task_id: int) -> tf.data.Dataset:
    """Adds `task_ids`, int32 [T], which repeat the task's id for each target token.

    With task id 2: {"targets": [7, 9, 1]} -> {"targets": [7, 9, 1],
    "task_ids": [2, 2, 2]}

    It runs after the targets are cut and their end-of-sequence token is appended, so
    that both have the same length.
    """

    def convert(example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {**example, "task_ids": tf.fill(tf.shape(example["targets"]), task_id)}

    return dataset.map(convert, num_parallel_calls=tf.data.AUTOTUNE)
