import pytest

pytest.importorskip("t5x", reason="T5X is not installed", exc_type=ImportError)

from dsbs_jax.errors import UserError  # noqa: E402
from dsbs_jax.pods import initial_checkpoint  # noqa: E402

STATE = {"step": 0, "param_states": {"encoder": {"kernel": 0, "scale": 0}}}
# As native checkpoints describe an array that stands in files of its own.
ARRAY = {"driver": "zarr", "kvstore": {"driver": "file"}, "metadata": {"shape": [2]}}
PARAMETERS = {"encoder": {"kernel": ARRAY, "scale": 1}}
STUDENT = {"target": {"encoder": {"kernel": 2, "scale": 2}}, "state": STATE}


def test_parameters_are_taken_and_the_optimiser_is_not():
    found = initial_checkpoint.parameters(
        {"target": PARAMETERS, "state": STATE}, STUDENT
    )
    assert found == {"target": PARAMETERS}


def test_of_a_runs_own_checkpoint_all_is_taken():
    own = {"target": PARAMETERS, "state": STATE}
    assert initial_checkpoint.parameters(own, STUDENT, is_resuming=True) is own


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"encoder": {"kernel": ARRAY}}, "has nothing more, only the .* encoder/scale"),
        (
            {**PARAMETERS, "decoder": {"a": 1, "b": 2}},
            "only the checkpoint has decoder/a and 1 more, only the student nothing",
        ),
        ({}, "only the student encoder/kernel and 1 more"),
    ],
    ids=["fewer", "more", "none"],
)
def test_parameters_of_another_network_are_an_error(parameters, message):
    with pytest.raises(UserError, match=message):
        initial_checkpoint.parameters({"target": parameters}, STUDENT)


def test_a_file_without_parameters_is_an_error():
    with pytest.raises(UserError, match="INITIAL_CHECKPOINT_PATH is of another"):
        initial_checkpoint.parameters({"step": 3}, STUDENT)
