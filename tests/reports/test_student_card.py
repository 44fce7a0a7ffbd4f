"""The page of a student from plain values."""

import html
import io

import matplotlib.image
import numpy as np
import pytest

from dsbs_jax.reports import curve_plots
from dsbs_jax.reports.classification import classification_report
from dsbs_jax.reports.curve_plots import Curves
from dsbs_jax.reports.saved_report import BestCheckpoint
from dsbs_jax.reports.student_card import StudentCard

HOSTILE = "<script>alert(1)</script> $x^2"
CURVES = Curves(
    losses={"label": [(5, 2.0), (10, 1.0)], "rationale": [], "total": [(5, 3.0)]},
    validation={f"accuracy, {HOSTILE}": [(10, 50.0)]},
)
BEST = BestCheckpoint(step=10, validation={HOSTILE: {"accuracy": 50.0}})


def size(png):
    return matplotlib.image.imread(io.BytesIO(png)).shape[:2]


def test_the_same_curves_give_the_same_picture():
    picture = curve_plots.draw(CURVES, best_step=10)
    assert picture == curve_plots.draw(CURVES, best_step=10)
    assert picture != curve_plots.draw(CURVES)
    assert np.all(np.array(size(picture)) > 100)


@pytest.mark.parametrize(
    "curves",
    [
        Curves(losses=CURVES.losses),
        Curves(validation=CURVES.validation),
        Curves(losses={"_hidden $": [(1, 1e-9), (2, 1e9)]}),
        Curves(losses={str(n): [(1, n), (2, n)] for n in range(9)}),
    ],
)
def test_one_kind_of_curves_takes_the_row(curves):
    assert size(curve_plots.draw(curves, best_step=3))[1] > 1000


def test_without_curves_there_is_no_picture():
    assert curve_plots.draw(Curves()) is None
    assert curve_plots.draw(Curves(losses={"label": []}), best_step=3) is None


def test_a_page_with_everything():
    report = classification_report(
        ["red", HOSTILE],
        ["red", HOSTILE],
        ["red", "red"],
        texts=[{"input": HOSTILE, "student's rationale": HOSTILE}] * 2,
    )
    card = StudentCard(
        title=HOSTILE,
        report=report,
        best=BEST,
        curves=CURVES,
        facts={"teacher": HOSTILE, "parameters": 1234},
        settings={"DATASET": repr(HOSTILE)},
    )
    text = card.as_html()
    assert "<script" not in text and "<td>1,234</td>" in text
    titles = [f"<h2>{title}</h2>" for title in ("Classes", "Confusion of labels")]
    titles += ["<h2>Training</h2>", "<h2>Wrong labels, drawn at random</h2>"]
    titles += ["<h2>Student and data</h2>", "<h2>Settings of the run</h2>"]
    places = [text.index(title) for title in titles]
    assert places == sorted(places)
    assert card.headline() == report.headline()
    # The examples are shown once, with the rationale.
    assert html.unescape(text).count("student's rationale") == 2


def test_the_headline_without_a_report():
    assert StudentCard(title="a").headline() == "The student has not been scored."
    card = StudentCard(title="a", best=BEST)
    assert card.headline() == f"The accuracy of {HOSTILE} on validation is 50.00 %."
    both = BestCheckpoint(1, {"jars": {"accuracy": 1.0}}, {"jars": {"accuracy": 2.0}})
    card = StudentCard(title="a", best=both)
    assert card.headline() == "The accuracy of jars on test is 2.00 %."
