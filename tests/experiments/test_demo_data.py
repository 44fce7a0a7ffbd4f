"""The generated dataset and its scripted teacher."""

import collections
import dataclasses
import hashlib
import json

import pytest

from dsbs_jax.data import completions, data_files, dataset_spec
from dsbs_jax.experiments import demo_data
from dsbs_jax.teacher import given_answers


def test_same_seed_gives_the_same_data():
    assert demo_data.make(50, seed=3) == demo_data.make(50, seed=3)
    assert demo_data.make(50, seed=3) != demo_data.make(50, seed=4)


def test_splits_share_no_input_and_have_their_sizes():
    records = demo_data.make(300).records
    inputs = [r.input for split in records.values() for r in split]
    assert len(inputs) == len(set(inputs)) == 300 + sum(demo_data.SIZES.values())


def test_a_smaller_training_set_is_the_beginning_of_a_larger_one():
    small, large = demo_data.make(40).records, demo_data.make(90).records
    assert [r.input for r in small["train"]] == [r.input for r in large["train"][:40]]
    assert small["test"] == large["test"]
    assert small["validation"] == large["validation"]


def test_human_labels_follow_the_rule():
    for ticket in demo_data.draw_tickets(200, seed=1):
        internet, phone = ticket.down
        assert ticket.label == ("visit" if internet ^ phone else "remote")
        assert all(quote in ticket.input for quote in ticket.quotes)


def test_one_fact_alone_does_not_tell_the_label():
    tickets = demo_data.draw_tickets(2000, seed=1)
    for fact in (0, 1):
        down = [ticket for ticket in tickets if ticket.down[fact]]
        visits = sum(ticket.label == demo_data.VISIT for ticket in down) / len(down)
        assert 0.45 < visits < 0.55


def test_rationales_quote_the_input_and_agree_with_the_teachers_label():
    for record in demo_data.make(500).records["train"]:
        if record.rationale is None:
            continue
        quotes, conclusion, _ = (
            record.rationale.rsplit(".", 2)[0],
            *(record.rationale.split(". ")[1:] + [""]),
        )
        first, second = quotes.split(". ")[0].split(", ")
        assert first in record.input and second in record.input
        label = (
            demo_data.VISIT if conclusion.startswith("Only one") else demo_data.REMOTE
        )
        assert label == record.teacher_label


def test_teacher_makes_each_mistake_about_as_often_as_intended():
    made = demo_data.make(4000)
    train, raw = made.records["train"], made.completions["train"]
    answered = [r for r in train if r.teacher_label]
    unanswered = 1 - len(answered) / len(train)
    wrong = sum(r.teacher_label != r.label for r in answered) / len(answered)
    runs_on = sum("\n\nQ:" in text for text in raw) / len(raw)
    assert abs(unanswered - demo_data.UNPARSABLE) < 0.01
    assert abs(wrong - demo_data.WRONG) < 0.02
    # Some are cut off before the "Q:" of the invented ticket.
    assert abs(runs_on - demo_data.RUNS_ON) < 0.03


def test_problems_name_each_completion_without_a_label():
    made = demo_data.make(500)
    missing = {
        r.id for split in made.records.values() for r in split if not r.teacher_label
    }
    assert {name for name, _ in made.problems} == missing
    assert {problem for _, problem in made.problems} <= {
        completions.NO_MARKER,
        completions.RUNS_ON,
    }


def test_the_replies_to_the_demos_prompts_have_not_changed():
    """The demo's published numbers depend on every byte."""
    made = demo_data.make(800)
    text = json.dumps([made.completions[split] for split in sorted(made.completions)])
    assert hashlib.sha256(text.encode()).hexdigest() == (
        "8b6feb70088846ad1139547a64a7d573c697021793e7a849879e9b57e9bd2b85"
    )


def parse(text):
    return dataset_spec.DEFAULT.parse(text)


def test_samples_differ_in_words_and_make_their_own_mistakes():
    tickets = demo_data.draw_tickets(300, seed=2)
    right = different = 0
    for ticket in tickets:
        labels = [parse(demo_data.reply(ticket.input, sample=n)) for n in range(5)]
        votes = collections.Counter(p.label for p in labels if p.label)
        right += votes.most_common(1)[0][0] == ticket.label
        different += len({p.rationale for p in labels if p.rationale}) > 1
    # A vote over five is right more often than one sample, of which 7 % are wrong.
    assert right / 300 > 0.97 and different / 300 > 0.95


