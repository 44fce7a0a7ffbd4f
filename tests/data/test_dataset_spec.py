"""Tests of the dataset specs."""

import pytest

from dsbs_jax.data import completions, dataset_spec, metrics
from dsbs_jax.data.dataset_spec import FeatureLengths
from dsbs_jax.errors import UserError
from dsbs_jax.released.specs import RELEASED


def test_every_released_dataset_has_a_spec():
    assert {*RELEASED, "default"} <= set(dataset_spec.names())
    for name, released in RELEASED.items():
        assert dataset_spec.get(name) is released.spec
    equations = {n for n in RELEASED if RELEASED[n].spec.metric.name != "exact_match"}
    assert equations == {"svamp", "asdiv"}
    closed = {n: RELEASED[n].spec.labels for n in RELEASED if RELEASED[n].spec.labels}
    assert closed == dict.fromkeys(("anli1", "esnli"), completions.NLI_CLASSES)


def test_a_teacher_may_have_its_own_parser():
    spec = dataset_spec.ANLI1
    assert spec.parser_of("palm") is spec.parser
    assert spec.parser_of("gpt_neox") is not spec.parser
    assert spec.parse("Why. So the answer is neutral.").label == "neutral"


def test_a_users_spec_is_registered_and_replaced():
    spec = dataset_spec.user_dataset("tickets", labels=("approve", "refuse"))
    assert (spec.parser, spec.metric) == (
        dataset_spec.DEFAULT.parser,
        metrics.EXACT_MATCH,
    )
    dataset_spec.register(spec)
    assert dataset_spec.get("tickets") is spec
    changed = dataset_spec.user_dataset("tickets")
    dataset_spec.register(changed)
    assert dataset_spec.find("tickets") is changed
    assert "tickets" in dataset_spec.names()


def test_an_unknown_name_is_reported():
    assert dataset_spec.find("ticket") is None
    with pytest.raises(UserError, match="dataset is 'ticket', expected one of cqa, sv"):
        dataset_spec.get("ticket")


def test_a_dataset_of_parts_has_no_rows_of_its_own():
    assert dataset_spec.SVAMP_ASDIV.parts == ("svamp", "asdiv")
    assert "svamp_asdiv" in dataset_spec.all_names()
    assert "svamp_asdiv" not in dataset_spec.names()


def test_task_ids_are_as_long_as_targets():
    lengths = FeatureLengths(512, 128).task_feature_lengths
    assert lengths == {"inputs": 512, "targets": 128, "task_ids": 128}
    dataset_spec.check_lengths(lengths)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ({"targets": 8, "task_ids": 8}, "inputs is None, expected 1 token or more"),
        ({"inputs": 0, "targets": 8}, "inputs is 0, expected 1 token or more"),
        ({"inputs": 8, "targets": 8}, "task_ids is None, expected the length of targ"),
        (
            {"inputs": 8, "targets": 8, "task_ids": 9},
            "is 9, expected the .* targets, 8",
        ),
    ],
)
def test_wrong_lengths_are_reported(lengths, message):
    with pytest.raises(UserError, match=f"TASK_FEATURE_LENGTHS: .*{message}"):
        dataset_spec.check_lengths(lengths)
