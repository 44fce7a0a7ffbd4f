import dataclasses

import pytest

from dsbs_jax.data import mixtures, teacher_weights
from dsbs_jax.data.data_config import DataConfig
from dsbs_jax.data.records import Record
from dsbs_jax.errors import UserError
from dsbs_jax.task_ids import MAX_WEIGHT

TWO = Record(
    "a",
    "x",
    rationale="r",
    rationales=("r", "s", "t"),
    rationale_weights=(1.0, 1.0, 0.4),
    rationale_teachers=("ann", "bo", "ann"),
)
UNKNOWN = Record("b", "y", rationale="u")
CONFIG = DataConfig(dataset="d", method="step_by_step_multi")


def test_a_teachers_weight_multiplies_those_of_its_rationales():
    first, second = teacher_weights.apply([TWO, UNKNOWN], {"ann": 0.5})
    assert first == dataclasses.replace(TWO, rationale_weights=(0.5, 1.0, 0.2))
    assert second == UNKNOWN


def test_rationales_of_weight_0_are_removed():
    equal = dataclasses.replace(TWO, rationale_weights=())
    (changed,) = teacher_weights.apply([equal], {"ann": 0, "bo": 2})
    assert changed.rationale == "s"
    assert changed.weighted_rationales == (("s", 2),)
    assert changed.rationale_teachers == ("bo",)
    only = Record(
        "c", "z", rationale="v", rationales=("v",), rationale_teachers=("ann",)
    )
    (_, changed) = teacher_weights.apply([equal, only], {"ann": 0})
    assert changed == Record("c", "z")


def test_a_product_may_be_the_largest_weight():
    row = dataclasses.replace(TWO, rationale_weights=(1.0, MAX_WEIGHT / 4, 0.4))
    (changed,) = teacher_weights.apply([row], {"bo": 4})
    assert changed.rationale_weights == (1.0, MAX_WEIGHT, 0.4)


@pytest.mark.parametrize("weights", [{}, {"ann": 1.0}, {"ann": 1, "bo": 1}])
def test_weights_of_1_change_nothing(weights):
    equal = dataclasses.replace(TWO, rationale_weights=())
    records = [TWO, equal, UNKNOWN]
    assert teacher_weights.apply(records, weights) == records


@pytest.mark.parametrize(
    ("records", "weights", "message"),
    [
        ([TWO], {"cy": 1.0}, "has 'cy', expected a teacher .* found ann, bo"),
        ([UNKNOWN], {"ann": 1.0}, "found no teacher .the field rationale_teachers"),
        ([TWO], {"ann": 0, "bo": 0}, "rationales of ann, bo have weight 0 after"),
        (
            [dataclasses.replace(TWO, rationale_weights=(1.0, 0.0, 0.4))],
            {"ann": 0},
            "rationales of ann, bo have weight 0 after .* TEACHER_WEIGHTS, expected",
        ),
        (
            [dataclasses.replace(TWO, rationale_weights=(1.0, 600.0, 0.4))],
            {"bo": 1_000},
            "row 'a': after .*, rationale_weights holds 600000.0, expected 0 to 524287",
        ),
    ],
)
def test_weights_that_fit_no_row_are_an_error(records, weights, message):
    with pytest.raises(UserError, match=message):
        teacher_weights.apply(records, weights)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher_weights": {"ann": -1.0}}, "TEACHER_WEIGHTS"),
        ({"teacher_weights": {"ann": MAX_WEIGHT + 1.0}}, "TEACHER_WEIGHTS"),
        ({"teacher_weights": {"ann": float("nan")}}, "TEACHER_WEIGHTS"),
        ({"teacher_weights": {"ann": "1"}}, "TEACHER_WEIGHTS"),
        ({"teacher_weights": {"": 1.0}}, "TEACHER_WEIGHTS"),
        (
            {"teacher_weights": {"ann": 1.0}, "method": "step_by_step"},
            "METHOD 'step_by_step', expected 'step_by_step_multi'",
        ),
    ],
)
def test_wrong_weights_are_an_error(changes, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(CONFIG, **changes)


def test_registered_datasets_have_no_weights():
    config = dataclasses.replace(CONFIG, teacher_weights={"palm": 1.0})
    with pytest.raises(UserError, match="with DATASET 'd', expected DATA_FILES"):
        mixtures.find(config)
