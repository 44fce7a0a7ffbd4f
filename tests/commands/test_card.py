import pathlib

import pytest

from dsbs_jax.rationales import filters
from dsbs_jax.reports.page import WrittenPage

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXTRACTION = ROOT / "tests/fixtures/v0_1/extraction"


def test_the_card_of_an_extraction(dsbs, tmp_path):
    done = dsbs("card", EXTRACTION, "--output", tmp_path / "card")
    assert (done.status, done.err) == (0, "")
    headline, page = done.out.splitlines()
    assert headline.startswith("6 of 6 inputs are kept.")
    assert page == str(tmp_path / "card/card.html")
    assert (tmp_path / "card/card.html").is_file()


def test_settings_are_options(dsbs, tmp_path):
    rows = ROOT / "tests/fixtures/v0_1/tiny.jsonl"
    options = ["--drop_disagreement", "--no_drop_unparsable", "--min_margin", "0.5"]
    done = dsbs("card", rows, "--output", tmp_path, *options)
    assert done.status == 0
    text = (tmp_path / "card.md").read_text().replace("\\", "")
    assert "DROP_UNPARSABLE = False (off)" in text
    assert f"{filters.DISAGREES} | DROP_DISAGREEMENT = True" in text
    assert "MIN_MARGIN = 0.5" in text


def test_the_rationales_and_the_folder_are_required(dsbs, tmp_path):
    done = dsbs("card", "--output", tmp_path)
    assert (done.status, done.out) == (2, "")
    assert "needs either a file of rationales or released data" in done.err
    done = dsbs("card", tmp_path / "nowhere")
    assert done.status == 2 and "nowhere: No such file or directory" in done.err
    done = dsbs("card", tmp_path)
    assert "no rationales.jsonl of an extraction and no student.json" in done.err
    done = dsbs("card", ROOT / "tests/fixtures/v0_1/tiny.jsonl")
    assert done.status == 2 and "the output of the card is not given" in done.err


@pytest.mark.slow
def test_the_groups_reach_the_page_of_a_student(dsbs, tmp_path, monkeypatch):
    from dsbs_jax.api import student_cards  # imports JAX

    calls = []

    def write(run, output, **options):
        calls.append(options)
        return WrittenPage(tmp_path / "card.html", "It is right.")

    monkeypatch.setattr(student_cards, "write_student_card", write)
    (tmp_path / "student.json").write_text("{}")
    options = ["--group_by", "region,tier", "--group_file", "rows.jsonl"]
    done = dsbs("card", tmp_path, *options)
    assert (done.status, done.out.splitlines()[0]) == (0, "It is right.")
    (given,) = calls
    assert list(given.pop("group_by")) == ["region", "tier"]
    assert given == {"test_data": None, "group_file": "rows.jsonl"}
    done = dsbs("card", tmp_path, "--swapped", "rows.jsonl")
    assert done.status == 2
    assert "--swapped is for the card of rationales" in done.err
