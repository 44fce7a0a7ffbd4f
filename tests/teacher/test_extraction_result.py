import dataclasses
import json
import pathlib

import pytest

from dsbs_jax.reports.proportion import Proportion
from dsbs_jax.teacher.extraction_result import ExtractionResult

FOLDER = pathlib.Path("runs/teacher")
RESULT = ExtractionResult(
    status=4,
    folder=FOLDER,
    inputs=120,
    rationales=FOLDER / "rationales.jsonl",
    failed=FOLDER / "failed.jsonl",
    card=FOLDER / "card.html",
    kept_count=90,
    dropped_counts={"label not in the label set": 18, "unparsable": 6},
    failed_count=6,
    labels=("billing", "login"),
    other_labels={f"other {n}": 7 - n for n in range(7)},
    teacher_accuracy=Proportion(81, 114),
    majority_label="billing",
    majority_accuracy=Proportion(60, 114),
)


def test_the_summary_has_accuracy_shares_and_the_path_of_the_card():
    assert RESULT.summary().splitlines() == [
        "teacher accuracy: 71.05 % of the 114 rows with a human label (95 % interval "
        "62.15 to 78.58); always answering 'billing': 52.63 %",
        "kept: 90 of 120 rows (75.0 %) in runs/teacher/rationales.jsonl",
        "dropped: 18 of 120 rows (15.0 %), label not in the label set",
        "dropped: 6 of 120 rows (5.0 %), unparsable",
        "labels outside the label set, by samples: 'other 0' (7), 'other 1' (6), "
        "'other 2' (5), 'other 3' (4), 'other 4' (3) and 2 more",
        "failed: 6 of 120 rows (5.0 %), reasons in runs/teacher/failed.jsonl",
        "card: runs/teacher/card.html",
    ]


def test_the_summary_says_how_to_train_on_the_labels_of_failed_rows():
    lines = dataclasses.replace(RESULT, failed_label_count=4).summary().splitlines()
    assert lines[-2] == (
        "  4 of them have a human label; to train on it, give both files: dsbs-jax fit "
        "runs/teacher/rationales.jsonl runs/teacher/failed.jsonl"
    )


@pytest.mark.parametrize(
    ("right", "majority", "beats"),
    [(81, 60, True), (62, 60, False), (40, 60, False), (114, 113, False)],
)
def test_the_teacher_is_compared_with_the_majority_class(right, majority, beats):
    result = ExtractionResult(
        status=0,
        folder=FOLDER,
        inputs=114,
        teacher_accuracy=Proportion(right, 114),
        majority_label="billing",
        majority_accuracy=Proportion(majority, 114),
    )
    assert result.beats_majority is beats
    warning = result.warning()
    assert (warning is None) == beats
    if warning:
        assert "no better than always answering 'billing'" in warning
        assert result.teacher_accuracy.percent_interval in warning


def test_without_human_labels_there_is_no_accuracy():
    result = ExtractionResult(status=0, folder=FOLDER, inputs=2, kept_count=2)
    assert result.beats_majority is None and result.warning() is None
    assert result.summary().startswith("teacher accuracy: not known, because no row")
    assert "teacher_accuracy" not in result.report_fields()


def test_the_report_has_the_accuracies():
    fields = json.loads(json.dumps(RESULT.report_fields()))
    assert fields["teacher_accuracy"]["right"] == 81
    low, high = fields["teacher_accuracy"]["interval"]
    assert low < fields["teacher_accuracy"]["accuracy"] < high
    assert fields["majority_class"]["label"] == "billing"
    assert fields["other_labels"]["other 0"] == 7
