"""Selects what a run on T5X restores from its initial checkpoint."""

from collections.abc import Iterable, Mapping
from typing import Any

from t5x import state_utils

from dsbs_jax.errors import UserError


def parameters_only(
    state_dict: Mapping[str, Any],
    target_state_dict: Mapping[str, Any],
    *,
    is_resuming: bool = False,
) -> Mapping[str, Any]:
    """Keeps the parameters of a checkpoint; one of T5X's `state_transformation_fns`.

    {"target": parameters, "state": optimizer and step} -> {"target": parameters}

    T5X initializes everything that this function removes (with `fallback_to_scratch`),
    so a run starts with a new optimizer and at step 0. T5X would also initialize
    parameters that the checkpoint does not have, and only log their names. Therefore
    this function compares the names of all parameters first.

    Args:
        state_dict: The checkpoint's state; a leaf may be the description of an array.
        target_state_dict: The state of the student to be trained.
        is_resuming: Whether the checkpoint belongs to this run; then all of it is kept.

    Returns:
        The part of `state_dict` to restore.

    Raises:
        UserError: The checkpoint and the student have different parameters.
    """
    if is_resuming:
        return state_dict
    in_checkpoint = _parameter_names(state_dict)
    in_student = _parameter_names(target_state_dict)
    if in_checkpoint != in_student:
        raise UserError(
            "INITIAL_CHECKPOINT_PATH holds another network than the student: "
            f"only in the checkpoint: {_abbreviated(in_checkpoint - in_student)}; "
            f"only in the student: {_abbreviated(in_student - in_checkpoint)}"
        )
    return {"target": state_dict["target"]}


def _parameter_names(state_dict: Mapping[str, Any]) -> set[str]:
    return set(state_utils.flatten_state_dict(state_dict.get("target", {})))


def _abbreviated(names: Iterable[str]) -> str:
    first, *others = sorted(names) or ["no parameter"]
    return f"{first} and {len(others)} more" if others else first
