"""The generated dataset and its scripted teacher."""

import json

from dsbs_jax.data import completions, data_files
from dsbs_jax.experiments import demo_data


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


def test_written_files_read_back_as_the_same_records(tmp_path):
    made = demo_data.make(60)
    files = demo_data.write(made, tmp_path)
    assert data_files.read_dataset(files) == made.records
    completions = [json.loads(x) for x in (tmp_path / "completions.jsonl").open()]
    assert len(completions) == 60 + sum(demo_data.SIZES.values())
