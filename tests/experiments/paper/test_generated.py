import collections
import json

import pytest

from dsbs_jax.errors import UserError
from dsbs_jax.experiments import demo_data
from dsbs_jax.experiments.paper import generated


@pytest.fixture(scope="module")
def records():
    return demo_data.make(300).records["train"]


@pytest.mark.parametrize("change", [generated.shuffled, generated.randomized])
def test_controls_change_rationales_only(records, change):
    changed = change(records)
    assert changed == change(records)
    for before, after in zip(records, changed, strict=True):
        assert (before.id, before.input, before.label, before.teacher_label) == (
            after.id,
            after.input,
            after.label,
            after.teacher_label,
        )
        assert (before.rationale is None) == (after.rationale is None)


def test_shuffled_rationales_are_those_of_other_rows(records):
    changed = generated.shuffled(records)
    before = collections.Counter(record.rationale for record in records)
    assert before == collections.Counter(record.rationale for record in changed)
    same = sum(
        a.rationale == b.rationale
        for a, b in zip(records, changed, strict=True)
        if a.rationale
    )
    # Two rows may have the same rationale.
    assert same < 0.05 * len(records)


def test_random_rationales_keep_their_lengths_and_words(records):
    changed = generated.randomized(records)
    words = {w for record in records for w in (record.rationale or "").split()}
    for before, after in zip(records, changed, strict=True):
        if before.rationale:
            assert len(before.rationale.split()) == len(after.rationale.split())
            assert set(after.rationale.split()) <= words


@pytest.mark.slow
def test_tickets_are_written_once(tmp_path):
    generated.write(tmp_path, "tickets", None)
    folder = generated.folder_of(tmp_path, "tickets")
    counts = json.loads((folder / "complete.json").read_text())
    assert counts == {"train": 1600, "validation": 200, "test": 400}
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    generated.write(tmp_path, "tickets", None)
    assert times == {path: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_released_rows_need_the_release(tmp_path):
    with pytest.raises(UserError, match="give --release"):
        generated.write(tmp_path, "esnli_released", None)


@pytest.mark.slow
def test_released_rows_are_split_without_overlap(official_dir):
    rows = generated._esnli(str(official_dir))
    sizes = {split: len(records) for split, records in rows.items()}
    assert sizes == {"train": 9842, "validation": 1000, "test": 2000}
    ids = [record.id for split in ("validation", "test") for record in rows[split]]
    assert len(set(ids)) == 3000
    assert sum(record.rationale is not None for record in rows["train"]) > 9_800
