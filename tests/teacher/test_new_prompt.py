import pytest

from dsbs_jax.data.records import Record
from dsbs_jax.errors import UserError
from dsbs_jax.teacher import new_prompt, prompts
from dsbs_jax.teacher.prompts import PLACEHOLDER

LABELS = ("billing", "log in", "U.S.")


def row(input, label):
    return Record(id=input, input=input, label=label)


ROWS = [
    row(f"{label} {'x' * n}\nsecond line", label) for label in LABELS for n in range(5)
]


def test_a_new_prompt_shows_one_row_of_each_label():
    text = new_prompt.text(ROWS, LABELS, "tickets.jsonl")
    assert text.startswith("# Prompt for a teacher, made from tickets.jsonl.\n")
    prompt = prompts.parse(text.replace(PLACEHOLDER, "A fee is named."), "own")
    assert prompt.labels == LABELS
    assert [e.label for e in prompt.exemplars] == list(LABELS)
    # The input of median length.
    assert prompt.exemplars[0].input == "billing xx\nsecond line"
    assert prompt.stop == ("\nQ:",)
    assert "billing, log in, U.S." in prompt.instructions
    assert prompt.fill_question("hot tea") == "Q: hot tea\nA:"


def test_a_placeholder_is_refused_with_its_line(tmp_path):
    path = tmp_path / "prompt.txt"
    path.write_text(new_prompt.text(ROWS, LABELS, "tickets.jsonl"))
    lines = path.read_text().split("\n")
    places = [n for n, x in enumerate(lines, 1) if x.startswith(PLACEHOLDER)]
    assert len(places) == 3
    with pytest.raises(UserError) as caught:
        prompts.load(str(path))
    expected = f"{path}: line {places[0]}: 3 of the rationales are not written yet"
    assert str(caught.value).startswith(expected)
    # With two of them written, the third is reported.
    path.write_text(path.read_text().replace(f"\n{PLACEHOLDER}", "\nA fee.", 2))
    with pytest.raises(UserError, match=f"line {places[2]}: 1 of the rationales"):
        prompts.load(str(path))
    path.write_text(path.read_text().replace(f"\n{PLACEHOLDER}", "\nA fee."))
    assert len(prompts.load(str(path)).exemplars) == 3


def test_a_zero_shot_prompt_is_ready_to_use():
    text = new_prompt.text([], LABELS, "tickets.jsonl", zero_shot=True)
    prompt = prompts.parse(text, "own")
    assert prompt.exemplars == () and prompt.labels == LABELS
    (message,) = prompt.chat_messages("hot tea")
    assert message["content"].endswith("Q: hot tea\nA:")
    assert '"So the answer is"' in message["content"]
    parsed = prompt.spec.parse("A fee is named. So the answer is billing.")
    assert parsed.label == "billing"


def test_many_labels_get_a_few_exemplars():
    labels = [f"label {n}" for n in range(30)]
    rows = [row(f"input {n}", label) for n, label in enumerate(labels)]
    text = new_prompt.text(rows, labels, "tickets.jsonl")
    assert "Only 10 of 30 labels have an example" in text
    prompt = prompts.parse(text.replace(PLACEHOLDER, "A fee."), "own")
    assert len(prompt.exemplars) == 10 and len(prompt.labels) == 30


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("billing", "fax"), "no row has the label 'fax', expected one to show for"),
        (("billing",), "expected two or more different labels, found 'billing'"),
        (("billing", "billing"), "expected two or more different labels"),
        (("billing", "log\nin"), "found 'in', expected 'rule: '"),
    ],
)
def test_labels_that_cannot_be_shown_are_reported(labels, message):
    rows = [*ROWS, row("x", "log\nin")]
    with pytest.raises(UserError, match=message):
        new_prompt.text(rows, labels, "tickets.jsonl")


def test_inputs_that_look_like_a_section_are_not_shown():
    rows = [row("x\n=== label\ny", "a"), row("z", "a"), row("w", "b")]
    text = new_prompt.text(rows, ["a", "b"], "own")
    prompt = prompts.parse(text.replace(PLACEHOLDER, "A fee."), "own")
    assert [e.input for e in prompt.exemplars] == ["z", "w"]


def test_open_answers_have_no_labels_in_the_prompt():
    rows = [row(f"how much is {n} and {n}?", str(2 * n)) for n in range(9)]
    written = new_prompt.text(rows, (), "sums.jsonl")
    prompt = prompts.parse(written.replace(prompts.PLACEHOLDER, "Add them."), "sums")
    assert [one.label for one in prompt.exemplars] == ["0", "2", "4", "6", "8"]
    assert prompt.labels == () and "#   label:" not in written
    assert "Choose one" not in written and 'Answer the text after "Q:".' in written
    zero_shot = new_prompt.text(rows, (), "sums.jsonl", zero_shot=True)
    assert prompts.parse(zero_shot, "sums").exemplars == ()
