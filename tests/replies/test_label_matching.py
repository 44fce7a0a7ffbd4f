import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsbs_jax.data import completions
from dsbs_jax.data.completions import ParsedCompletion
from dsbs_jax.replies.label_matching import LabelMatcher

TICKETS = LabelMatcher(["billing", "Log in", "other_topic"])


@pytest.mark.parametrize(
    ("label", "category"),
    [
        ("billing", "billing"),
        ("Billing", "billing"),
        (" BILLING ", "billing"),
        ("**billing**", "billing"),
        ("'billing'.", "billing"),
        ("“Billing”", "billing"),
        ("<b>billing</b>", "billing"),
        ("`log in`", "Log in"),
        ("__other_topic__", "other_topic"),
        ("(billing)", "billing"),
        ("not billing", None),
        ("billing or log in", None),
        ("bill", None),
        ("login", None),
        ("", None),
        ("***", None),
    ],
)
def test_a_category_is_found_despite_case_quotes_and_markup(label, category):
    assert TICKETS.match(label) == category


def test_the_strictest_form_that_names_a_category_counts():
    languages = LabelMatcher(["C", "c", "C++", "c#"])
    assert languages.match("C") == "C" and languages.match("c") == "c"
    assert languages.match("c++") == "C++" and languages.match("C#") == "c#"
    # Markup goes first; without all punctuation, "C++" and "C" are equal.
    assert languages.match("*C++*") == "C++" and languages.match("+C+") is None


def test_a_blank_category_names_nothing():
    matcher = LabelMatcher([" ", "0"])
    assert matcher.match(" ") is None and matcher.match("0") == "0"


@given(st.lists(st.text(), min_size=2, unique_by=str.strip), st.data())
def test_each_category_matches_itself(labels, data):
    label = data.draw(st.sampled_from(labels))
    assert LabelMatcher(labels).match(label) == (label if label.strip() else None)


def test_another_label_takes_the_rationale_with_it():
    limit = TICKETS.limit
    parsed = ParsedCompletion("A fee is named.", "*Billing*", None)
    assert limit(parsed) == ParsedCompletion("A fee is named.", "billing", None)
    blank = ParsedCompletion(None, "Billing", completions.BLANK_RATIONALE)
    assert limit(blank) == ParsedCompletion(
        None, "billing", completions.BLANK_RATIONALE
    )
    other = ParsedCompletion("It is odd.", "not use", None)
    assert limit(other) == ParsedCompletion(None, None, completions.NOT_IN_LABEL_SET)
    no_label = ParsedCompletion(None, None, completions.NO_MARKER)
    assert limit(no_label) is no_label
