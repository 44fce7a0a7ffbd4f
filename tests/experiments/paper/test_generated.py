import collections
import dataclasses
import json
import shutil

import pytest

from dsbs_jax.data import vocabulary
from dsbs_jax.data.records import SEGMENT_SEPARATOR, Record
from dsbs_jax.errors import UserError
from dsbs_jax.experiments import demo_data
from dsbs_jax.experiments.paper import generated


@pytest.fixture(scope="module")
def records():
    return demo_data.make(300).records["train"]


@pytest.fixture(scope="module")
def words(records, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("words") / "vocabulary.model")
    vocabulary.train(vocabulary.texts_of(records), path, generated.TICKETS_PIECES)
    return vocabulary.load(path)


@pytest.mark.parametrize("change", [generated.shuffled, generated.randomized])
def test_controls_change_rationales_only(records, words, change):
    changed = change(records, words)
    assert changed == change(records, words)
    for before, after in zip(records, changed, strict=True):
        assert before == dataclasses.replace(after, rationale=before.rationale)
        assert (before.rationale is None) == (after.rationale is None)


def test_shuffled_rationales_are_those_of_other_rows_with_the_label(records, words):
    changed = generated.shuffled(records, words)
    for label in {record.label for record in records}:
        before, after = (
            collections.Counter(r.rationale for r in part if r.label == label)
            for part in (records, changed)
        )
        assert before == after
    same = sum(
        a.rationale == b.rationale
        for a, b in zip(records, changed, strict=True)
        if a.rationale
    )
    # Two rows may have the same rationale.
    assert same < 0.05 * len(records)


def test_no_row_keeps_its_rationale_if_all_are_different(words):
    rows = [Record(f"{i}", f"x {i}", "ab"[i % 2], rationale=f"r {i}") for i in range(9)]
    alone = Record("9", "x 9", "c", rationale="r 9")
    changed = generated.shuffled([*rows, alone], words)
    assert changed[-1] == alone
    for before, after in zip(rows, changed, strict=False):
        assert before.rationale != after.rationale


def test_random_rationales_keep_their_tokens(records, words):
    changed = generated.randomized(records, words)
    known = {w for record in records for w in (record.rationale or "").split()}
    shared = total = 0
    for before, after in zip(records, changed, strict=True):
        if before.rationale:
            tokens = len(words.encode(before.rationale))
            assert len(words.encode(after.rationale)) == tokens
            assert set(after.rationale.split()) <= known
            total += 1
            shared += before.rationale == after.rationale
    assert total > 200
    assert shared == 0


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


def test_rows_of_all_methods_have_the_labels_of_the_tickets(records, words):
    for name, field in (("", "rationales"), ("_aided", "rationale")):
        made = generated.DATASETS[f"tickets_methods{name}"]
        assert made.base == "tickets"
        changed = made.change(records, words)
        assert [r.label for r in changed] == [r.label for r in records]
        pairs = zip(records, changed, strict=True)
        assert any(getattr(a, field) != getattr(b, field) for a, b in pairs)
    assert generated.name_of("tickets_methods", "aided") == "tickets_methods_aided"


def test_wrong_rationales_of_the_tickets_are_those_of_the_documentation(words):
    """Rationales agree with the teacher's label (`test_demo_data`)."""
    made = generated.DATASETS["tickets_methods"]
    rows = made.change(made.make(None)["train"], words)
    wrong = [r for r in rows if r.rationale and r.teacher_label != r.label]
    assert sum(r.rationale is not None for r in rows) == 1_569
    assert len(wrong) == 95
    assert sum(len(r.rationales) for r in rows) == 5_155
    assert sum(len(r.rationales) for r in wrong) == 124


@pytest.mark.slow
def test_controls_have_the_vocabulary_of_the_first_version(tmp_path, monkeypatch):
    monkeypatch.setattr(generated, "TICKETS", 120)
    folders = []
    for name in ("tickets_random", "tickets"):
        generated.write(tmp_path, name, None)
        folders.append(generated.folder_of(tmp_path, name))
    changed, base = folders
    model = (base / "vocabulary.model").read_bytes()
    assert (changed / "vocabulary.model").read_bytes() == model
    for split in ("validation", "test"):
        name = f"{split}.jsonl"
        assert (changed / name).read_bytes() == (base / name).read_bytes()
    train = "train.jsonl"
    assert (changed / train).read_bytes() != (base / train).read_bytes()


