"""Tests of the reader of the released files."""

import json
import shutil

import pytest

from dsbs_jax.data import arithmetic, completions, splits
from dsbs_jax.data.scoring import TeacherScore
from dsbs_jax.errors import UserError
from dsbs_jax.released.raw_split import TeacherStatistics, teacher_statistics
from dsbs_jax.released.reader import open_release
from dsbs_jax.released.specs import RELEASED


def rewrite(path, change):
    """Replaces a JSON file's content by `change(content)`."""
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def edit_row(path, row, change):
    """Replaces one line (from 0) of a file by `change(object)`."""
    lines = path.read_text().splitlines()
    lines[row] = json.dumps(change(json.loads(lines[row])))
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("dataset", RELEASED)
def test_folder_zip_and_nested_folder_give_the_same_data(
    dataset, release_dir, tmp_path
):
    nested = shutil.copytree(release_dir, tmp_path / "in" / "datasets").parent
    zipped = shutil.make_archive(tmp_path / "nested", "zip", nested)
    flat = shutil.make_archive(tmp_path / "flat", "zip", release_dir)
    expected = open_release(release_dir)
    for path in (nested, zipped, flat):
        release = open_release(path)
        assert release.read(dataset, "palm") == expected.read(dataset, "palm")
        assert release.fingerprint(dataset) == expected.fingerprint(dataset)


def test_inputs_and_labels(release_dir):
    release = open_release(release_dir)

    def first(dataset):
        return release.read_raw(dataset, "train", "palm").records[0]

    cqa = first("cqa")
    assert cqa.id == "cqa-train-0"
    assert cqa.input == (
        "Where would you keep soup when you do not need it?\nAnswer Choices:\n"
        "(a) kettle\n(b) cloud\n(c) volcano\n(d) teaspoon\n(e) desert"
    )
    assert (cqa.label, cqa.teacher_label) == ("kettle", "kettle")
    svamp = first("svamp")
    assert svamp.label == "( 7.0 - 2.0 )"
    assert svamp.teacher_label == "(7 - 2)"
    assert svamp.rationale == "Mara starts with 7 shells. 2 go away, so 7 - 2 are left."
    asdiv = first("asdiv")
    assert asdiv.label == "3"
    assert asdiv.input.splitlines()[1] == "How many shells has Mara now?"
    for dataset in ("anli1", "esnli"):
        nli = release.read_raw(dataset, "train").records[:3]
        assert nli[0].input == (
            "A baker slides three loaves into a stone oven.</s>Somebody is baking."
        )
        assert [r.label for r in nli] == ["entailment", "neutral", "contradiction"]


@pytest.mark.parametrize("dataset", ["cqa", "svamp"])
def test_carved_splits(dataset, release_dir):
    release = open_release(release_dir)
    raw = release.read_raw(dataset, "train", "palm")
    train, validation = splits.carve_validation(len(raw.records))
    read = release.read(dataset, "palm")
    assert list(read) == ["train", "validation", "test"]
    assert read["train"].indices == train.tolist()
    assert read["validation"].indices == validation.tolist()
    for split in ("train", "validation"):
        chosen = [raw.records[i] for i in read[split].indices]
        assert read[split].records == chosen
    quarantined = read["train"].quarantine + read["validation"].quarantine
    assert sorted(quarantined, key=lambda q: q.index) == raw.quarantine


def test_quarantine_and_counts(release_dir):
    raw = open_release(release_dir).read_raw("cqa", "train", "palm")
    assert {q.index: q.problem for q in raw.quarantine} == {
        3: completions.NO_LABEL_AFTER_MARKER,
        5: completions.BLANK_RATIONALE,
        8: completions.SEVERAL_MARKERS,
        17: completions.NO_MARKER,
    }
    for q in raw.quarantine:
        record = raw.records[q.index]
        assert q.id == record.id
        assert q.completion
        assert record.label and record.rationale is None
        blank = q.problem == completions.BLANK_RATIONALE
        assert (record.teacher_label is not None) == blank
    train = open_release(release_dir).read("cqa", "palm")["train"]
    assert train.counts == {
        "rows": 18,
        "label": 18,
        "teacher_label": 15,
        "rationale": 14,
        completions.NO_LABEL_AFTER_MARKER: 1,
        completions.BLANK_RATIONALE: 1,
        completions.SEVERAL_MARKERS: 1,
        completions.NO_MARKER: 1,
    }


