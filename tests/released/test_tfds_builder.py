"""Tests of the TFDS builder."""

import json

import numpy as np
import pytest
import seqio
import tensorflow_datasets as tfds

from dsbs_jax.data import row_schema
from dsbs_jax.data.records import Record
from dsbs_jax.errors import UserError
from dsbs_jax.released import reader, tfds_builder
from dsbs_jax.released.specs import RELEASED

TEACHERS = ("palm", "gpt_neox")


@pytest.fixture(scope="module")
def data_dir(release_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    for dataset in ("cqa", "esnli", "asdiv"):
        tfds_builder.Dsbs(
            config=dataset, data_dir=folder, release=release_dir
        ).download_and_prepare()
    return folder


@pytest.fixture
def by_name(data_dir):
    seqio.set_tfds_data_dir_override(str(data_dir))
    yield lambda name, splits: seqio.TfdsDataSource(f"dsbs/{name}", splits=splits)
    seqio.set_tfds_data_dir_override(None)


def expected_rows(release, dataset, split):
    read = {
        teacher: release.read(dataset, teacher, [split])[split]
        for teacher in RELEASED[dataset].spec.teachers
    }
    palm = read["palm"]
    for position, index in enumerate(palm.indices):
        by_teacher = {
            teacher: read[teacher].records[position] if teacher in read else None
            for teacher in TEACHERS
        }
        yield row_schema.make_row(index, palm.records[position], by_teacher)


@pytest.mark.parametrize("dataset", ["cqa", "esnli", "asdiv"])
def test_prepared_rows_are_those_of_the_release(dataset, by_name, release_dir):
    release = reader.open_release(release_dir)
    splits = release.splits(dataset)
    source = by_name(f"{dataset}:1.0.0", splits)
    for split in splits:
        rows = {}
        for row in source.get_dataset(split, shuffle=False).as_numpy_iterator():
            row = {
                name: value.decode() if isinstance(value, bytes) else value
                for name, value in row.items()
            }
            rows[row["id"]] = row
        expected = {row["id"]: row for row in expected_rows(release, dataset, split)}
        assert rows == expected
        assert source.num_input_examples(split) == len(expected)


def test_flags_tell_which_fields_are_missing():
    palm = Record("a", "x", "human", "palm's", None)
    row = row_schema.make_row(7, palm, {"palm": palm, "gpt_neox": None})
    assert row == {
        "id": "a",
        "index": 7,
        "input": "x",
        "label": "human",
        "has_label": True,
        "palm_label": "palm's",
        "has_palm_label": True,
        "palm_rationale": "",
        "has_palm_rationale": False,
        "gpt_neox_label": "",
        "has_gpt_neox_label": False,
        "gpt_neox_rationale": "",
        "has_gpt_neox_rationale": False,
    }
    schema = row_schema.field_types(TEACHERS)
    assert list(row) == list(schema)
    assert schema["index"] is np.int64 and schema["has_palm_label"] is np.bool_


def test_reports_are_written_next_to_the_records(data_dir):
    folder = data_dir / "dsbs/cqa/1.0.0"
    summary = json.loads((folder / tfds_builder.SUMMARY).read_text())
    assert {s: part["rows"] for s, part in summary["splits"].items()} == {
        "train": 18,
        "validation": 2,
        "train+validation": 20,
        "test": 6,
    }
    teachers = summary["splits"]["train+validation"]["teachers"]
    assert teachers["palm"] == {
        "rows": 20,
        "correct": 15,
        "unparsable": 3,
        "run_on": 0,
        "blank_rationale": 1,
        "out_of_choices": 1,
        "accuracy": 0.75,
    }
    assert teachers["gpt_neox"]["correct"] == 18
    lines = (folder / tfds_builder.QUARANTINE).read_text().splitlines()
    quarantined = [json.loads(line) for line in lines]
    assert [(q["teacher"], q["row"]) for q in quarantined if q["split"] == "train"] == [
        ("palm", 4),
        ("palm", 6),
        ("palm", 9),
        ("palm", 18),
        ("gpt_neox", 1),
    ]
    assert quarantined[0]["id"] == "cqa-train-3"
    assert quarantined[0]["completion"].startswith("Cats sleep a lot.")


def test_error_for_an_unprepared_dataset_names_the_command(by_name, data_dir):
    with pytest.raises(UserError, match="--datasets=anli1 --tfds_data_dir="):
        by_name("anli1:1.0.0", ["train"]).get_dataset("train")
    assert not (data_dir / "dsbs/anli1").exists()


def test_teacher_without_files_is_marked_absent(release_copy, tmp_path):
    release = reader.open_release(release_copy)
    for path in (release_copy / "gpt-neox/svamp").iterdir():
        path.unlink()
    wanted = tfds_builder.wanted_splits(release, "svamp", allow_missing_splits=False)
    sources = tfds_builder.read_sources(release, "svamp", wanted)
    rows = [row for source in sources.values() for _, row in source.examples()]
    assert len(rows) == 24
    assert not any(row["has_gpt_neox_label"] for row in rows)
    assert any(row["has_palm_label"] for row in rows)
    # A teacher with files for some splits only is an error, unless it is allowed.
    (release_copy / "svamp/llm/test_CoT_0.json").unlink()
    with pytest.raises(UserError, match=r"svamp/llm/test_CoT_\*.json"):
        tfds_builder.wanted_splits(release, "svamp", allow_missing_splits=False)
    sources = tfds_builder.read_sources(
        release, "svamp", tfds_builder.wanted_splits(release, "svamp", True)
    )
    assert set(sources["test"].by_teacher) == set()
    assert set(sources["train"].by_teacher) == {"palm"}


def test_the_builder_is_registered_with_tfds():
    assert tfds.builder_cls("dsbs") is tfds_builder.Dsbs
    assert set(tfds_builder.Dsbs.builder_configs) == set(RELEASED)
