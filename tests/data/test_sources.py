import gin
import pytest
import seqio

from dsbs_jax.data import splits
from dsbs_jax.data.records import Record
from dsbs_jax.data.sources import RecordSource, rows, subsample
from dsbs_jax.errors import UserError
from dsbs_jax.released import tfds_builder
from dsbs_jax.released.source import ReleasedSource

RECORDS = [
    Record(f"r{i}", f"question {i}", str(i), None, f"because {i}") for i in range(20)
]


@pytest.fixture(autouse=True)
def clean():
    yield
    gin.clear_config()


def choose(fraction, seed=0):
    gin.clear_config()
    gin.bind_parameter("dsbs_jax.data.sources.subsample.fraction", fraction)
    gin.bind_parameter("dsbs_jax.data.sources.subsample.seed", seed)


def ids(source, split="train", **arguments):
    dataset = source.get_dataset(split, shuffle=False, **arguments)
    return [row["id"].decode() for row in dataset.as_numpy_iterator()]


@pytest.fixture
def held():
    return RecordSource({"train": RECORDS, "test": RECORDS[:3]}, "sage")


def test_columns_of_records():
    columns = rows([Record("a", "x", "1"), Record("b", "y", None, "2", "why")], "sage")
    assert columns == {
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


def test_training_rows_without_a_human_label_use_the_teachers():
    records = [Record("a", "x", "1", "9"), Record("b", "y", None, "2", "why")]
    mixed = RecordSource({"train": records, "test": records}, "sage")
    assert labels(mixed, "train") == [("1", True), ("2", True)]
    # Scores are against people where people have labelled anything.
    assert labels(mixed, "test") == [("1", True), ("", False)]
    unlabelled = RecordSource({"train": records[1:], "test": records[1:]}, "sage")
    assert labels(unlabelled, "test") == [("2", True)]
    assert mixed.has_human_labels and not unlabelled.has_human_labels


def test_records_are_yielded_in_their_order(held):
    assert ids(held) == [r.id for r in RECORDS]
    assert held.num_input_examples("train") == 20
    assert ids(held, "test") == ["r0", "r1", "r2"]


def test_shards_of_records_are_disjoint_and_whole(held):
    shards = [ids(held, shard_info=seqio.ShardInfo(i, 3)) for i in range(3)]
    assert sorted(sum(shards, [])) == sorted(r.id for r in RECORDS)


def test_fraction_takes_the_rows_of_the_permutation(held):
    choose(0.25, seed=3)
    chosen = splits.subsample(20, 0.25, 3)
    assert ids(held) == [RECORDS[i].id for i in chosen]
    assert held.num_input_examples("train") == len(chosen) == 5
    # Only the training rows.
    assert held.num_input_examples("test") == 3
    assert ids(held) == ids(held)
    first = ids(held)
    choose(0.25, seed=4)
    assert ids(held) != first


@pytest.mark.parametrize("fraction", [0, -0.5, 1.5])
def test_fraction_has_to_be_a_part(held, fraction):
    choose(fraction)
    with pytest.raises(UserError, match="expected 0 < fraction <= 1"):
        subsample()


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


def test_released_rows_are_carved_as_in_the_paper(prepared):
    source = ReleasedSource("cqa", carved=True)
    train, validation = splits.carve_validation(20)
    assert indices(source, "train") == sorted(train)
    assert indices(source, "validation") == sorted(validation)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_part_is_chosen_before_validation_is_carved(prepared, seed):
    source = ReleasedSource("cqa", carved=True)
    test_rows = indices(source, "test")
    choose(0.5, seed)
    train, validation = splits.train_and_validation(20, 0.5, seed, carved=True)
    assert indices(source, "train") == sorted(train)
    assert indices(source, "validation") == sorted(validation)
    assert source.num_input_examples("train") == len(train) == 9
    assert source.num_input_examples("validation") == len(validation) == 1
    assert indices(source, "test") == test_rows


def test_a_part_of_data_with_its_own_validation(prepared):
    source = ReleasedSource("anli1", carved=False)
    whole, validation = indices(source, "train"), indices(source, "validation")
    choose(0.5, 1)
    assert indices(source, "train") == sorted(splits.subsample(len(whole), 0.5, 1))
    assert source.num_input_examples("train") == len(indices(source, "train"))
    assert indices(source, "validation") == validation


def test_dataset_that_is_not_prepared_says_what_to_run(prepared):
    source = ReleasedSource("svamp", carved=True)
    for use in (source.num_input_examples, source.get_dataset):
        with pytest.raises(UserError, match="prepare --datasets=svamp"):
            use("train")
