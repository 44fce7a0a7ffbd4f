import json

import pytest
from tolerance import labels as unpredictable

from dsbs_jax.data import metrics
from dsbs_jax.errors import UserError
from dsbs_jax.local import datasets, label_checks


@pytest.fixture
def check(tiny_data, tmp_path):
    """Checks rows with these labels: (labels, length, closed) -> warnings."""

    def check(labels, length=8, closed=None, method="step_by_step"):
        path = tmp_path / "rows.jsonl"
        rows = [
            {
                "input": f"Jar {n}: marbles.",
                "label": label,
                "teacher_label": label,
                "rationale": "more are red.",
            }
            for n, label in enumerate(labels)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        every = {split: str(path) for split in ("train", "validation", "test")}
        data = tiny_data(method, DATA_FILES=every)
        sizes = datasets.task_sizes(data)
        return label_checks.check(data, closed, sizes, length)

    return check


GOOD = [label for label, _ in unpredictable.SECTION.accepted] * 2


@pytest.mark.parametrize("closed", [None, ("red", "blue", "green")])
def test_labels_that_can_be_predicted_give_no_warning(check, closed):
    assert check(GOOD, closed=closed) == []


@pytest.mark.parametrize(("label", "fault"), unpredictable.SECTION.refused)
@pytest.mark.slow
def test_some_labels_that_cannot_be_predicted_give_a_warning(check, label, fault):
    (warning,) = check([*GOOD, label, label])
    assert warning.startswith("tiny_predict: 2 of 8 training rows have a label that")
    assert fault in warning and "(2 rows)" in warning


@pytest.mark.parametrize(("label", "fault"), unpredictable.SECTION.refused)
@pytest.mark.slow
def test_a_closed_set_with_such_a_label_is_an_error(check, label, fault):
    with pytest.raises(UserError) as error:
        check([*GOOD, label, label], closed=("red", "blue", "green", label.strip()))
    assert fault in str(error.value)


@pytest.mark.parametrize(("label", "fault"), unpredictable.SECTION.refused)
@pytest.mark.slow
def test_rows_of_which_no_label_can_be_predicted_are_an_error(check, label, fault):
    with pytest.raises(UserError, match="6 of 6 training rows have a label") as error:
        check([label] * 6)
    assert fault in str(error.value)


def test_a_label_of_the_set_that_no_row_has_is_checked(check):
    with pytest.raises(UserError, match="'б'"):
        check(GOOD, closed=("red", "blue", "green", "б"))


def test_labels_of_the_set_with_the_same_tokens_are_an_error(check):
    with pytest.raises(UserError, match="reads back|has the tokens of"):
        check(GOOD, closed=("red", "red "))


def test_a_label_that_the_metric_accepts_in_another_form_is_no_fault(
    check, monkeypatch
):
    labels = ["( 8 / 2 )", "( 8  /  2 )", "(8/2)"]
    accepts = metrics.EQUATION_ACCURACY.accepts
    assert accepts("( 8  /  2 )", "( 8 / 2 )")
    (warning,) = check([*labels, *GOOD], length=20)
    assert "1 of 9 training rows" in warning
    monkeypatch.setattr(metrics.Metric, "accepts", lambda self, a, b: accepts(a, b))
    assert check([*labels, *GOOD], length=20) == []


def test_answers_of_a_single_task_method_are_compared_with_the_length(check):
    (warning,) = check(GOOD, length=8, method="single_task")
    assert "6 of 6 training rows have a rationale and label of more than 8" in warning
    longest = int(warning.rpartition(" ")[2])
    assert check(GOOD, length=longest, method="single_task") == []
