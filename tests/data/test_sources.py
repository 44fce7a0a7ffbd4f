"""Tests of the sources: a user's records and the prepared datasets."""

import json

import pytest
import seqio

from dsbs_jax.data import sources, splits, tables
from dsbs_jax.data.records import Record
from dsbs_jax.data.row_schema import record_columns
from dsbs_jax.data.sources import RecordSource
from dsbs_jax.data.splits import Subsample
from dsbs_jax.errors import UserError
from dsbs_jax.released import tfds_builder
from dsbs_jax.released.source import ReleasedSource

RECORDS = [
    Record(f"r{i}", f"question {i}", str(i), None, f"because {i}") for i in range(20)
]


def ids(source, split="train", **arguments):
    dataset = source.get_dataset(split, shuffle=False, **arguments)
    return [row["id"].decode() for row in dataset.as_numpy_iterator()]


def make_source(subsample=splits.ALL_ROWS):
    return RecordSource({"train": RECORDS, "test": RECORDS[:3]}, "sage", subsample)


def test_columns_of_records():
    records = [Record("a", "x", "1"), Record("b", "y", None, "2", "why")]
    assert record_columns(records, "sage") == {
        "id": ["a", "b"],
        "index": [0, 1],
        "input": ["x", "y"],
        "label": ["1", ""],
        "has_label": [True, False],
        "sage_label": ["", "2"],
        "has_sage_label": [False, True],
        "sage_rationale": ["", "why"],
        "has_sage_rationale": [False, True],
    }


def labels(source, split):
    dataset = source.get_dataset(split, shuffle=False)
    return [
        (row["label"].decode(), bool(row["has_label"]))
        for row in dataset.as_numpy_iterator()
    ]


def test_training_rows_without_a_human_label_use_the_teachers_label():
    records = [Record("a", "x", "1", "9"), Record("b", "y", None, "2", "why")]
    mixed = RecordSource({"train": records, "test": records}, "sage")
    assert labels(mixed, "train") == [("1", True), ("2", True)]
    # Scores compare with human labels if there are any.
    assert labels(mixed, "test") == [("1", True), ("", False)]
    unlabeled = RecordSource({"train": records[1:], "test": records[1:]}, "sage")
    assert labels(unlabeled, "test") == [("2", True)]
    assert mixed.has_human_labels and not unlabeled.has_human_labels


def test_rows_without_a_human_label_are_counted(tmp_path, capsys):
    path = tmp_path / "own.jsonl"
    rows = [
        {"input": "a", "label": "1"},
        {"input": "b", "teacher_label": "1", "rationale": "r"},
        {"input": "c", "rationale": "r"},
        {"input": "d", "rationale": "r"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tables.note.cache_clear()
    for _ in range(2):
        sources.from_files("own", {"train": str(path)}, "sage")
    assert capsys.readouterr().err.splitlines() == [
        "note: own: 1 of 4 training rows have no human label and use the teacher's",
        "note: own: 2 of 4 training rows have no label and no teacher_label",
    ]


def test_records_keep_their_order():
    source = make_source()
    assert ids(source) == [r.id for r in RECORDS]
    assert source.num_input_examples("train") == 20
    assert ids(source, "test") == ["r0", "r1", "r2"]


def test_shards_of_records_are_disjoint_and_complete():
    source = make_source()
    shards = [ids(source, shard_info=seqio.ShardInfo(i, 3)) for i in range(3)]
    assert sorted(sum(shards, [])) == sorted(r.id for r in RECORDS)


def test_subsample_takes_the_rows_of_the_permutation():
    subsample = Subsample(0.25, seed=3)
    source = make_source(subsample)
    chosen = subsample.choose(20)
    assert ids(source) == [RECORDS[i].id for i in chosen]
    assert source.num_input_examples("train") == len(chosen) == 5
    assert source.train_rows == 20
    # Only the training rows are subsampled.
    assert source.num_input_examples("test") == 3
    assert ids(source) == ids(source)
    assert ids(make_source(Subsample(0.25, seed=4))) != ids(source)


@pytest.fixture(scope="module")
def prepared(release_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    for dataset in ("cqa", "anli1"):
        tfds_builder.Dsbs(
            config=dataset, data_dir=folder, release=release_dir
        ).download_and_prepare()
    seqio.set_tfds_data_dir_override(str(folder))
    yield folder
    seqio.set_tfds_data_dir_override(None)


def indices(source, split):
    dataset = source.get_dataset(split, shuffle=False)
    return sorted(int(row["index"]) for row in dataset.as_numpy_iterator())


def test_validation_rows_are_carved_as_in_the_paper(prepared):
    source = ReleasedSource("cqa")
    train, validation = splits.carve_validation(20)
    assert indices(source, "train") == sorted(train)
    assert indices(source, "validation") == sorted(validation)


@pytest.mark.parametrize("seed", [0, 1])
def test_subsample_is_chosen_before_validation_is_carved(prepared, seed):
    subsample = Subsample(0.5, seed)
    source = ReleasedSource("cqa", subsample)
    train, validation = splits.train_and_validation(20, subsample, carved=True)
    assert indices(source, "train") == sorted(train)
    assert indices(source, "validation") == sorted(validation)
    assert source.num_input_examples("train") == len(train) == 9
    assert source.num_input_examples("validation") == len(validation) == 1
    assert indices(source, "test") == indices(ReleasedSource("cqa"), "test")


def test_subsample_of_a_dataset_with_its_own_validation_file(prepared):
    subsample = Subsample(0.5, 1)
    full, part = ReleasedSource("anli1"), ReleasedSource("anli1", subsample)
    rows = len(indices(full, "train"))
    assert indices(part, "train") == sorted(subsample.choose(rows))
    assert part.num_input_examples("train") == len(indices(part, "train"))
    assert indices(part, "validation") == indices(full, "validation")


def test_only_svamp_tests_and_validates():
    assert set(ReleasedSource("svamp").splits) == {"train", "validation", "test"}
    assert set(ReleasedSource("asdiv").splits) == {"train"}


def test_error_for_an_unprepared_dataset_names_the_command(prepared):
    source = ReleasedSource("svamp")
    for use in (source.num_input_examples, source.get_dataset):
        with pytest.raises(UserError, match="prepare --datasets=svamp"):
            use("train")
