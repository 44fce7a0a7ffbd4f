"""Tests of the feature lengths of a fit."""

import dataclasses

import numpy as np
import pytest
from fitting.conftest import record

from dsbs_jax.data import vocabulary
from dsbs_jax.data.methods import METHODS
from dsbs_jax.data.preprocessors import encode_segments
from dsbs_jax.errors import UserError
from dsbs_jax.fitting import lengths


@pytest.fixture(scope="module")
def words(tiny_vocabulary):
    return vocabulary.load(str(tiny_vocabulary))


def test_tokens_are_those_that_a_task_makes(words):
    for text in ("Jar 9: 3 red marbles.", "3 red</s>5 blue", "a</s></s>b"):
        ids = np.asarray(encode_segments(text, words))
        assert lengths.count(text, words) == len(ids) + 1


def test_longest_text_sets_the_length_unless_it_is_an_outlier():
    assert lengths.choose([12, 15, 14], None, 512).tokens == 16
    counts = [20] * 990 + [29] * 10
    assert lengths.choose(counts, None, 512).tokens == 32
    counts = [20] * 995 + [200] * 5
    chosen = lengths.choose(counts, None, 512)
    assert (chosen.tokens, chosen.truncated, chosen.longest) == (24, 5, 200)
    assert chosen.reason == "longest 200, 99 % up to 20; 5 of 1,000 are cut"


def test_limit_and_the_users_choice():
    chosen = lengths.choose([600, 700], None, 512)
    assert (chosen.tokens, chosen.truncated) == (512, 2)
    assert lengths.choose([600, 700], 650, 512).tokens == 650


def test_labels_are_never_cut(words):
    label = " ".join(["red"] * 40)
    records = [record(0, label), *(record(n, "red") for n in range(1, 500))]
    chosen = lengths.target_length(records, words, METHODS["step_by_step"], None)
    assert chosen.tokens >= lengths.count(label, words)
    with pytest.raises(UserError, match="target_length is 8, expected at least"):
        lengths.target_length(records, words, METHODS["step_by_step"], 8)


def test_target_of_a_single_task_holds_rationale_and_label(words):
    records = [record(n, "red", "red", "3 red and 2 blue") for n in range(9)]
    both = lengths.target_length(records, words, METHODS["single_task"], None)
    one = lengths.target_length(records, words, METHODS["step_by_step"], None)
    text = "3 red and 2 blue So the answer is red"
    assert both.longest == lengths.count(text, words) > one.longest


def test_targets_of_both_kinds_of_rationales_have_prefixes(words):
    other = {"counterfactual_rationale": "5 blue", "counterfactual_label": "blue"}
    first = record(0, "red", "red", "3 red and 2 blue")
    records = [dataclasses.replace(first, **other)]
    method = METHODS["counterfactual"]
    found = lengths.target_length(records, words, method, None)
    texts = (
        "[Factual] 3 red and 2 blue So the answer is red",
        "[Counterfactual] 5 blue So the answer is blue",
    )
    assert found.longest == max(lengths.count(text, words) for text in texts)
    source = lengths.input_length(records, words, method, None)
    text = f"[Counterfactual] {first.input}"
    assert source.longest == lengths.count(text, words)


def test_label_first_target_has_an_end_token_between_its_parts(words):
    records = [record(n, "red", "red", "3 red and 2 blue") for n in range(9)]
    method = METHODS["label_then_rationale"]
    both = lengths.target_length(records, words, method, None)
    parts = [lengths.count(text, words) for text in ("red", "3 red and 2 blue")]
    assert both.longest == sum(parts)


def test_answer_length_is_that_of_the_longest_label(words):
    labels = ["red", "red blue white"]
    longest = max(lengths.count(label, words) for label in labels)
    assert lengths.label_length(labels, words, True, None) == longest
    assert lengths.label_length(labels, words, METHODS["single_task"], 60) == 60


@pytest.mark.parametrize(
    ("labels", "given", "message"),
    [
        (["red", "red blue white green"], 3, "tokens with the end token, expected at"),
        (["red", "ροζ"], None, "characters that the vocabulary lacks: 'ρ', 'ο', 'ζ'"),
        (["red  blue", "red"], None, "reads back from the vocabulary as 'red blue'"),
    ],
)
def test_labels_that_cannot_be_generated(words, labels, given, message):
    for closed in (True, False):
        with pytest.raises(UserError, match=message):
            lengths.label_length(labels, words, closed, given)
