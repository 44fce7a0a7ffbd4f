"""Settings of a run on T5X that follow from others."""

import os

import seqio

from dsbs_jax.data import registration
from dsbs_jax.errors import UserError


def total_steps(steps: int, relative_steps: int | None = None) -> int:
    """The step that a run ends with.

    T5X adds relative steps to where a run stands whenever it starts, so that one that
    was stopped would become longer. Steps here count from the run's own start, so that
    both settings mean the same, and a restart changes neither.

    Args:
        steps: Of the run.
        relative_steps: The same by T5X's other name; it is what counts where it is given.

    Raises:
        UserError: It is less than 1.
    """
    name = "TRAIN_STEPS_RELATIVE" if relative_steps is not None else "TRAIN_STEPS"
    total = steps if relative_steps is None else relative_steps
    if total < 1:
        raise UserError(f"{name} is {total}, expected 1 or more")
    return total


def absolute_path(path: str | None) -> str | None:
    """A path that may be relative, as T5X's checkpoints need it.

    Args:
        path: In the file system, or an address such as gs://bucket/run.
    """
    return os.path.abspath(path) if path and "://" not in path else path


def best_metric(mixture_or_task_name: str) -> str:
    """What the best checkpoint is chosen by: accuracy, as T5X's evaluation logs it.

    T5X follows one number only; where a mixture has several label tasks, it is the
    first one's.

    Raises:
        UserError: The mixture has no label task.
    """
    for task in seqio.get_subtasks(seqio.get_mixture_or_task(mixture_or_task_name)):
        if registration.TASKS[task.name].label is not None:
            return f"inference_eval/{task.name}/eval/accuracy"
    raise UserError(
        f"MIXTURE_OR_TASK_NAME: {mixture_or_task_name!r} has no label task to choose "
        "the best checkpoint by"
    )


def registered_task(task_name: str, mixture_or_task_name: str) -> str:
    """A task's name, once the mixture's setting has registered the tasks.

    Args:
        task_name: What is returned.
        mixture_or_task_name: A user's own data are registered by the reading of it.
    """
    del mixture_or_task_name
    return task_name
