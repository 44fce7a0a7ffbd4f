import pytest

pytest.importorskip("t5x", reason="T5X is not installed", exc_type=ImportError)

from dsbs_jax.errors import UserError  # noqa: E402
from dsbs_jax.pods import initial_checkpoint  # noqa: E402

STATE = {"step": 0, "param_states": {"encoder": {"kernel": 0, "scale": 0}}}
# Native T5X checkpoints describe an array that has its own files like this.
ARRAY = {"driver": "zarr", "kvstore": {"driver": "file"}, "metadata": {"shape": [2]}}
PARAMETERS = {"encoder": {"kernel": ARRAY, "scale": 1}}
STUDENT = {"target": {"encoder": {"kernel": 2, "scale": 2}}, "state": STATE}


def test_parameters_are_kept_and_optimizer_state_is_not():
    restored = initial_checkpoint.parameters_only(
        {"target": PARAMETERS, "state": STATE}, STUDENT
    )
    assert restored == {"target": PARAMETERS}


def test_a_resumed_run_restores_everything():
    own = {"target": PARAMETERS, "state": STATE}
    restored = initial_checkpoint.parameters_only(own, STUDENT, is_resuming=True)
    assert restored is own


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"encoder": {"kernel": ARRAY}},
            "in the checkpoint: no parameter; only in the student: encoder/scale",
        ),
        (
            {**PARAMETERS, "decoder": {"a": 1, "b": 2}},
            "checkpoint: decoder/a and 1 more; only in the student: no parameter",
        ),
        ({}, "only in the student: encoder/kernel and 1 more"),
    ],
    ids=["fewer", "more", "none"],
)
def test_other_parameters_are_an_error(parameters, message):
    with pytest.raises(UserError, match=message):
        initial_checkpoint.parameters_only({"target": parameters}, STUDENT)


def test_a_file_without_parameters_is_an_error():
    with pytest.raises(UserError, match="INITIAL_CHECKPOINT_PATH holds another"):
        initial_checkpoint.parameters_only({"step": 3}, STUDENT)
