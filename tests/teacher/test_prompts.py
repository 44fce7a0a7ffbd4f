import collections
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsbs_jax.data import arithmetic, completions
from dsbs_jax.data.records import SEGMENT_SEPARATOR
from dsbs_jax.errors import UserError
from dsbs_jax.teacher import prompts

BUILT_IN = ("cqa", "svamp", "asdiv", "anli1", "esnli")
ALL = (*BUILT_IN, "template")

SMALL = """# A comment.
rule: default
stop: \\nQ:

=== instructions
Say yes or no.

=== question
Q: {input}
A:

=== input
ice
=== label
no
=== answer
Ice is cold. So the answer is no.
"""


@pytest.mark.parametrize("name", ALL)
def test_parser_reads_the_label_of_every_exemplar(name):
    prompt = prompts.load(name)
    assert prompt.dataset == ("default" if name == "template" else name)
    for exemplar in prompt.exemplars:
        parsed = prompt.spec.parse(exemplar.answer)
        assert parsed.problem is None
        assert parsed.label == exemplar.label
        assert prompt.spec.metric.is_correct(exemplar.label, parsed.label)
        assert len(parsed.rationale.split()) >= 8


@pytest.mark.parametrize("name", BUILT_IN)
def test_prompt_has_ten_different_exemplars(name):
    exemplars = prompts.load(name).exemplars
    assert len(exemplars) == 10
    assert len({e.input for e in exemplars}) == 10
    assert len({e.answer for e in exemplars}) == 10


@pytest.mark.parametrize("name", ["anli1", "esnli"])
def test_classes_are_balanced_and_mixed(name):
    labels = [e.label for e in prompts.load(name).exemplars]
    counts = collections.Counter(labels)
    assert set(counts) == set(completions.NLI_CLASSES)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert all(a != b for a, b in zip(labels, labels[1:], strict=False))


def test_choices_are_balanced_and_valid():
    letters = collections.Counter()
    for exemplar in prompts.load("cqa").exemplars:
        choices = dict(re.findall(r"^\((\w)\) (.+)$", exemplar.input, re.MULTILINE))
        (letter,) = re.findall(r"So the answer is \((\w)\)", exemplar.answer)
        assert choices[letter] == exemplar.label
        letters[letter] += 1
    assert set(letters.values()) == {2} and len(letters) == 5


@pytest.mark.parametrize("name", ["svamp", "asdiv"])
def test_equations_have_a_value_and_use_the_numbers_of_the_story(name):
    for exemplar in prompts.load(name).exemplars:
        value = arithmetic.value(exemplar.label)
        assert value is not None and value > 0
        told = re.findall(r"\d+(?:\.\d+)?", exemplar.input)
        words = {"four": "4"}
        told += [number for word, number in words.items() if word in exemplar.input]
        # A perimeter counts each side of a rectangle twice.
        told += ["2"] if "rectangular" in exemplar.input else []
        assert set(re.findall(r"\d+(?:\.\d+)?", exemplar.label)) <= set(told)


# The fingerprint is part of run.json, and the text is part of every request key. A
# change of a built-in prompt would send all requests of existing folders again.
FINGERPRINTS = {
    "cqa": "b079980746df6c21",
    "svamp": "7b221928076684a6",
    "asdiv": "c9e3892bba6a4fd1",
    "anli1": "1ae0f99e7079a05d",
    "esnli": "b353fb0de67829c0",
}


@pytest.mark.parametrize("name", BUILT_IN)
def test_text_of_a_built_in_prompt_is_that_of_version_0_1(name):
    digest = prompts.load(name).fingerprint().removeprefix("sha256:")
    assert digest.startswith(FINGERPRINTS[name])


def test_comments_are_not_part_of_a_prompt():
    assert "# A comment." in SMALL
    changed = SMALL.replace("# A comment.", "# Another comment.\n# And a second one.")
    assert prompts.parse(changed, "small") == prompts.parse(SMALL, "small")


