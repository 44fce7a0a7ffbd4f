"""Tests of datasets that the library `datasets` has saved or downloads."""

import sys

import pytest

from dsbs_jax.data import tables
from dsbs_jax.data.records import Record
from dsbs_jax.errors import UserError

ROWS = [{"input": "a", "label": "x"}, {"input": "b", "label": "y"}]


@pytest.fixture
def datasets(monkeypatch, tmp_path):
    library = pytest.importorskip("datasets")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return library


@pytest.fixture
def offline(datasets, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def saved(datasets, path, **splits):
    parts = {name: datasets.Dataset.from_list(rows) for name, rows in splits.items()}
    datasets.DatasetDict(parts).save_to_disk(str(path))
    return path


def test_splits_of_a_saved_dataset(datasets, tmp_path):
    path = saved(datasets, tmp_path / "own", train=ROWS, valid=ROWS[:1], extra=ROWS)
    expected = {
        "train": [Record("own-train-1", "a", "x"), Record("own-train-2", "b", "y")],
        "validation": [Record("own-valid-1", "a", "x")],
    }
    assert tables.read_examples(path) == expected
    assert (
        tables.read_examples({"validation": path})["validation"]
        == (expected["validation"])
    )
    assert tables.read_split(path / "train")[1].id == "train-2"
    with pytest.raises(
        UserError, match="has the splits train, validation; name the folder"
    ):
        tables.read_split(path)
    with pytest.raises(UserError, match="expected one of them to be test"):
        tables.read_examples({"test": path})


def test_class_labels_are_read_as_their_names(datasets, tmp_path):
    features = datasets.Features(
        {
            "input": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["no", "yes"]),
        }
    )
    rows = [{"input": "a", "label": 1}, {"input": "b", "label": -1}]
    dataset = datasets.Dataset.from_list(rows, features=features)
    dataset.save_to_disk(str(tmp_path / "own"))
    labels = [record.label for record in tables.read_examples(tmp_path / "own")]
    assert labels == ["yes", None]


def test_selected_rows_are_read(datasets, tmp_path):
    dataset = datasets.Dataset.from_list(ROWS).select([1])
    dataset.save_to_disk(str(tmp_path / "own"))
    assert [r.input for r in tables.read_examples(tmp_path / "own")] == ["b"]


def test_hub_dataset(datasets, offline, tmp_path, monkeypatch):
    # `datasets` finds a repository of this id in the working folder.
    monkeypatch.chdir(tmp_path)
    for split, rows in {"train": ROWS, "test": ROWS[1:]}.items():
        part = datasets.Dataset.from_list(rows)
        part.to_parquet(str(tmp_path / f"own/rows/{split}.parquet"))
    assert {s: len(r) for s, r in tables.read_examples("hub:own/rows").items()} == {
        "train": 2,
        "test": 1,
    }
    assert tables.read_inputs("hub:own/rows[test]") == [
        {"input": "b", "label": "y", "id": "rows-test-1"}
    ]
    with pytest.raises(UserError, match="has no split 'dev', only train, test"):
        tables.read_inputs("hub:own/rows[dev]")


def test_hub_dataset_that_cannot_be_read(offline):
    with pytest.raises(UserError, match="hub:no/such: cannot be read by datasets: "):
        tables.read_examples("hub:no/such")
    with pytest.raises(UserError, match="hub:/rows: expected hub:<owner>/<name>"):
        tables.read_examples("hub:/rows")


def test_damaged_folder(tmp_path, datasets):
    (tmp_path / "own").mkdir()
    (tmp_path / "own/state.json").write_text("{}")
    with pytest.raises(UserError, match="own: cannot be read by datasets: "):
        tables.read_examples(tmp_path / "own")


def test_library_that_is_not_installed(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install 'dsbs-jax\[datasets\]'"):
        tables.read_examples("hub:own/rows")
