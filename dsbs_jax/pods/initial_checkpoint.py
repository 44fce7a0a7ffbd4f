"""What a run on T5X takes of the checkpoint that it begins with."""

from collections.abc import Iterable, Mapping
from typing import Any

from t5x import state_utils

from dsbs_jax.errors import UserError


def parameters(
    state_dict: Mapping[str, Any],
    target_state_dict: Mapping[str, Any],
    *,
    is_resuming: bool = False,
) -> Mapping[str, Any]:
    """All parameters and nothing else; one of T5X's `state_transformation_fns`.

    T5X makes anew what is not taken, as the optimiser and the count of steps have to
    be. It would make parameters anew too that a checkpoint of another network lacks,
    and say so in its log alone.

    Args:
        state_dict: The checkpoint's, whose leaves may be descriptions of arrays.
        target_state_dict: The student's.
        is_resuming: The checkpoint is this run's own, of which all is taken.

    Returns:
        The part of `state_dict` to restore.

    Raises:
        UserError: The checkpoint's parameters are not those of the student.
    """
    if is_resuming:
        return state_dict
    found, expected = (
        set(state_utils.flatten_state_dict(state.get("target", {})))
        for state in (state_dict, target_state_dict)
    )
    if found != expected:
        raise UserError(
            "INITIAL_CHECKPOINT_PATH is of another network than the student: only the "
            f"checkpoint has {_few(found - expected)}, only the student "
            f"{_few(expected - found)}"
        )
    return {"target": state_dict["target"]}


def _few(names: Iterable[str]) -> str:
    first, *more = sorted(names) or ["nothing more"]
    return f"{first} and {len(more)} more" if more else first
