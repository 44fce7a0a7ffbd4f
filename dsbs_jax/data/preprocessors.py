"""From a row of a source to the features of a task.

A row holds `id`, `index`, `input`, `label`, `has_label` and for each teacher
`<teacher>_label`, `<teacher>_rationale` and a flag `has_…` for either; what is missing
is an empty string with its flag unset.
"""

from collections.abc import Mapping

import seqio
import tensorflow as tf

from dsbs_jax.data.records import SEGMENT_SEPARATOR

ANSWER_MARKER = " So the answer is "


def text_to_text(
    dataset: tf.data.Dataset,
    *,
    prefix: str = "",
    label: str | None = None,
    rationale: str | None = None,
) -> tf.data.Dataset:
    """Makes `inputs` and `targets`; rows that lack a field asked for are left out.

    With both fields the target is the rationale followed by the label, the single-task
    variant of the paper (section 4.3).

    Args:
        dataset: Rows as above.
        prefix: Stands before the input.
        label: Name of the field that holds the label.
        rationale: Name of the field that holds the rationale.

    Returns:
        `{"id", "inputs", "targets"}`, scalar strings. For example, with prefix
        "predict: " and label "label", `{"id": "7", "input": "2 + 2", "label": "4", …}`
        becomes `{"id": "7", "inputs": "predict: 2 + 2", "targets": "4"}`.
    """
    fields = [field for field in (rationale, label) if field is not None]

    def complete(row: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return tf.reduce_all([row[f"has_{field}"] for field in fields])

    def convert(row: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        target = tf.strings.join([row[f] for f in fields], separator=ANSWER_MARKER)
        return {
            "id": row["id"],
            "inputs": tf.strings.join([prefix, row["input"]]),
            "targets": target,
        }

    return dataset.filter(complete).map(convert, num_parallel_calls=tf.data.AUTOTUNE)


def encode_segments(text: tf.Tensor, vocabulary: seqio.Vocabulary) -> tf.Tensor:
    """Encodes text whose segments are parted by the end-of-sequence token.

    A SentencePiece encoder splits the string `</s>` into pieces, where Hugging Face's
    tokenizer, with which the released students were trained, makes it one token.

    Args:
        text: Scalar string, for example "A man sleeps.</s>A man is awake.".
        vocabulary: Encodes the segments.

    Returns:
        int32 [S], the segments' ids with the id of `</s>` between them, none at the end.
    """
    segments = tf.strings.split(text, SEGMENT_SEPARATOR)
    ids = vocabulary.encode_tf(segments)
    ends = tf.fill([ids.nrows(), 1], tf.cast(vocabulary.eos_id, ids.dtype))
    return tf.concat([ids, ends], axis=1).flat_values[:-1]


def tokenize(
    dataset: tf.data.Dataset, output_features: Mapping[str, seqio.Feature]
) -> tf.data.Dataset:
    """Encodes `inputs` by segments and `targets` as they are; keeps the texts.

    Returns:
        `inputs` and `targets` as int32 ids without a final end-of-sequence token, the
        texts as `inputs_pretokenized` and `targets_pretokenized`, `id` as it was.
    """

    def convert(example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        inputs, targets = example["inputs"], example["targets"]
        return {
            "id": example["id"],
            "inputs": encode_segments(inputs, output_features["inputs"].vocabulary),
            "targets": output_features["targets"].vocabulary.encode_tf(targets),
            "inputs_pretokenized": inputs,
            "targets_pretokenized": targets,
        }

    return dataset.map(convert, num_parallel_calls=tf.data.AUTOTUNE)


def add_task_ids(dataset: tf.data.Dataset, *, task_id: int) -> tf.data.Dataset:
    """Adds `task_ids`, int32 of the targets' length, each `task_id`.

    For example `{"targets": [7, 9, 1]}` gets `"task_ids": [2, 2, 2]` with task id 2.
    Comes after the targets are cut and their end-of-sequence token is appended.
    """

    def convert(example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {**example, "task_ids": tf.fill(tf.shape(example["targets"]), task_id)}

    return dataset.map(convert, num_parallel_calls=tf.data.AUTOTUNE)
