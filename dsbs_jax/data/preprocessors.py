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

import numpy as np
import seqio
import tensorflow as tf

from dsbs_jax.data import row_schema
from dsbs_jax.data.methods import ANSWER_MARKER
from dsbs_jax.data.metrics import Metric
from dsbs_jax.data.records import SEGMENT_SEPARATOR
from dsbs_jax.task_ids import CONTEXT, ONE, RATIONALE, TASK_BITS

# Id of the end-of-sequence token in every T5 vocabulary.
END = 1


def weigh_wrong_rationales(
    dataset: tf.data.Dataset,
    *,
    teacher_label: str,
    rationale: str,
    metric: Metric,
    weight: float,
) -> tf.data.Dataset:
    """Gives a weight to the rationales of rows on which the teacher is wrong.

    The teacher is wrong if the metric does not accept its label. A row without a human
    label or without a teacher label is not changed, because nothing is known about it.

        weight=0.5: {"label": "4", "palm_label": "5", …} -> {…, "weight": 0.5}
        weight=0.0: the row loses its rationale: {…, "has_palm_rationale": False}

    Args:
        dataset: Rows with the fields of `row_schema`.
        teacher_label: Name of the field of the teacher's label.
        rationale: Name of the field of the rationale.
        metric: Compares labels.
        weight: Weight of these rationales, 0 to less than 1.

    Returns:
        The rows; with a weight above 0 also `weight`, float32 scalar.
    """

    def accepts(answers: np.ndarray, given: bytes) -> np.bool_:
        # Rows with fewer answers than others are padded with "".
        target = tuple(answer.decode() for answer in answers if answer)
        return np.bool_(metric.accepts(target, given.decode()))

    def convert(row: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        answers = row.get(row_schema.ANSWERS, row[row_schema.LABEL][None])
        right = tf.numpy_function(accepts, [answers, row[teacher_label]], tf.bool)
        flags = row_schema.flag_of(row_schema.LABEL), row_schema.flag_of(teacher_label)
        wrong = row[flags[0]] & row[flags[1]] & ~tf.ensure_shape(right, [])
        if weight:
            return {**row, "weight": tf.where(wrong, weight, 1.0)}
        has = row_schema.flag_of(rationale)
        text = tf.where(wrong, "", row[rationale])
        return {**row, rationale: text, has: row[has] & ~wrong}

    return dataset.map(convert, num_parallel_calls=tf.data.AUTOTUNE)


def each_rationale(dataset: tf.data.Dataset, *, teacher: str) -> tf.data.Dataset:
    """Makes one row for each rationale of a row, with the weight of the rationale.

        {"id": "7", "palm_rationales": ["two and two", "count on", ""],
         "palm_rationale_weights": [0.4, 0.2, 0.0], …}
        -> {"id": "7", "palm_rationale": "two and two", "weight": 0.4, …},
           {"id": "7", "palm_rationale": "count on", "weight": 0.2, …}

    A weight that a row already has multiplies that of each rationale. Rationales of
    weight 0 are skipped. Rows of a dataset without `<teacher>_rationales` are not
    changed.

    Args:
        dataset: Rows with the fields of `row_schema`.
        teacher: Name of the teacher whose rationales are used.

    Returns:
        The rows, without the fields of all rationales.
    """
    texts_field = row_schema.rationales_field(teacher)
    weights_field = row_schema.rationale_weights_field(teacher)
    rationale = row_schema.rationale_field(teacher)
    if texts_field not in dataset.element_spec:
        return dataset

    def split(row: Mapping[str, tf.Tensor]) -> tf.data.Dataset:
        row = dict(row)
        texts, weights = row.pop(texts_field), row.pop(weights_field)
        # A row that has lost its rationale has none of the others either.
        used = row[row_schema.flag_of(rationale)] & (weights > 0.0)
        row["weight"] = weights[used] * row.get("weight", 1.0)
        row[rationale] = texts[used]
        count = tf.size(row[rationale])
        return tf.data.Dataset.from_tensor_slices(
            {
                name: value
                if name in ("weight", rationale)
                else tf.repeat(value[None], count, axis=0)
                for name, value in row.items()
            }
        )

    return dataset.flat_map(split)


def text_to_text(
    dataset: tf.data.Dataset,
    *,
    prefix: str = "",
    label: str | None = None,
    rationale: str | None = None,
    label_first: bool = False,
    target_prefix: str = "",
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

    With `label_first` the rationale follows the label (Wadhwa et al. 2024, arXiv
    2406.14511):

        -> {"id": "7", "inputs": "2 + 2", "targets": "4",
            "continuation": "two and two"}

    Args:
        dataset: Rows with the fields of `row_schema`.
        prefix: Text before the input.
        label: Name of the field of the label.
        rationale: Name of the field of the rationale.
        label_first: Whether the target is the label, and the rationale its
            continuation. Rows without a rationale have an empty continuation.
        target_prefix: Text before the target.

    Returns:
        Examples `{"id", "inputs", "targets"}`, scalar strings, with `label_first` also
        `continuation`. If `label` is the human label and the rows have several
        acceptable ones, also `answers`, strings [N]. `weight` is kept.
    """
    fields = [field for field in (rationale, label) if field is not None]
    if label_first:
        fields = [field for field in fields if field == label]

    def is_complete(row: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return tf.reduce_all([row[row_schema.flag_of(field)] for field in fields])

    def convert(row: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        target = tf.strings.join([row[f] for f in fields], separator=ANSWER_MARKER)
        if target_prefix:
            target = tf.strings.join([target_prefix, target])
        example = {
            "id": row["id"],
            "inputs": tf.strings.join([prefix, row["input"]]),
            "targets": target,
        }
        if "weight" in row:
            example["weight"] = row["weight"]
        if label_first and rationale is not None:
            example["continuation"] = row[rationale]
        if label == row_schema.LABEL and row_schema.ANSWERS in row:
            example[row_schema.ANSWERS] = row[row_schema.ANSWERS]
        return example

    complete = dataset.filter(is_complete)
    return complete.map(convert, num_parallel_calls=tf.data.AUTOTUNE)


def counterfactual_text(
    dataset: tf.data.Dataset, *, prefix: str, rationale: str, label: str
) -> tf.data.Dataset:
    """Makes `inputs`, `targets` and, apart from them, the `answer`.

    The answer is the only text that has a loss (Wang et al. 2023, arXiv 2305.01879):

        {"id": "7", "input": "2 + 2", "palm_counterfactual_rationale": "two and three",
         "palm_counterfactual_label": "5", …}
        -> {"id": "7", "inputs": "[Counterfactual] 2 + 2",
            "targets": "[Counterfactual] two and three So the answer is",
            "answer": "5"}

    Args:
        dataset: Rows with the fields of `row_schema`.
        prefix: Text before the input and before the target.
        rationale: Name of the field of the counterfactual rationale.
        label: Name of the field of its label.

    Returns:
        Examples of the rows that have both fields; none if the dataset lacks them.
    """
    missing = {rationale, label} - dataset.element_spec.keys()
    absent: dict[str, object] = {}
    for name in missing:
        absent |= {name: "", row_schema.flag_of(name): False}

    def convert(row: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        context = [prefix, row[rationale], ANSWER_MARKER.rstrip()]
        return {
            "id": row["id"],
            "inputs": tf.strings.join([prefix, row["input"]]),
            "targets": tf.strings.join(context),
            "answer": row[label],
        }

    flags = row_schema.flag_of(rationale), row_schema.flag_of(label)
    complete = dataset.map(lambda row: {**row, **absent}).filter(
        lambda row: row[flags[0]] & row[flags[1]]
    )
    return complete.map(convert, num_parallel_calls=tf.data.AUTOTUNE)


def pair_text(
    dataset: tf.data.Dataset,
    *,
    prefix: str,
    explain_prefix: str,
    label: str,
    rationale: str,
) -> tf.data.Dataset:
    """Makes the inputs and targets of both tasks of a row, in one example.

        {"id": "7", "input": "2 + 2", "label": "4", "palm_rationale": "two and two", …}
        -> {"id": "7", "inputs": "predict: 2 + 2", "targets": "4",
            "explain_inputs": "explain: 2 + 2", "explain_targets": "two and two"}

    Args:
        dataset: Rows with the fields of `row_schema`.
        prefix: Text before the input of the label task.
        explain_prefix: Text before the input of the rationale task.
        label: Name of the field of the label.
        rationale: Name of the field of the rationale.

    Returns:
        Examples of the rows with a label. Without a rationale the texts of the
        rationale task are empty. `weight` is kept.
    """

    def convert(row: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        explain = tf.strings.join([explain_prefix, row["input"]])
        has = row[row_schema.flag_of(rationale)]
        example = {
            "id": row["id"],
            "inputs": tf.strings.join([prefix, row["input"]]),
            "targets": row[label],
            "explain_inputs": tf.where(has, explain, ""),
            "explain_targets": row[rationale],
        }
        return example | ({"weight": row["weight"]} if "weight" in row else {})

    labeled = dataset.filter(lambda row: row[row_schema.flag_of(label)])
    return labeled.map(convert, num_parallel_calls=tf.data.AUTOTUNE)


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
    if isinstance(vocabulary, seqio.ByteVocabulary):
        # It would pad several segments to the same length.
        signature = tf.RaggedTensorSpec([None], tf.int32)
        ids = tf.map_fn(vocabulary.encode_tf, segments, fn_output_signature=signature)
    else:
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

    A continuation that is not empty is encoded too, after an end-of-sequence token:

    {"targets": "4", "continuation": "two and two"} -> {"targets": [31, 1, 12, 9, 12],
        "targets_pretokenized": "4"}

    An answer is encoded apart, so that the number of tokens before it is known:

    {"targets": "two and three So the answer is", "answer": "5"}
    -> {"targets": [12, 9, 14, 6, 3, 8, 2, 35], "context": 7,
        "targets_pretokenized": "two and three So the answer is 5"}

    Args:
        dataset: The examples that `text_to_text` or `counterfactual_text` returns.
        output_features: Features with the vocabularies of `inputs` and `targets`.

    Returns:
        Examples with int32 `inputs` [S] and `targets` [T], without a final
        end-of-sequence token. `continuation` and `answer` are removed. `context`, int32
        scalar, is the number of target tokens before the answer. `explain_inputs` and
        `explain_targets` are encoded like the others.
    """

    def convert(example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        example = dict(example)
        inputs, targets = example["inputs"], example["targets"]
        words = output_features["targets"].vocabulary
        target_ids = words.encode_tf(targets)
        if "continuation" in example:
            ids = words.encode_tf(example.pop("continuation"))
            end = tf.fill([tf.cast(tf.size(ids) > 0, tf.int32)], words.eos_id)
            target_ids = tf.concat([target_ids, tf.cast(end, ids.dtype), ids], axis=0)
        if "answer" in example:
            answer = example.pop("answer")
            targets = tf.strings.join([targets, answer], separator=" ")
            example["context"] = tf.size(target_ids)
            target_ids = tf.concat([target_ids, words.encode_tf(answer)], axis=0)
        if "explain_inputs" in example:
            sources = output_features["explain_inputs"].vocabulary
            text = example["explain_inputs"]
            example["explain_inputs"] = encode_segments(text, sources)
            example["explain_targets"] = words.encode_tf(example["explain_targets"])
        return {
            **example,
            "inputs": encode_segments(inputs, output_features["inputs"].vocabulary),
            "targets": target_ids,
            "inputs_pretokenized": inputs,
            "targets_pretokenized": targets,
        }

    return dataset.map(convert, num_parallel_calls=tf.data.AUTOTUNE)


def add_task_ids(
    dataset: tf.data.Dataset, *, task_id: int, label_first: bool = False
) -> tf.data.Dataset:
    """Adds `task_ids`, int32 [T], the task of each target token.

    With task id 2: {"targets": [7, 9, 1]} -> {"targets": [7, 9, 1],
    "task_ids": [2, 2, 2]}

    With task id 1 and `label_first`: {"targets": [31, 1, 12, 9, 1]} -> {"targets":
    [31, 1, 12, 9, 1], "task_ids": [1, 1, 2, 2, 2]}

    With task id 2 and 3 tokens of context: {"targets": [12, 9, 14, 35, 1], "context":
    3} -> {"targets": [12, 9, 14, 35, 1], "task_ids": [3, 3, 3, 2, 2]}

    It runs after the targets are cut and their end-of-sequence token is appended, so
    that both have the same length.

    Args:
        dataset: Examples with int32 `targets` [T].
        task_id: The task of the target.
        label_first: Whether the tokens after the first end-of-sequence token belong to
            the rationale task. The `weight` of an example then applies to them only.

    Returns:
        The examples with `task_ids`; those with `explain_targets` also with
        `explain_task_ids`, to which alone their `weight` applies.
    """

    def convert(example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        example = dict(example)
        ids = tf.fill(tf.shape(example["targets"]), task_id)
        if label_first:
            is_end = tf.cast(example["targets"] == END, tf.int32)
            ends_before = tf.cumsum(is_end, exclusive=True)
            ids = tf.where(ends_before > 0, RATIONALE, ids)
        if "context" in example:
            place = tf.range(tf.size(ids))
            ids = tf.where(place < example.pop("context"), CONTEXT, ids)
        if "explain_targets" in example:
            explain = tf.fill(tf.shape(example["explain_targets"]), RATIONALE)
            if "weight" in example:
                explain += _upper_bits(example.pop("weight"))
            example["explain_task_ids"] = explain
        if "weight" in example:
            weighted = ids + _upper_bits(example.pop("weight"))
            ids = tf.where(ids == RATIONALE, weighted, ids) if label_first else weighted
        return {**example, "task_ids": ids}

    return dataset.map(convert, num_parallel_calls=tf.data.AUTOTUNE)


def _upper_bits(weight: tf.Tensor) -> tf.Tensor:
    """Returns what a weight adds to a task id: 0.5 -> 4 * 512, 1.0 -> 0."""
    units = tf.maximum(1, tf.cast(tf.round(weight * ONE), tf.int32))
    return tf.where(units == ONE, 0, units * 2**TASK_BITS)
