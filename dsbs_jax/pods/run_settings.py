"""Values that the gin files of T5X compute from other settings."""

import os
import typing

import seqio
from t5x import utils

from dsbs_jax.data import mixtures, tasks, vocabulary
from dsbs_jax.errors import UserError
from dsbs_jax.student.precision import Precision


def total_steps(steps: int, relative_steps: int | None = None) -> int:
    """Returns the step at which a run ends.

    T5X adds relative steps to the current step at every start, so a resumed run would
    become longer. Here steps always count from the run's own start: both settings mean
    the same, and a restart does not change them.

    Args:
        steps: TRAIN_STEPS, the steps of this run.
        relative_steps: TRAIN_STEPS_RELATIVE, T5X's other name for them. If given, it
            replaces `steps`.

    Raises:
        UserError: The number of steps is less than 1.
    """
    name = "TRAIN_STEPS" if relative_steps is None else "TRAIN_STEPS_RELATIVE"
    total = steps if relative_steps is None else relative_steps
    if total < 1:
        raise UserError(f"{name} is {total}, expected 1 or more")
    return total


def vocab_size(rows: int | None, student_vocabulary: seqio.Vocabulary) -> int:
    """Returns the number of rows of the student's embedding.

    Args:
        rows: VOCAB_SIZE, or None to derive it from the vocabulary.
        student_vocabulary: The vocabulary, with its sentinels.
    """
    return vocabulary.padded_size(student_vocabulary) if rows is None else rows


def activation_dtype(precision: Precision) -> str:
    """Returns the type of the activations of T5X's network.

    Its parameters, norms, softmax and loss are float32 with any type.

    Args:
        precision: PRECISION. T5X's network has one type for activations and factors
            of products, so 'mixed' and 'bfloat16' mean the same.

    Raises:
        UserError: The precision is unknown.
    """
    if precision not in typing.get_args(Precision):
        names = ", ".join(typing.get_args(Precision))
        raise UserError(f"PRECISION is {precision!r}, expected one of {names}")
    return "float32" if precision == "float32" else "bfloat16"


def absolute_path(path: str | None) -> str | None:
    """Makes a path absolute, because T5X's checkpoints require it.

    "runs/cqa" -> "/home/me/runs/cqa"; "gs://bucket/run" and None stay unchanged.

    Args:
        path: A path in the file system, an address, or None.
    """
    return os.path.abspath(path) if path and "://" not in path else path


def existing_split(split: str, mixture_or_task_name: str) -> str:
    """Returns the name of a split after checking that it exists.

    Args:
        split: EVAL_SPLIT.
        mixture_or_task_name: A registered mixture or task.

    Raises:
        UserError: The mixture or task does not have the split.
    """
    mixtures.check_split(seqio.get_mixture_or_task(mixture_or_task_name), split)
    return split


def validated(dataset: utils.DatasetConfig) -> utils.DatasetConfig | None:
    """Returns the settings of a validation dataset, or None for pretraining.

    Pretraining uses all rows and has no scores. With None, T5X does not evaluate.

    Args:
        dataset: T5X's settings of the dataset, with the name of a registered mixture.
    """
    infos = tasks.infos_of(seqio.get_mixture_or_task(dataset.mixture_or_task_name))
    return None if any(info.is_pretraining for info in infos) else dataset


def best_metric(mixture_or_task_name: str) -> str | None:
    """Returns the name of the metric that selects the best checkpoint.

    It is the accuracy on validation, under the name that T5X's evaluation gives it.
    T5X monitors one metric only; if a mixture has several label tasks, the first one
    counts. Pretraining has none: T5X then keeps the last checkpoint.

    Args:
        mixture_or_task_name: A registered mixture or task.

    Raises:
        UserError: The mixture has no label task.
    """
    for info in tasks.infos_of(seqio.get_mixture_or_task(mixture_or_task_name)):
        if info.is_pretraining:
            return None
        if info.is_scored:
            return f"inference_eval/{info.name}/eval/accuracy"
    raise UserError(
        f"MIXTURE_OR_TASK_NAME is {mixture_or_task_name!r}, expected a mixture with a "
        "label task, whose accuracy selects the best checkpoint"
    )


def registered_task(task_name: str, mixture_or_task_name: str) -> str:
    """Returns the name of a task after the tasks have been registered.

    Gin computes the arguments first, and computing the mixture's name registers the
    tasks of a user's own data.

    Args:
        task_name: The name to return.
        mixture_or_task_name: Not used; see above.
    """
    del mixture_or_task_name
    return task_name