# dataset, teacher: rows, correct, unparsable, run_on, blank_rationale, out_of_choices
STATISTICS = {
    ("cqa", "palm"): (20, 15, 3, 0, 1, 1),
    ("cqa", "gpt_neox"): (20, 18, 1, 0, 0, 0),
    ("svamp", "palm"): (18, 14, 2, 0, 0, None),
    ("svamp", "gpt_neox"): (18, 18, 0, 0, 0, None),
    ("anli1", "palm"): (12, 10, 2, 0, 0, None),
    ("anli1", "gpt_neox"): (12, 11, 1, 0, 0, None),
    ("esnli", "palm"): (12, 10, 1, 1, 0, None),
    ("esnli", "gpt_neox"): (12, 12, 0, 0, 0, None),
    ("asdiv", "palm"): (6, 5, 1, 0, 0, None),
}


@pytest.mark.parametrize("dataset,teacher", STATISTICS)
def test_teacher_statistics(dataset, teacher, release_dir):
    raw = open_release(release_dir).read_raw(dataset, "train", teacher)
    rows, correct, unparsable, run_on, blank, outside = STATISTICS[dataset, teacher]
    score = TeacherScore(rows, correct, unparsable + run_on)
    statistics = teacher_statistics(raw)
    assert statistics == TeacherStatistics(score, unparsable, run_on, blank, outside)
    assert statistics.as_dict() == {
        "rows": rows,
        "correct": correct,
        "unparsable": unparsable,
        "run_on": run_on,
        "blank_rationale": blank,
        "out_of_choices": outside,
        "accuracy": correct / rows,
    }


def test_rows_are_parsed_once_for_all_teachers(release_dir):
    release = open_release(release_dir)
    raw = release.read_raw("cqa", "train")
    for teacher in ("palm", "gpt_neox"):
        labeled = release.add_teacher(raw, "train", teacher)
        assert labeled == release.read_raw("cqa", "train", teacher)
        assert labeled.choices is raw.choices


def test_reading_without_a_teacher(release_dir):
    read = open_release(release_dir).read("esnli")
    records = [record for split in read.values() for record in split.records]
    assert all(r.label and r.teacher_label is r.rationale is None for r in records)
    assert all(split.quarantine == [] for split in read.values())


def test_asdiv_has_train_and_an_optional_test(release_copy):
    assert list(open_release(release_copy).read("asdiv", "palm")) == ["train"]
    folder = release_copy / "asdiv"
    shutil.copy(folder / "asdiv_train.json", folder / "asdiv_test.json")
    shutil.copy(folder / "llm/train_CoT_0.json", folder / "llm/test_CoT_0.json")
    read = open_release(release_copy).read("asdiv", "palm")
    assert {split: len(part.records) for split, part in read.items()} == {
        "train": 6,
        "test": 6,
    }


def test_lists_are_joined_in_numeric_order(release_copy):
    expected = open_release(release_copy).read_raw("svamp", "train", "palm").records
    folder = release_copy / "svamp/llm"
    texts = []
    for k in (0, 1):
        texts += json.loads((folder / f"train_CoT_{k}.json").read_text())
    for k, text in enumerate(texts):
        (folder / f"train_CoT_{k}.json").write_text(json.dumps([text]))
    assert (folder / "train_CoT_10.json").exists()
    records = open_release(release_copy).read_raw("svamp", "train", "palm").records
    assert records == expected


def test_only_the_files_of_wanted_splits_are_needed(release_copy):
    (release_copy / "esnli/esnli_train.json").unlink()
    shutil.rmtree(release_copy / "gpt-neox")
    release = open_release(release_copy)
    assert release.splits("esnli") == ["validation", "test"]
    assert list(release.read("esnli", "palm", ["validation"])) == ["validation"]
    with pytest.raises(UserError) as caught:
        release.read("esnli", "gpt_neox")
    message = str(caught.value)
    assert "\n" not in message
    for name in ("esnli/esnli_train.json", "gpt-neox/esnli/test.json"):
        assert str(release_copy / name) in message
    assert "esnli_test.json" not in message


