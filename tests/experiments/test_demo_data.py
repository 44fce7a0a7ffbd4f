"""The generated data set and its scripted teacher."""

import json

from dsbs_jax.data import completions, jsonl
from dsbs_jax.experiments import demo_data as demo


def test_the_same_seed_gives_the_same_data():
    assert demo.make(50, seed=3) == demo.make(50, seed=3)
    assert demo.make(50, seed=3) != demo.make(50, seed=4)


def test_splits_share_no_input_and_have_their_sizes():
    records = demo.make(300).records
    inputs = [r.input for split in records.values() for r in split]
    assert len(inputs) == len(set(inputs)) == 300 + sum(demo.SIZES.values())


def test_a_smaller_training_set_is_the_beginning_of_a_larger_one():
    small, large = demo.make(40).records, demo.make(90).records
    assert [r.input for r in small["train"]] == [r.input for r in large["train"][:40]]
    assert small["test"] == large["test"]
    assert small["validation"] == large["validation"]


def test_human_labels_follow_the_policy():
    for one in demo.tickets(200, seed=1):
        internet, phone = one.down
        assert one.label == ("visit" if internet ^ phone else "remote")
        assert all(quote in one.input for quote in one.quotes)


def test_neither_fact_alone_tells_the_label():
    ones = demo.tickets(2000, seed=1)
    for fact in (0, 1):
        down = [one for one in ones if one.down[fact]]
        share = sum(one.label == demo.VISIT for one in down) / len(down)
        assert 0.45 < share < 0.55


def test_rationales_quote_the_input_and_agree_with_the_teachers_label():
    for record in demo.make(500).records["train"]:
        if record.rationale is None:
            continue
        quotes, conclusion, _ = (
            record.rationale.rsplit(".", 2)[0],
            *(record.rationale.split(". ")[1:] + [""]),
        )
        first, second = quotes.split(". ")[0].split(", ")
        assert first in record.input and second in record.input
        said = demo.VISIT if conclusion.startswith("Only one") else demo.REMOTE
        assert said == record.teacher_label


def test_the_teacher_errs_runs_on_and_fails_to_answer_about_as_often_as_planned():
    made = demo.make(4000)
    train, raw = made.records["train"], made.completions["train"]
    answered = [r for r in train if r.teacher_label]
    unanswered = 1 - len(answered) / len(train)
    wrong = sum(r.teacher_label != r.label for r in answered) / len(answered)
    runs_on = sum("\n\nQ:" in text for text in raw) / len(raw)
    assert abs(unanswered - demo.UNPARSABLE) < 0.01
    assert abs(wrong - demo.WRONG) < 0.02
    # Some are cut off before the "Q:" of what they run on into.
    assert abs(runs_on - demo.RUNS_ON) < 0.03


def test_quarantine_names_each_completion_without_an_answer():
    made = demo.make(500)
    missing = {
        r.id for split in made.records.values() for r in split if not r.teacher_label
    }
    assert {name for name, _ in made.problems} == missing
    assert {problem for _, problem in made.problems} <= {
        completions.NO_MARKER,
        completions.RUNS_ON,
    }


def test_written_files_read_back_as_the_same_records(tmp_path):
    made = demo.make(60)
    files = demo.write(made, tmp_path)
    assert jsonl.read_dataset(files) == made.records
    said = [json.loads(x) for x in (tmp_path / "completions.jsonl").open()]
    assert len(said) == 60 + sum(demo.SIZES.values())