def test_prompt_ends_where_the_answer_begins():
    prompt = prompts.parse(SMALL, "small")
    assert prompt.completion_prompt("fire") == (
        "Say yes or no.\n\nQ: ice\nA: Ice is cold. So the answer is no.\n\nQ: fire\nA:"
    )
    assert prompt.stop == ("\nQ:",)
    assert prompt.chat_messages("fire") == [
        {"role": "user", "content": "Say yes or no.\n\nQ: ice\nA:"},
        {"role": "assistant", "content": "Ice is cold. So the answer is no."},
        {"role": "user", "content": "Q: fire\nA:"},
    ]
    assert prompt.chat_messages("fire", as_json=True)[1]["content"] == (
        '{"rationale": "Ice is cold.", "label": "no"}'
    )


def test_segments_fill_their_fields():
    prompt = prompts.load("esnli")
    question = prompt.fill_question(f"A dog runs.{SEGMENT_SEPARATOR}It sleeps.")
    assert question == "Premise: A dog runs.\nHypothesis: It sleeps.\nReason:"
    with pytest.raises(ValueError, match="expects 2 segments separated .*, found 1"):
        prompt.fill_question("A dog runs.")


@given(st.text(alphabet="{} input1segmnt\n\\", min_size=1))
def test_input_is_inserted_unchanged(text):
    prompt = prompts.parse(SMALL, "small")
    assert prompt.completion_prompt(text).endswith(f"\n\nQ: {text}\nA:")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rule: default", "rule: cqaa", "found 'rule: cqaa', expected 'rule: ' and"),
        ("rule: default", "model: x", "found 'model: x'"),
        ("{input}\nA:", "\nA:", "expected a section 'question' with {input}"),
        ("=== label\nno\n", "", "exemplar 1: expected the .* found input, answer$"),
        ("=== label\nno", "=== label\nyes", "exemplar 1: .* reads 'no' .* label 'yes'"),
        (
            "So the answer is",
            "I say",
            r"exemplar 1: .* reads None \(no answer marker",
        ),
        ("=== answer", "=== anser", "expected the .* found input, label, anser$"),
        (
            "=== answer\nIce is cold. So the answer is no.\n",
            "",
            "exemplar 1: expected the sections input, label and answer, found input, "
            "label$",
        ),
    ],
)
def test_problem_of_a_prompt_file_is_named(tmp_path, old, new, message):
    assert old in SMALL
    path = tmp_path / "own.txt"
    path.write_text(SMALL.replace(old, new))
    with pytest.raises(UserError, match=message) as caught:
        prompts.load(str(path))
    assert str(caught.value).startswith(f"{path}: ")


def test_unreadable_prompt_file_is_named(tmp_path):
    with pytest.raises(UserError, match="prompt 'cqaa': No such file.* one of anli1, "):
        prompts.load("cqaa")
    with pytest.raises(UserError, match="Is a directory"):
        prompts.load(str(tmp_path))
    (tmp_path / "latin.txt").write_bytes(b"rule: caf\xe9")
    with pytest.raises(UserError, match="latin.txt: not UTF-8 at byte 9"):
        prompts.load(str(tmp_path / "latin.txt"))


def test_windows_line_ends_and_byte_order_mark_are_accepted(tmp_path):
    path = tmp_path / "own.txt"
    path.write_bytes(b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode())
    assert prompts.load(str(path)).completion_prompt("x") == prompts.parse(
        SMALL, "small"
    ).completion_prompt("x")


# Of version 0.1, whose folders hold the fingerprint of their prompt.
FINGERPRINTS = {
    "cqa": "b079980746df6c219cedf526ff5ea39513306efef43b8d1fd9248495f2c4dbc7",
    "svamp": "7b221928076684a6d2bce798e214cdca09ffb2b99ff7889190d4a5ae5863c343",
    "asdiv": "c9e3892bba6a4fd1b1f02e0981011a8e088730381e344460a3e13d6ba6ad1da5",
    "anli1": "1ae0f99e7079a05d5cb3196bb673bbe52c7c8b22690ded72113c5965eda8860c",
    "esnli": "b353fb0de67829c0a72963c062dc3abe3fe234c9b8392c563f9ec255574efaa6",
    "template": "006971e3fe6ab9b00c767a16b82d61b7b720446942956a2b52a3c163f0f95aeb",
}


@pytest.mark.parametrize("name", ALL)
def test_built_in_prompts_do_not_change(name):
    assert prompts.load(name).fingerprint() == f"sha256:{FINGERPRINTS[name]}"