@pytest.mark.parametrize(
    "call,words",
    [
        (lambda r: r.read("cqqa"), ["'cqqa'", "cqa, svamp"]),
        (lambda r: r.read("asdiv", "gpt_neox"), ["asdiv", "'gpt_neox'", "palm"]),
        (lambda r: r.read("cqa", "bert"), ["cqa", "'bert'", "palm, gpt_neox"]),
        (lambda r: r.read("cqa", None, ["valid"]), ["'valid'", "validation"]),
        (lambda r: r.read_raw("cqa", "valid"), ["'valid'", "train, test"]),
    ],
)
def test_unknown_names_are_reported(release_dir, call, words):
    with pytest.raises(UserError) as caught:
        call(open_release(release_dir))
    assert all(word in str(caught.value) for word in words)


def test_folder_without_datasets(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(UserError, match="expected folders named cqa.*found photos"):
        open_release(tmp_path)


def drop_choice(row):
    return {**row, "choices": row["choices"][:4]}


BAD_ROWS = {
    "cqa missing field": ("cqa", lambda row: {"question": "?"}, "field 'choices'"),
    "cqa four choices": ("cqa", drop_choice, "has 4 texts, expected five"),
    "cqa answer": ("cqa", lambda row: {**row, "answer": "x"}, "none of the choices"),
    "cqa type": (
        "cqa",
        lambda row: {**row, "question": 3},
        "must be text, found integer",
    ),
    "svamp list": ("svamp", lambda row: [1], "expected object, found list"),
    "svamp blank": ("svamp", lambda row: {**row, "input": " "}, "input is blank"),
    "svamp null": ("svamp", lambda row: {**row, "label": None}, "found null"),
    "svamp surrogate": ("svamp", lambda r: {**r, "input": "\ud800"}, "surrogate"),
    "esnli label": (
        "esnli",
        lambda row: {**row, "label": -1},
        "is -1, expected 0, 1 or 2",
    ),
    "anli1 bool": ("anli1", lambda row: {**row, "label": True}, "found true or false"),
    "asdiv answer": ("asdiv", lambda row: {**row, "Answer": ""}, "label is blank"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_bad_row_is_named(case, release_copy):
    dataset, change, problem = BAD_ROWS[case]
    name = f"{dataset}/{dataset}_train.json"
    edit_row(release_copy / name, 2, change)
    with pytest.raises(UserError, match=problem) as caught:
        open_release(release_copy).read(dataset, "palm")
    assert f"{release_copy / name}, row 3: " in str(caught.value)


@pytest.mark.parametrize(
    "spoil,problem",
    [
        (lambda b: b[: len(b) // 2], "row [0-9]+: broken JSON at column"),
        (lambda b: b.replace(b"\n", b"\n\n", 1), "row 2: broken JSON"),
        (lambda b: b"\n", "holds no rows"),
        (lambda b: b"\xff" + b, "row 1: not UTF-8 at byte 0"),
        (lambda b: b"[" * 200_000 + b"\n" + b, "row 1: JSON nested too deeply"),
    ],
)
def test_broken_row_file(release_copy, spoil, problem):
    path = release_copy / "svamp/svamp_train.json"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(UserError, match=problem) as caught:
        open_release(release_copy).read("svamp")
    assert str(path) in str(caught.value)


def test_windows_line_ends_and_byte_order_mark(release_copy):
    expected = open_release(release_copy).read("svamp", "palm")
    path = release_copy / "svamp/svamp_train.json"
    content = path.read_bytes().replace(b"\n", b"\r\n").removesuffix(b"\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + content)
    assert open_release(release_copy).read("svamp", "palm") == expected


def test_truncated_completions(release_copy):
    path = release_copy / "cqa/llm/train_CoT_1.json"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="broken JSON at line 8") as caught:
        open_release(release_copy).read("cqa", "palm")
    assert str(path) in str(caught.value)
    # Reading without a teacher does not need the file.
    assert open_release(release_copy).read("cqa")


def test_completions_one_short(release_copy):
    rewrite(release_copy / "cqa/llm/train_CoT_1.json", lambda texts: texts[:-1])
    with pytest.raises(UserError) as caught:
        open_release(release_copy).read("cqa", "palm")
    message = str(caught.value)
    assert "cqa_train.json has 20 rows but palm has 19 completions" in message
    assert "train_CoT_0.json 12, train_CoT_1.json 7" in message


def test_gap_in_the_numbering(release_copy):
    folder = release_copy / "cqa/llm"
    (folder / "train_CoT_1.json").rename(folder / "train_CoT_2.json")
    with pytest.raises(UserError, match=r"numbered \[0, 2\]"):
        open_release(release_copy).read("cqa", "palm")


@pytest.mark.parametrize(
    "change,problem",
    [
        (lambda texts: {"a": texts}, "expected list, found object"),
        (
            lambda texts: [*texts[:4], None, *texts[5:]],
            r"field \'\[4\]\' must be text, found null",
        ),
    ],
)
def test_completions_of_the_wrong_shape(release_copy, change, problem):
    path = release_copy / "gpt-neox/anli1/valid.json"
    rewrite(path, change)
    with pytest.raises(UserError, match=problem) as caught:
        open_release(release_copy).read("anli1", "gpt_neox")
    assert str(path) in str(caught.value)


# By the authors' code: rows, accuracy, unparsable, run on, labels outside the choices.
OFFICIAL = {
    ("cqa", "train"): (9741, 0.742634, 3, 0, 445),
    ("cqa", "test"): (1221, 0.772318, 0, 0, 46),
    ("svamp", "train"): (800, 586 / 800, 13, 0, None),
    ("svamp", "test"): (200, 148 / 200, 2, 0, None),
    ("esnli", "valid"): (9842, 0.731660, 4, 0, None),
    ("esnli", "test"): (9824, 0.729947, 0, 1, None),
}


@pytest.mark.parametrize("dataset,raw_split", OFFICIAL)
def test_official_teacher_statistics(dataset, raw_split, official_dir):
    rows, accuracy, unparsable, run_on, outside = OFFICIAL[dataset, raw_split]
    raw = open_release(official_dir).read_raw(dataset, raw_split, "palm")
    statistics = teacher_statistics(raw)
    accuracy_of_labels = statistics.score.accuracy
    print(f"{dataset} {raw_split}: {statistics} accuracy {accuracy_of_labels:.6f}")
    assert statistics.score.rows == rows
    assert statistics.unparsable == unparsable
    assert statistics.run_on == run_on
    assert statistics.out_of_choices == outside
    assert accuracy_of_labels == pytest.approx(accuracy, abs=5e-7)
    assert statistics.blank_rationale == 0


@pytest.mark.slow
def test_official_splits(official_dir):
    release = open_release(official_dir)
    sizes = {"cqa": (8766, 975, 1221), "svamp": (720, 80, 200)}
    for dataset, expected in sizes.items():
        read = release.read(dataset, "palm")
        assert tuple(len(split.records) for split in read.values()) == expected
        assert read["train"].counts["label"] == expected[0]
    held_out = release.read("esnli", "palm", ["validation", "test"])
    assert [len(split.records) for split in held_out.values()] == [9842, 9824]
    run_on = held_out["test"].quarantine
    assert [(q.index, q.problem) for q in run_on] == [(2758, completions.RUNS_ON)]
    assert run_on[0].completion.endswith("entailment\n\nPre")
    with pytest.raises(UserError, match="esnli_train.json"):
        release.read("esnli", "palm")


@pytest.mark.parametrize("raw_split,others", [("train", 20), ("test", 5)])
def test_official_labels_that_are_not_arithmetic(raw_split, others, official_dir):
    raw = open_release(official_dir).read_raw("svamp", raw_split, "palm")
    labels = [r.teacher_label for r in raw.records if r.teacher_label is not None]
    without_value = [label for label in labels if arithmetic.value(label) is None]
    # One more label of train is arithmetic that is cut off: "((415 - 309)".
    foreign = [
        label for label in without_value if set(label) - set("0123456789.+-*/() ")
    ]
    assert len(foreign) == others
    assert len(without_value) == others + (raw_split == "train")
    assert all(arithmetic.value(record.label) is not None for record in raw.records)
