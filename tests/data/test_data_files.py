"""Tests of a user's dataset and of its split."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsbs_jax.data import data_files
from dsbs_jax.data.records import Record
from dsbs_jax.errors import UserError


def make_records(inputs, labeled=lambda i: True):
    return [
        Record(str(i), text, "x" if labeled(i) else None, "y")
        for i, text in enumerate(inputs)
    ]


@given(st.lists(st.text("ab", min_size=1, max_size=6), min_size=1), st.randoms())
def test_split_is_a_partition_independent_of_the_order(inputs, rng):
    records = make_records(inputs)
    if len(set(inputs)) < 3:
        with pytest.raises(UserError, match="at least 3"):
            data_files.split_records(records)
        return
    split = data_files.split_records(records)
    assert list(split) == ["train", "validation", "test"]
    assert all(split.values())
    shuffled = rng.sample(records, len(records))
    for name, part in data_files.split_records(shuffled).items():
        assert {r.id for r in part} == {r.id for r in split[name]}
        assert [r for r in shuffled if r in part] == part
    members = [{r.input for r in part} for part in split.values()]
    assert sum(map(len, members)) == len(set(inputs))
    assert sum(map(len, split.values())) == len(records)


def test_split_sizes():
    split = data_files.split_records(make_records(map(str, range(95))))
    assert [len(part) for part in split.values()] == [75, 10, 10]


def test_rows_without_a_human_label_are_training_rows():
    records = make_records(map(str, range(50)), labeled=lambda i: i % 5 == 0)
    split = data_files.split_records(records)
    assert [len(part) for part in split.values()] == [48, 1, 1]
    assert all(r.label for name in ("validation", "test") for r in split[name])


def test_without_human_labels_any_row_is_held_out():
    records = make_records(map(str, range(20)), labeled=lambda i: False)
    assert [len(p) for p in data_files.split_records(records).values()] == [16, 2, 2]


def test_a_single_file_is_split_with_a_note(write, capsys):
    path = write(*({"input": str(i), "label": "x"} for i in range(20)))
    split = data_files.read_dataset(path)
    assert [len(part) for part in split.values()] == [16, 2, 2]
    assert "train 16, validation 2, test 2" in capsys.readouterr().err
    rows = [{"input": "only", "label": "x"}]
    with pytest.raises(UserError, match=r"few.jsonl: 1 distinct inputs cannot"):
        data_files.read_dataset(write(*rows, name="few.jsonl"))


def test_files_by_split(write):
    rows = [{"input": str(random.Random(0).random()), "label": "x"}]
    paths = {s: write(*rows, name=f"{s}.jsonl") for s in ("test", "train")}
    split = data_files.read_dataset(paths)
    assert list(split) == ["train", "test"]
    assert split["test"][0].id == "test-1"
    for files in ({"valid": paths["test"], **paths}, {"test": paths["test"]}, {}):
        with pytest.raises(UserError, match="expected train and optionally"):
            data_files.read_dataset(files)
