import pytest

from dsbs_jax.data.metrics import EXACT_MATCH
from dsbs_jax.rationales import filters, verdicts
from dsbs_jax.rationales.card import inputs, judge_content, writing
from dsbs_jax.rationales.filters import FilterConfig
from dsbs_jax.rationales.voting import VotedExample
from dsbs_jax.reports import page
from dsbs_jax.reports.proportion import Proportion


def example(number, verdict, label="a", teacher_label="a", **more):
    fields = {"label": label, "teacher_label": teacher_label, "judge_verdict": verdict}
    row = {name: value for name, value in fields.items() if value is not None}
    row |= {"id": str(number), "input": f"input {number}", "rationale": "R. It is."}
    row |= {"judge_reason": "It lies."} if verdict else {}
    return VotedExample.from_row(row | more)


def measure(rows):
    return verdicts.measure(filters.apply(rows, FilterConfig()), EXACT_MATCH)


# Four accepted rows, one of them wrong; three rejected rows, two of them wrong; one
# unreadable verdict; a judged row without a human label; a row that was not judged.
GIVEN = ["yes"] * 4 + ["no"] * 3 + ["unreadable"]
RIGHT = [True, True, True, False, True, False, False, True]
ROWS = [
    example(n, verdict, teacher_label="a" if right else "b")
    for n, (verdict, right) in enumerate(zip(GIVEN, RIGHT, strict=True))
]
ROWS += [example(8, "no", label=None), example(9, None)]


def test_figures():
    figures = measure(ROWS)
    assert figures.not_judged == figures.to_json()["not_judged"] == 1
    assert figures.rejected == Proportion(4, 9)
    assert figures.unreadable == Proportion(1, 9)
    assert figures.accepted_right == Proportion(3, 4)
    assert figures.rejected_right == Proportion(1, 3)
    assert figures.agreement == Proportion(5, 7)
    # Agreement by chance: (4 * 4 + 3 * 3) / 49.
    assert figures.kappa.value == pytest.approx((5 / 7 - 25 / 49) / (1 - 25 / 49))
    assert measure(ROWS[-1:]) is None
    line = "judge: 4 of 9 rationales are rejected (44.44 %), 1 verdict cannot be read, "
    line += "1 kept row is not judged; agreement with the human labels: 71.43 %, "
    line += "Cohen's kappa 0.42"
    assert figures.describe() == line


def test_labels_that_the_teacher_was_given_do_not_count_as_agreement():
    given = [
        example(n, verdict, answer_given=True, own_label="b")
        for n, verdict in enumerate(["yes", "no"], start=20)
    ]
    figures, alone = measure([*ROWS, *given]), measure(ROWS)
    assert (figures.agreement, figures.kappa) == (alone.agreement, alone.kappa)
    assert figures.accepted_right == alone.accepted_right
    assert figures.rejected_right == alone.rejected_right
    assert figures.rejected == Proportion(5, 11)


def test_the_card_has_the_section_also_from_written_files(tmp_path):
    result = filters.apply(ROWS, FilterConfig())
    assert [row.id for row, _ in result.dropped] == ["4", "5", "6", "8"]
    writing.write(tmp_path / "first", ROWS, result)
    text = (tmp_path / "first/card.md").read_text()
    assert "| rejected | 4 | 9 | 44.44 % |" in text
    assert "| verdict cannot be read | 1 | 9 | 11.11 % |" in text
    assert "| agreement of verdict and correctness | 5 | 7 | 71.43 % |" in text
    assert "| Cohen's kappa | 0.42 | -0.2" in text
    assert "1 kept row was not judged." in text
    assert (
        "| rationale does not support the label | DROP\\_UNSUPPORTED = True | 4 |"
        in (text)
    )
    kept, dropped = tmp_path / "rationales.jsonl", tmp_path / "filtered.jsonl"
    filters.write(result, kept, dropped)
    read = inputs.read_file(kept, FilterConfig())
    assert measure(read.examples) == measure(ROWS)


def text_of(rows):
    blocks = judge_content.sections(measure(rows))
    return page.as_markdown("Card", blocks)


def test_no_section_without_a_judge_and_no_kappa_with_one_verdict():
    assert judge_content.sections(measure(ROWS[-1:])) == []
    text = text_of([example(1, "yes"), example(2, "yes", label=None)])
    assert "Cohen's kappa is not known" in text
    text = text_of([example(2, "yes", label=None)])
    assert "| rejected | 0 | 1 |" in text and "kappa" not in text


def test_bad_verdict_of_a_row_is_an_error():
    row = example(1, "yes").to_row()
    assert VotedExample.from_row(row) == example(1, "yes")
    with pytest.raises(ValueError, match="judge_verdict"):
        VotedExample.from_row(row | {"judge_verdict": "perhaps"})
