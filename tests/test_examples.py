"""Properties of the shipped sample, examples/tickets.jsonl."""

import collections
import json
import pathlib
import re

import pytest

from dsbs_jax.data import label_sets, split_making, tables

PATH = pathlib.Path(__file__).parents[1] / "examples" / "tickets.jsonl"
LABELS = {"paid repair", "refund", "replacement"}
# A word that is in at least MIN_ROWS rows has at most this share of one label.
MIN_ROWS, MAX_SHARE = 5, 0.8
# Phrases of the four facts that examples/README.md names.
FACTS = {
    "accident": "I dropped|knocked|spilled|slipped|pulled|stepped|fell down",
    "warranty": "weeks ago|months|still under|until next year|not ended",
    "plan": "I pay for|I took out|I added|I do have|plan is on",
    "refund": "money back|like a refund|Please refund|rather have a refund",
}


@pytest.fixture(scope="module")
def rows():
    return [json.loads(line) for line in PATH.read_text().splitlines()]


@pytest.fixture(scope="module")
def splits():
    return split_making.make_splits(tables.read_split(str(PATH)), seed=0)


def words(text):
    return re.findall(r"[a-z]+", text.casefold())


def majority_share(labels):
    return max(collections.Counter(labels).values()) / len(labels)


def test_rows_have_every_field(rows):
    assert len(rows) == 400
    fields = ["id", "input", "label", "teacher_label", "rationale"]
    assert all(list(row) == fields for row in rows)
    assert {row["label"] for row in rows} == LABELS
    assert {row["teacher_label"] for row in rows} == LABELS | {None}
    assert len({row["id"] for row in rows}) == len(rows)


def test_inputs_differ_by_their_words(rows):
    assert len({tuple(words(row["input"])) for row in rows}) == len(rows)


def test_texts_are_short(rows):
    rationales = [row["rationale"] for row in rows if row["rationale"] is not None]
    assert all(20 <= len(row["input"].split()) <= 40 for row in rows)
    assert all(10 <= len(rationale.split()) <= 26 for rationale in rationales)


def test_labels_follow_from_the_facts(rows):
    for row in rows:
        found = {
            fact: bool(re.search(pattern, row["input"], re.IGNORECASE))
            for fact, pattern in FACTS.items()
        }
        covered = found["plan"] if found["accident"] else found["warranty"]
        action = "refund" if found["refund"] else "replacement"
        assert row["label"] == (action if covered else "paid repair"), row["id"]


def test_teacher_makes_some_mistakes(rows):
    answered = [row for row in rows if row["teacher_label"]]
    wrong = [row for row in answered if row["teacher_label"] != row["label"]]
    assert (len(rows) - len(answered), len(wrong)) == (4, 20)
    assert sum(row["rationale"] is None for row in rows) == 10
    assert all(row["rationale"] is None for row in rows if not row["teacher_label"])


@pytest.mark.parametrize("split", ["all", "train"])
def test_no_word_determines_a_label(rows, splits, split):
    texts = {
        "all": [(row["input"], row["label"]) for row in rows],
        "train": [(record.input, record.label) for record in splits["train"]],
    }
    labels = collections.defaultdict(list)
    for text, label in texts[split]:
        for word in set(words(text)):
            labels[word].append(label)
    shares = {
        word: round(majority_share(found), 3)
        for word, found in labels.items()
        if len(found) >= MIN_ROWS
    }
    assert len(shares) > 90
    assert {word: share for word, share in shares.items() if share > MAX_SHARE} == {}


def test_splits_of_fit(splits):
    sizes = {name: len(records) for name, records in splits.items()}
    assert sizes == {"train": 280, "validation": 40, "test": 80}
    for records in splits.values():
        assert {record.label for record in records} == LABELS
        assert majority_share([record.label for record in records]) <= 0.4


def test_labels_are_a_closed_set(splits):
    found = label_sets.detect_label_set(splits["train"])
    assert set(found.labels) == LABELS
    assert found.odd_labels == ()