def test_rows_of_one_premise_are_in_one_split():
    rows = [
        Record(f"{i}", f"premise {i // 3}{SEGMENT_SEPARATOR}hypothesis {i}", "neutral")
        for i in range(90)
    ]
    split = generated._split_by_premise(rows)
    assert split == generated._split_by_premise(rows)
    assert sorted([*split["train"], *split["validation"]], key=rows.index) == rows
    premises = [
        {row.input.partition(SEGMENT_SEPARATOR)[0] for row in split[name]}
        for name in ("train", "validation")
    ]
    assert not premises[0] & premises[1]
    assert len(split["validation"]) == 9


def test_human_rationales_are_those_of_the_same_rows(release_dir, tmp_path):
    palm = generated._esnli(str(release_dir))
    human = generated._esnli_human(str(release_dir))
    raw = (release_dir / "esnli/esnli_valid.json").read_text().splitlines()
    expected = {
        f"{row['premise']}{SEGMENT_SEPARATOR}{row['hypothesis']}": row["explanation_1"]
        for row in map(json.loads, raw)
    }
    for split in generated.SPLITS:
        assert [(r.id, r.input, r.label) for r in palm[split]] == [
            (r.id, r.input, r.label) for r in human[split]
        ]
        for record in human[split]:
            assert record.teacher_label is None
            assert record.rationale == expected.get(record.input)
    assert all(record.rationale for record in human["train"])


def test_rationales_of_four_teachers_name_them(release_dir, tmp_path):
    folder = tmp_path / "release"
    shutil.copytree(release_dir, folder)
    path = folder / "esnli/esnli_valid.json"
    raw = [json.loads(line) for line in path.read_text().splitlines()]
    for number, row in enumerate(raw):
        row["explanation_3"] = f"Third {number}." if number % 2 else " "
    path.write_text("".join(json.dumps(row) + "\n" for row in raw))
    palm = {r.id: r for part in generated._esnli(str(folder)).values() for r in part}
    rows = generated._esnli_teachers(str(folder))
    found = collections.Counter()
    for record in [*rows["train"], *rows["validation"]]:
        number = int(record.id.rpartition("-")[2])
        names = ["palm"] if palm[record.id].rationale else []
        names += ["human_1", *(["human_3"] if number % 2 else [])]
        assert record.rationale_teachers == tuple(names)
        by_name = dict(zip(names, record.rationales, strict=True))
        assert by_name["human_1"] == raw[number]["explanation_1"]
        assert by_name.get("palm") == palm[record.id].rationale
        assert (record.label, record.teacher_label) == (palm[record.id].label, None)
        found.update(names)
    assert found["palm"] and found["human_3"]


@pytest.mark.parametrize(
    ("dataset", "method", "has_data"),
    [
        ("tickets", "step_by_step", True),
        ("tickets", "step_by_step_multi", False),
        ("tickets_methods", "step_by_step_multi", True),
        ("tickets_methods", "counterfactual", True),
        ("esnli_released_teachers", "step_by_step_multi", True),
        ("esnli_released_teachers", "counterfactual", False),
        ("mine", "counterfactual", True),
    ],
)
def test_datasets_have_the_fields_of_some_methods(dataset, method, has_data):
    assert generated.has_fields(dataset, method) == has_data


def test_teacher_chooses_the_version_of_a_dataset():
    assert generated.name_of("esnli_released", "human") == "esnli_released_human"
    for teacher in ("", "palm"):
        assert generated.name_of("esnli_released", teacher) == "esnli_released"


@pytest.mark.slow
def test_released_rows_are_split_without_overlap(official_dir):
    rows = generated._esnli(str(official_dir))
    sizes = {split: len(records) for split, records in rows.items()}
    assert sizes == {"train": 8855, "validation": 987, "test": 9824}
    ids = [record.id for split in generated.SPLITS for record in rows[split]]
    assert len(set(ids)) == 9842 + 9824
    premises = [
        {record.input.partition(SEGMENT_SEPARATOR)[0] for record in rows[split]}
        for split in generated.SPLITS
    ]
    assert not premises[0] & premises[1]
    # One premise of the released files is in both, with three test rows.
    assert len((premises[0] | premises[1]) & premises[2]) == 1
    assert sum(record.rationale is not None for record in rows["train"]) > 8_800