@pytest.mark.parametrize("label", [demo_data.VISIT, demo_data.REMOTE])
def test_the_teacher_explains_the_label_that_it_is_given(label):
    for n, ticket in enumerate(demo_data.draw_tickets(200, seed=3)):
        question = given_answers.with_answer(ticket.input, label)
        text = demo_data.reply(question, sample=n)
        parsed = parse(text)
        assert parsed.label == label and parsed.rationale
        quotes = parsed.rationale.split(". ")[0].split(", ")
        assert all(quote in ticket.input for quote in quotes)
        if label == ticket.label:
            assert set(quotes) == set(ticket.quotes)


def test_a_ticket_is_read_from_its_text():
    for ticket in demo_data.draw_tickets(200, seed=4):
        read = demo_data.read_ticket(ticket.input)
        assert (read.down, read.quotes) == (ticket.down, ticket.quotes)
        assert sorted(read.others) == sorted(ticket.others)


def test_a_reply_depends_on_the_sample_only():
    text = demo_data.draw_tickets(1, seed=5)[0].input
    replies = [demo_data.reply(text, sample=n) for n in range(20)]
    assert replies == [demo_data.reply(text, sample=n) for n in range(20)]
    assert len(set(replies)) > 3


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("Ana: no calls", "found 0 facts about the internet, expected one"),
        ("Ana: no calls, internet works, internet is dead", "found 2 facts about the"),
        (
            "Ana: no calls, internet works\n(The correct answer is: yes)",
            "found the answer 'yes', expected visit or remote",
        ),
    ],
)
def test_other_questions_are_errors(question, message):
    with pytest.raises(ValueError, match=message):
        demo_data.reply(question)


@pytest.fixture(scope="module")
def records():
    return demo_data.make(200).records["train"]


def test_fields_of_other_methods_change_no_other_field(records):
    # The demo's vocabulary is trained on these records, and must not change.
    assert not any(r.rationales or r.counterfactual_rationale for r in records)
    complete = demo_data.with_all_fields(records)
    assert complete == demo_data.with_all_fields(records)
    for before, after in zip(records, complete, strict=True):
        assert before == dataclasses.replace(
            after,
            rationales=(),
            counterfactual_rationale=None,
            counterfactual_label=None,
        )


def concluded(rationale):
    """Returns the label to which a rationale of the scripted teacher leads."""
    conclusions = demo_data._CONCLUSIONS
    down = [n for n, texts in enumerate(conclusions) for t in texts if t in rationale]
    assert len(down) == 1
    return demo_data.VISIT if down == [1] else demo_data.REMOTE


def test_rationales_of_a_row_agree_with_its_labels(records):
    several = 0
    for record in demo_data.with_all_fields(records):
        wrong = {demo_data.VISIT, demo_data.REMOTE} - {record.label}
        assert {record.counterfactual_label} == wrong
        assert concluded(record.counterfactual_rationale) in wrong
        assert len(record.rationales) <= demo_data.SAMPLES
        assert len({*record.rationales}) == len(record.rationales)
        for rationale in record.rationales:
            assert concluded(rationale) == record.teacher_label
        several += len(record.rationales) > 1
    assert several > 0.8 * len(records)


def test_answers_are_given_where_the_teacher_is_wrong(records):
    aided = demo_data.with_answers_given(records)
    changed = 0
    for before, after in zip(records, aided, strict=True):
        assert after.teacher_label == after.label == before.label
        assert concluded(after.rationale) == after.label
        changed += before != after
        if before.teacher_label == before.label:
            assert before == after
    assert 0 < changed < 0.2 * len(records)


def test_written_files_read_back_as_the_same_records(tmp_path):
    made = demo_data.make(60)
    files = demo_data.write(made, tmp_path)
    assert data_files.read_dataset(files) == {
        split: demo_data.with_all_fields(part) for split, part in made.records.items()
    }
    completions = [json.loads(x) for x in (tmp_path / "completions.jsonl").open()]
    assert len(completions) == 60 + sum(demo_data.SIZES.values())
