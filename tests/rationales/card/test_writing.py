import dataclasses
import re

from dsbs_jax.data import completions, dataset_spec, metrics
from dsbs_jax.rationales import filters, quality, voting
from dsbs_jax.rationales.card import content, inputs, writing
from dsbs_jax.rationales.filters import FilterConfig
from dsbs_jax.reports.proportion import Proportion
from support.cards import numbers, table

SCRIPT = "<script>alert('{}')</script>\n\n# {}"


def test_the_card_shows_the_figures(tmp_path):
    examples = numbers()
    result = filters.apply(examples, FilterConfig(min_margin=0.5))
    figures = writing.write(
        tmp_path,
        examples,
        result,
        title="Numbers",
        failed=2,
        facts={"teacher": "a | b"},
    )
    assert figures.accuracy == Proportion(5, 7)
    text = (tmp_path / "card.md").read_text()
    assert text.startswith("# Numbers\n\n4 of 9 inputs are kept.")
    assert "right on 71.43 % of the 7 rows with a human label" in text
    assert dict(table(text, "stage")) == {
        "inputs": "9",
        "with a reply": "7",
        "with a teacher label": "6",
        "with a rationale": "6",
        "kept": "4",
    }
    assert "18 of 21 samples have a label (85.71 %)." in text
    dropped = {name: (value, n) for name, value, n in table(text, "reason to drop")}
    assert set(dropped) == set(filters.REASONS)
    assert dropped[filters.UNPARSABLE] == ("DROP_UNPARSABLE = True", "1")
    assert dropped[filters.NARROW] == ("MIN_MARGIN = 0.5", "2")
    assert "| teacher | a \\| b |" in text
    assert f"| parser version | {completions.PARSER_VERSION} |" in text
    assert table(text, "set")[1] == [
        "kept rows",
        "4",
        "4",
        "100.00 %",
        "51.01 to 100.00",
    ]
    assert table(text, "margin")[0] == ["0.0 to 0.1", "1", "0.00 %"]
    assert "## Kept rows with a wrong" not in text
    assert (
        "## Kept rows with a right teacher label, widest vote margin first\n\n"
        "> - **id** 4\n> - **input** What is 4?\n"
    ) in text
    assert (tmp_path / "card.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "card.html").read_text()
    assert page.count("<h2>") == text.count("\n## ")
    assert "no answer marker" in page


def test_a_users_metric_reaches_the_card(tmp_path):
    even_is_odd = metrics.Metric("always", lambda target, prediction: True)
    spec = dataclasses.replace(dataset_spec.DEFAULT, name="own", metric=even_is_odd)
    examples = numbers()
    result = filters.apply(examples, FilterConfig(drop_disagreement=True), spec)
    assert writing.write(tmp_path, examples, result, spec=spec).accuracy == (
        Proportion(6, 7)
    )
    text = (tmp_path / "card.md").read_text()
    assert "right on 85.71 % of the 7 rows with a human label" in text


def test_the_same_set_gives_the_same_files(tmp_path):
    for name in ("one", "two"):
        examples = numbers()
        writing.write(
            tmp_path / name, examples, filters.apply(examples, FilterConfig())
        )
    for file in ("card.md", "card.html", "card.png"):
        one, two = ((tmp_path / name / file).read_bytes() for name in ("one", "two"))
        assert one == two


def test_hostile_completions_have_no_effect(tmp_path):
    def hostile(name):
        return SCRIPT.format(name, name)

    examples = [
        voting.vote(
            hostile(f"id{n}"),
            hostile(f"input{n}"),
            hostile(f"human{n % 2}"),
            [f"{hostile('why')} {n}\x1b[2J So the answer is <b>{n}</b>."],
        )
        for n in range(4)
    ]
    examples.append(voting.vote("lost", "x", "a", [hostile("raw") + "\ud800"]))
    result = filters.apply(examples, FilterConfig())
    title, facts = hostile("title"), {hostile("fact"): hostile("value")}
    writing.write(tmp_path, examples, result, title=title, facts=facts)
    page, text = ((tmp_path / f"card.{kind}").read_text() for kind in ("html", "md"))
    assert "<script" not in page and "<b>" not in page
    for name in ("id0", "input0", "human0", "why", "title", "fact", "value", "raw"):
        assert f"&lt;script&gt;alert(&#39;{name}&#39;)" in page
        assert f"\\<script\\>alert('{name}')" in text
    assert not re.search(r"(?<!\\)<", text)
    assert not re.search(r"^# (?!\\<script)", text, re.M)
    assert "\x1b" not in page + text


def test_a_card_without_kept_and_without_labeled_rows(tmp_path):
    examples = [voting.vote("1", "x", None, ["no answer"])]
    writing.write(tmp_path, examples, filters.apply(examples, FilterConfig()))
    text = (tmp_path / "card.md").read_text()
    assert "0 of 1 inputs are kept. No row has a human label" in text
    assert "nan" not in text


def test_each_filter_is_shown_with_its_macro():
    config = FilterConfig(min_margin=0.5, min_words=2, max_words=9)
    texts = content.filter_settings(config)
    assert list(texts) == list(filters.REASONS)
    reasons = (filters.NARROW, filters.SHORT, filters.LEAKS, filters.SAME_INPUT)
    assert [texts[reason] for reason in reasons] == [
        "MIN_MARGIN = 0.5",
        "MIN_WORDS = 2",
        "LEAK_WORDS = 0 (off)",
        "DROP_DUPLICATE_INPUTS = False (off)",
    ]


def test_the_headline_of_the_official_svamp_rationales(official_dir):
    released = inputs.read_release(official_dir, FilterConfig(), "svamp")
    figures = quality.measure(released.examples, released.result, released.spec)
    assert content.headline(figures) == (
        "787 of 800 inputs are kept. The teacher's label is right on 73.25 % of the "
        "800 rows with a human label (95 % interval 70.08 to 76.20)."
    )
