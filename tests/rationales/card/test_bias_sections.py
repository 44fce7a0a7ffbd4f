"""The sections of a card on bias and texts, from a user's files."""

import json
import sys

import pytest

from dsbs_jax.api import cards
from dsbs_jax.errors import UserError
from support.cards import table


@pytest.fixture
def rows(tmp_path):
    """Twelve rows; the teacher prefers "visit" and is wrong on the south's rows."""
    made = [
        {
            "id": str(n),
            "input": f"He has line {n}",
            "label": ["visit", "remote"][n % 2],
            "teacher_label": "visit",
            "rationale": f"He has line {n}, so a visit is needed.",
            "region": ["north", "south"][n % 2],
        }
        for n in range(12)
    ]
    write(tmp_path / "rows.jsonl", made)
    return made


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def card(folder, **options):
    cards.write_card(folder / "rows.jsonl", folder / "card", **options)
    return (folder / "card/card.md").read_text()


def test_skew_lengths_labels_copies_and_templates(tmp_path, rows):
    text = card(tmp_path)
    skew = {label: values for label, *values in table(text, "class")}
    assert skew["visit"][:3] == ["50.00", "100.00", "+50.00"]
    assert skew["remote"][:3] == ["50.00", "0.00", "-50.00"]
    # Six rows changed, all in one direction: chi-squared of 6 with one degree.
    assert "Stuart–Maxwell test that all shares are equal: p = 0.0143." in text
    named, copied, *_ = (
        section.splitlines()
        for section in text.split("| rationales | rows | of | value |")[1:]
    )
    assert named[2].startswith("| only the teacher label | 12 | 12 | 100.00 % |")
    # 2 of 7 shingles: "he has line", "has line <n>".
    assert copied[2].startswith("| 25% or more | 12 | 12 | 100.00 % |")
    assert copied[3].startswith("| 50% or more | 0 | 12 | 0.00 % |")


def test_near_duplicates_and_templates(tmp_path, rows):
    pytest.importorskip("datasketch")
    text = card(tmp_path)
    *_, duplicates, templates = (
        section.splitlines()
        for section in text.split("| rationales | rows | of | value |")
    )
    assert duplicates[2].startswith("| with a near-duplicate | 0 | 12 |")
    assert templates[2].startswith("| with a near-duplicate | 12 | 12 |")
    assert ["… so a visit is needed", "12"] in table(text, "largest groups")


def test_without_datasketch_the_card_names_the_extra(tmp_path, rows, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasketch", None)
    text = card(tmp_path)
    assert text.count("the package datasketch is not installed") == 2


def test_accuracy_by_group(tmp_path, rows):
    text = card(tmp_path, group_by=["region"])
    assert [cells[:4] for cells in table(text, "region")] == [
        ["north", "6", "6", "100.00 %"],
        ["south", "0", "6", "0.00 %"],
    ]
    assert "for all values of region: p = 0.0005." in text
    # The columns can be in another file.
    file = tmp_path / "other.csv"
    file.write_text("id,tier\n" + "".join(f"{row['id']},one\n" for row in rows))
    text = card(tmp_path, group_by=["tier"], group_file=str(file))
    assert table(text, "tier") == [["one", "6", "12", "50.00 %", "25.38 to 74.62"]]


def test_labels_after_a_swap(tmp_path, rows):
    swapped = [rows[n] | {"input": f"She has line {n}"} for n in range(4)]
    swapped[0] |= {"teacher_label": "remote"}
    file = write(tmp_path / "swapped.jsonl", swapped)
    text = card(tmp_path, swapped=str(file))
    assert "changed on 25.00 % of the 4 inputs" in text
    assert table(text, "label before") == [["visit", "remote", "1"]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group_file": "x"}, "--group_file needs --group_by"),
        (
            {"group_by": ["tier"]},
            "no row has the column 'tier' of GROUP_BY, found",
        ),
        (
            {"group_by": ["tier"], "group_file": "other.jsonl"},
            "no row has the id of a row of",
        ),
        ({"swapped": "other.jsonl"}, "the answers to the rows of dsbs-jax swap"),
        ({"swapped": "none.jsonl"}, "none.jsonl: No such file"),
    ],
)
def test_bad_options(tmp_path, rows, options, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "other.jsonl", [rows[0] | {"id": "other", "tier": "one"}])
    with pytest.raises(UserError, match=message):
        card(tmp_path, **options)
    assert not (tmp_path / "card").exists()


def test_groups_of_released_data_need_a_file(tmp_path):
    with pytest.raises(UserError, match="--group_by with --release needs --group_file"):
        cards.write_card(
            None, tmp_path, release="x", dataset="cqa", group_by=["region"]
        )
