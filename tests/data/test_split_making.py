"""Tests of stratified splits."""

import collections

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dsbs_jax.data.records import Record
from dsbs_jax.data.split_making import make_splits
from dsbs_jax.errors import UserError


def make_records(pairs):
    return [
        Record(str(i), text, label, "teacher's")
        for i, (text, label) in enumerate(pairs)
    ]


PAIRS = st.lists(
    st.tuples(st.text("abc", min_size=1, max_size=5), st.sampled_from("xxxyyz")),
    min_size=3,
    max_size=120,
)


def usable(pairs):
    return len({text for text, _ in pairs}) >= 3 and len({x for _, x in pairs}) >= 2


@given(PAIRS, st.integers(0, 5), st.randoms())
def test_splits_are_a_partition_without_leaks(pairs, seed, rng):
    assume(usable(pairs))
    records = make_records(pairs)
    splits = make_splits(records, seed)
    assert list(splits) == ["train", "validation", "test"]
    ids = [record.id for part in splits.values() for record in part]
    assert sorted(ids) == sorted(record.id for record in records)
    inputs = [{record.input for record in part} for part in splits.values()]
    assert sum(map(len, inputs)) == len(set.union(*inputs))
    for part in splits.values():
        assert part == sorted(part, key=lambda record: int(record.id))
    shuffled = rng.sample(records, len(records))
    again = make_splits(shuffled, seed)
    for name, part in splits.items():
        assert {r.id for r in again[name]} == {r.id for r in part}


@given(
    st.lists(st.integers(2, 60), min_size=2, max_size=6),
    st.floats(0.05, 0.4),
    st.floats(0.05, 0.4),
    st.integers(0, 3),
)
def test_each_label_has_its_proportion_in_each_split(sizes, validation, test, seed):
    pairs = [(f"{c}-{i}", f"label {c}") for c, n in enumerate(sizes) for i in range(n)]
    splits = make_splits(make_records(pairs), seed, validation, test)
    counts = {
        name: collections.Counter(record.label for record in part)
        for name, part in splits.items()
    }
    assert all(counts["train"][f"label {c}"] for c in range(len(sizes)))
    if min(sizes) * (1 - validation - test) < 2:
        return  # a small label leaves rows to the others
    for name, proportion in (("test", test), ("validation", validation)):
        assert len(splits[name]) == max(1, round(proportion * sum(sizes)))
        for c, size in enumerate(sizes):
            assert abs(counts[name][f"label {c}"] - proportion * size) < 1


def test_sizes_and_seed():
    pairs = [(f"{i}", "yes" if i % 10 < 6 else "no") for i in range(100)]
    splits = make_splits(make_records(pairs))
    assert [len(part) for part in splits.values()] == [70, 10, 20]
    assert sum(record.label == "yes" for record in splits["test"]) == 12
    other = make_splits(make_records(pairs), seed=1)
    assert other["test"] != splits["test"]
    assert list(make_splits(make_records(pairs), validation=0)) == ["train", "test"]


def test_a_label_with_one_input_is_in_train():
    pairs = [(f"{i}", "ab"[i % 2]) for i in range(40)] + [("rare", "c"), ("rare", "c")]
    for seed in range(10):
        train = make_splits(make_records(pairs), seed)["train"]
        assert sum(record.label == "c" for record in train) == 2


def test_open_answers_are_split_as_one_class():
    pairs = [(f"{i}", f"answer {i}") for i in range(50)]
    splits = make_splits(make_records(pairs))
    assert [len(part) for part in splits.values()] == [35, 5, 10]


def test_rows_without_a_human_label_are_in_train():
    pairs = [(f"{i}", "ab"[i % 2] if i < 20 else None) for i in range(60)]
    splits = make_splits(make_records(pairs))
    assert [len(part) for part in splits.values()] == [54, 2, 4]
    assert all(r.label for name in ("validation", "test") for r in splits[name])


def test_teacher_labels_decide_where_there_are_no_human_labels():
    records = [
        Record(str(i), f"input {i}", None, "ab"[i % 2], "because") for i in range(40)
    ]
    splits = make_splits(records)
    assert [len(part) for part in splits.values()] == [28, 4, 8]
    assert sum(record.teacher_label == "a" for record in splits["test"]) == 4


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "there are no rows"),
        ([("same", "a"), ("same", "b")], "all 2 rows have the same input, 'same'; che"),
        ([("a", "x"), ("b", "x"), ("c", "x")], "all 3 labels are 'x', expected two or"),
        ([("a", "x"), ("b", "y")], "2 distinct inputs with a label cannot be split"),
    ],
)
def test_rows_that_cannot_be_split(pairs, message):
    with pytest.raises(UserError, match=message):
        make_splits(make_records(pairs))


def test_rows_without_any_label_cannot_be_split():
    records = [Record(str(i), str(i), rationale="r") for i in range(9)]
    with pytest.raises(
        UserError, match="none of 9 rows has a label or a teacher_label"
    ):
        make_splits(records)


@pytest.mark.parametrize("sizes", [(0.5, 0.5), (-0.1, 0.2), (0.1, 1.0)])
def test_proportions_out_of_range(sizes):
    with pytest.raises(UserError, match="expected numbers from 0 with a sum below 1"):
        make_splits(make_records([("a", "x"), ("b", "y"), ("c", "x")]), 0, *sizes)
