import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsbs_jax.data import completions
from dsbs_jax.replies import problems
from dsbs_jax.replies.verdicts import MAX_REASON, VerdictReader

READER = VerdictReader()
FORMS = {
    "It fits.\nVerdict: {}": "It fits.",
    "Reason: It fits.\n**Verdict:** {}.": "It fits.",
    "It fits. My final verdict is **{}** because the tone is dead.": "It fits.",
    "### Verdict\n\n{}\n\n### Reason\nIt fits.": "It fits.",
    "Verdict: {}\nReason: It fits.": "It fits.",
    "<think>Verdict: yes? Verdict: no?</think>It fits.\nVerdict: {}": "It fits.",
    "{}. It fits.": "It fits.",
    "{}, it fits.": "it fits.",
    "It fits.\n\n{}": "It fits.",
    '{{"reason": "It fits.", "verdict": "{}"}}': "It fits.",
    '```json\n{{"verdict": "{}", "explanation": "It fits."}}\n```': "It fits.",
    "verdict: {} <|im_end|>\n<|im_start|>user": None,
    "It fits. Verdict: {}?": "It fits.",
    "<answer>It fits. Verdict: {}</answer>": "<answer>It fits.",
    'Sure:\n```json\n{{"verdict": "{}", "reason": "It fits."}}\n```': "It fits.",
    '{{"reason": "It fits.", "verdict": "{}, because of the tone"}}': "It fits.",
    '{{"reason": "It fits.", "answer": "{}"}}': "It fits.",
    # The field "verdict" counts before the fields of an answer, in any order.
    '{{"answer": "yes", "reason": "It fits.", "verdict": "{}"}}': "It fits.",
    '{{"label": "no", "reason": "It fits.", "verdict": "{}"}}': "It fits.",
    '{{"answer": "visit", "reason": "It fits.", "verdict": "{}"}}': "It fits.",
    '{{"answer": "no"}} {{"verdict": "{}", "reason": "It fits."}}': "It fits.",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("word", ["yes", "no", "Yes", "NO"])
def test_a_verdict_is_read_in_each_form(form, word):
    parsed = READER.read(form.format(word))
    assert (parsed.label, parsed.problem) == (word.lower(), None)
    assert parsed.rationale == FORMS[form]


@pytest.mark.parametrize("verdict", ["yes", "no"])
def test_the_reason_may_discuss_the_answers_yes_and_no(verdict):
    reason = "The text gives the answer no. I see no error, but the answer is yes."
    parsed = READER.read(f"{reason}\nVerdict: {verdict}")
    assert (parsed.label, parsed.rationale) == (verdict, reason)


@pytest.mark.parametrize("verdict", ["yes", "no"])
@pytest.mark.parametrize("ending", ["Verdict: {}", "**{}**"])
def test_an_object_that_the_reason_quotes_is_not_the_verdict(ending, verdict):
    for quoted in ('{"answer": "yes"}', '{"a": {"label": "no"}}', '{"x": [1, {}]}'):
        reason = f"The input says {quoted}, which is wrong."
        parsed = READER.read(f"{reason}\n{ending.format(verdict)}")
        assert (parsed.label, parsed.rationale) == (verdict, reason)


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ("", problems.NO_VERDICT),
        ("I cannot help with that.", problems.NO_VERDICT),
        ("No reason to doubt it.", problems.NO_VERDICT),
        ("Verdict: yes or no", problems.NO_VERDICT),
        ("Verdict: no error was found", problems.NO_VERDICT),
        ("Verdict: yesterday", problems.NO_VERDICT),
        ("yes and no", problems.NO_VERDICT),
        ('{"verdict": "maybe"}', problems.NO_VERDICT),
        ('{"verdict": true}', problems.NO_VERDICT),
        ('{"answer": "yes", "verdict": "maybe"}', problems.NO_VERDICT),
        ('{"answer": "yes", "verdict": null}', problems.NO_VERDICT),
        ('{"reason": "The verdict is yes.", "verdict": "?"}', problems.NO_VERDICT),
        ('{"verdict": "yes", "verdict": "maybe"}', problems.TWO_ANSWERS),
        ('Verdict: no. Not {"verdict": "yes"}.', problems.TWO_ANSWERS),
        ("[" * 50_000, problems.NO_VERDICT),
        ("Verdict: yes. Verdict: no", problems.TWO_ANSWERS),
        ("Yes.\nIt fits.\nNo", problems.TWO_ANSWERS),
        ('{"verdict": ["yes", "no"]}', problems.TWO_ANSWERS),
        ("<think>Verdict: yes", problems.UNFINISHED_REASONING),
        ("Verdict: yes" * 50_000, problems.TOO_LONG),
    ],
)
def test_other_replies_have_no_verdict(reply, problem):
    parsed = READER.read(reply)
    assert (parsed.label, parsed.rationale, parsed.problem) == (None, None, problem)


def test_the_last_word_of_a_reply_that_was_cut_off_does_not_count():
    # It may be the beginning of "not".
    for reply in ("Verdict: no", "Verdict: **no", "It fits"):
        assert READER.read(reply, cut_off=True).problem == problems.INCOMPLETE
    assert READER.read("Verdict: no\nIt is", cut_off=True).label == "no"


@given(st.text(alphabet='yesno verdict:.{}"*\n\ud800<think>', max_size=60))
def test_any_text_is_a_verdict_or_a_problem(reply):
    for cut_off in (False, True):
        parsed = READER.read(reply, cut_off=cut_off)
        assert (parsed.label in ("yes", "no")) == (parsed.problem is None)
        assert parsed.problem != completions.NOT_TEXT
        (parsed.rationale or "").encode()


def test_a_reason_is_one_line_of_limited_length():
    parsed = READER.read("It\nfits. " * 1000 + "Verdict: yes")
    assert parsed.rationale.startswith("It fits. It") and parsed.label == "yes"
    assert len(parsed.rationale) == MAX_REASON
