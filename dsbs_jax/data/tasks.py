"""The SeqIO tasks of a dataset, made from `methods.TaskInfo`."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import seqio
import tensorflow as tf

from dsbs_jax.data import preprocessors, row_schema, span_corruption
from dsbs_jax.data.methods import ANSWER_MARKER, FACTUAL_PREFIX, TaskInfo
from dsbs_jax.data.metrics import Target
from dsbs_jax.data.sources import RecordSource


def output_features(vocabulary: seqio.Vocabulary) -> dict[str, seqio.Feature]:
    """Returns the features of every task.

    `task_ids` tells for each target token which task it belongs to. SeqIO's checks ask
    for a vocabulary; the ids pass through it unchanged.
    """
    return {
        "inputs": seqio.Feature(vocabulary=vocabulary, add_eos=True),
        "targets": seqio.Feature(vocabulary=vocabulary, add_eos=True),
        "task_ids": seqio.Feature(
            vocabulary=seqio.PassThroughVocabulary(size=4), add_eos=False
        ),
    }


def pair_features(vocabulary: seqio.Vocabulary) -> dict[str, seqio.Feature]:
    """Returns the features of a task whose examples have both tasks of a row."""
    features = output_features(vocabulary)
    return {
        **features,
        "explain_inputs": features["inputs"],
        "explain_targets": features["targets"],
    }


class StudentTask(seqio.Task):
    """A SeqIO task that keeps its `TaskInfo` as `info`."""

    def __init__(
        self,
        info: TaskInfo,
        source: seqio.DataSource,
        vocabulary: seqio.Vocabulary,
        wrong_rationale_weight: float = 1.0,
    ) -> None:
        """Makes the task; nothing is read.

        Args:
            info: What the task reads and predicts.
            source: Yields rows with the fields of `row_schema`.
            vocabulary: Encodes inputs and targets.
            wrong_rationale_weight: Weight of the rationales of rows on which the
                teacher is wrong; 0 drops them.
        """
        self.info = info
        super().__init__(
            name=info.name,
            source=source,
            preprocessors=_preprocessors(info, wrong_rationale_weight),
            output_features=(pair_features if info.paired else output_features)(
                vocabulary
            ),
            postprocess_fn=functools.partial(_keep_label, single_task=info.single_task),
            metric_fns=[info.metric] if info.is_scored else [],
            shuffle_buffer_size=_shuffle_buffer(info, source),
        )


def _preprocessors(
    info: TaskInfo, wrong_rationale_weight: float
) -> list[Callable[..., tf.data.Dataset]]:
    """Returns the steps from a source's rows to the features of a task."""
    before: list[Callable[..., tf.data.Dataset]]
    after: list[Callable[..., tf.data.Dataset]] = []
    if info.is_pretraining:
        before = [span_corruption.encode]
        # The steps after the placeholder are repeated in each pass over the data.
        after = [span_corruption.split_long_texts, span_corruption.corrupt]
    else:
        before = [
            *_weighing(info, wrong_rationale_weight),
            *_splitting(info),
            _texts(info),
            preprocessors.tokenize,
        ]
    return [
        *before,
        seqio.CacheDatasetPlaceholder(),
        *after,
        seqio.preprocessors.append_eos_after_trim,
        functools.partial(
            preprocessors.add_task_ids,
            task_id=info.task_id,
            label_first=info.label_first,
        ),
    ]


def _texts(info: TaskInfo) -> Callable[..., tf.data.Dataset]:
    """Returns the preprocessor that makes the texts of inputs and targets."""
    if info.counterfactual:
        assert info.rationale is not None and info.label is not None
        return functools.partial(
            preprocessors.counterfactual_text,
            prefix=info.prefix,
            rationale=info.rationale,
            label=info.label,
        )
    if info.paired:
        assert info.rationale is not None and info.label is not None
        return functools.partial(
            preprocessors.pair_text,
            prefix=info.prefix,
            explain_prefix=info.spec.explain_prefix,
            label=info.label,
            rationale=info.rationale,
        )
    return functools.partial(
        preprocessors.text_to_text,
        prefix=info.prefix,
        label=info.label,
        rationale=info.rationale,
        label_first=info.label_first,
        target_prefix=info.target_prefix,
    )


def _weighing(info: TaskInfo, weight: float) -> list[Callable[..., tf.data.Dataset]]:
    """Returns the preprocessor that weighs rationales, if the task needs one."""
    if info.teacher is None or info.rationale is None or weight == 1.0:
        return []
    if info.counterfactual:
        # Their labels are wrong on purpose.
        return []
    return [
        functools.partial(
            preprocessors.weigh_wrong_rationales,
            teacher_label=row_schema.label_field(info.teacher),
            rationale=info.rationale,
            metric=info.metric,
            weight=weight,
        )
    ]


def _splitting(info: TaskInfo) -> list[Callable[..., tf.data.Dataset]]:
    """Returns the preprocessor that splits rows, if the task needs one."""
    if info.teacher is None or not info.each_rationale:
        return []
    return [functools.partial(preprocessors.each_rationale, teacher=info.teacher)]


def _shuffle_buffer(info: TaskInfo, source: seqio.DataSource) -> int:
    buffer = info.spec.shuffle_buffer
    if isinstance(source, RecordSource):
        # One row can become several examples.
        examples = source.most_rationales if info.each_rationale else 1
        return max(1, min(buffer, source.train_rows) * examples)
    return buffer


def infos_of(provider: seqio.Task | seqio.Mixture) -> list[TaskInfo]:
    """Returns what the tasks of a mixture, or one task, read and predict.

    Raises:
        TypeError: A task was not made by this project.
    """
    infos = []
    for task in seqio.get_subtasks(provider):
        if not isinstance(task, StudentTask):
            raise TypeError(
                f"task {task.name!r} is a {type(task).__name__}, expected a StudentTask"
            )
        infos.append(task.info)
    return infos


def split_answer(text: str) -> tuple[str, str]:
    """Splits a single-task output into rationale and label, at its last marker.

    "4 are more So the answer is red" -> ("4 are more", "red")
    "[Factual] 4 are more So the answer is red" -> ("4 are more", "red")
    """
    rationale, _, label = text.rpartition(ANSWER_MARKER.strip())
    rationale = rationale.strip().removeprefix(FACTUAL_PREFIX.strip())
    return rationale.strip(), label.strip()


def _keep_label(
    text: str,
    *,
    single_task: bool,
    example: Mapping[str, Any] | None = None,
    is_target: bool = False,
    **_: object,
) -> Target:
    """Returns the label of an output, or all acceptable labels of a target.

    A task with labels alone also scores students of the single-task methods, whose
    output has a rationale before the label.
    """
    answers = row_schema.answers_of(example) if example and is_target else ()
    label = text.strip() if is_target and not single_task else split_answer(text)[1]
    return answers or label
