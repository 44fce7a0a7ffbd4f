"""Tests of the teacher's score."""

import math

from dsbs_jax.data import metrics, scoring
from dsbs_jax.data.scoring import TeacherScore


def test_a_row_without_a_teacher_label_is_wrong():
    pairs = [("a", "a"), ("a", "A"), ("b", None), ("b", "b")]
    score = scoring.score_teacher(pairs, metrics.EXACT_MATCH)
    assert score == TeacherScore(rows=4, correct=2, without_label=1)
    assert score.accuracy == 0.5


def test_the_metric_of_the_dataset_compares_labels():
    pairs = [("( 1.0 + 1.0 )", "(2)"), ("2", "(some + 2)")]
    score = scoring.score_teacher(pairs, metrics.EQUATION_ACCURACY)
    assert (score.correct, score.rows) == (1, 2)


def test_without_rows_there_is_no_accuracy():
    score = scoring.score_teacher([], metrics.EXACT_MATCH)
    assert score.rows == 0 and math.isnan(score.accuracy)
