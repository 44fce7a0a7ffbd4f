import dataclasses
import json
import pathlib
import re
import subprocess
import sys

import gin
import pytest

from dsbs_jax import cli, files
from dsbs_jax.data import completions
from dsbs_jax.errors import UserError
from dsbs_jax.rationales import filters, voting
from dsbs_jax.rationales.card import command as card
from dsbs_jax.rationales.quality import Proportion

ROOT = pathlib.Path(__file__).resolve().parents[3]
RELEASE = ROOT / "tests/fixtures/release"
SCRIPT = "<script>alert('{}')</script>\n\n# {}"


@pytest.fixture(autouse=True)
def clean():
    yield
    gin.clear_config()


def voted():
    """Seven inputs of three samples: five right, one wrong, one without an answer."""
    found = [
        voting.vote(
            str(n),
            f"What is {n}?",
            "even" if n % 2 == 0 else "odd",
            [f"{n} is {x}. So the answer is {x}." for x in labels],
        )
        for n, labels in enumerate(
            [["even"] * 3, ["odd", "even", "odd"], ["even"] * 3, ["odd"] * 3]
            + [["even"] * 3, ["even", "even", "odd"]]
        )
    ]
    return [*found, voting.vote("6", "What is 6?", "even", ["I do not know."] * 3)]


def table(text, first):
    """The rows of the Markdown table whose header begins with `first`."""
    (found,) = re.findall(
        rf"^\| {re.escape(first)} .*\n\| .*\n((?:\| .*\n)+)", text, re.M
    )
    lines = found.replace("\\", "").splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_card_says_what_was_measured(tmp_path):
    found = voted()
    result = filters.apply(found, filters.FilterConfig(min_margin=0.5))
    measured = card.write(
        tmp_path, found, result, title="Numbers", failed=2, facts={"teacher": "a | b"}
    )
    assert measured.agreement == Proportion(5, 7)
    text = (tmp_path / "card.md").read_text()
    assert text.startswith("# Numbers\n\nKept 4 of 9 inputs.")
    assert "right on 71.43 % of the 7 rows with a human label" in text
    assert dict(table(text, "stage")) == {
        "inputs": "9",
        "with a reply": "7",
        "with a teacher label": "6",
        "with a rationale": "6",
        "kept": "4",
    }
    assert "18 of 21 samples have a label (85.71 %)." in text
    dropped = {name: (value, n) for name, value, n in table(text, "filter")}
    assert set(dropped) == set(filters.REASONS)
    assert dropped[filters.UNPARSABLE] == ("on", "1")
    assert dropped[filters.NARROW] == ("at least 0.5", "2")
    assert "| teacher | a \\| b |" in text
    assert f"| parser version | {completions.PARSER_VERSION} |" in text
    assert table(text, "rows")[1] == [
        "those kept",
        "4",
        "4",
        "100.00 %",
        "51.01 to 100.00",
    ]
    assert table(text, "margin")[0] == ["0.0 to 0.1", "1", "0.00 %"]
    assert "## Worst" not in text and "## Best: right, by the widest margin" in text
    assert (tmp_path / "card.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "card.html").read_text()
    assert page.count("<h2>") == text.count("\n## ")
    assert "no answer marker" in page


def test_the_same_set_gives_the_same_card(tmp_path):
    for name in ("one", "two"):
        found = voted()
        card.write(tmp_path / name, found, filters.apply(found, filters.FilterConfig()))
    for file in ("card.md", "card.html", "card.png"):
        one, two = ((tmp_path / name / file).read_bytes() for name in ("one", "two"))
        assert one == two


def test_hostile_completions_stay_text(tmp_path):
    def hostile(name):
        return SCRIPT.format(name, name)

    found = [
        voting.vote(
            hostile(f"id{n}"),
            hostile(f"input{n}"),
            hostile(f"human{n % 2}"),
            [f"{hostile('why')} {n}\x1b[2J So the answer is <b>{n}</b>."],
        )
        for n in range(4)
    ]
    found.append(voting.vote("lost", "x", "a", [hostile("raw") + "\ud800"]))
    result = filters.apply(found, filters.FilterConfig())
    title, facts = hostile("title"), {hostile("fact"): hostile("value")}
    card.write(tmp_path, found, result, title=title, facts=facts)
    page, text = ((tmp_path / f"card.{kind}").read_text() for kind in ("html", "md"))
    assert "<script" not in page and "<b>" not in page
    for name in ("id0", "input0", "human0", "why", "title", "fact", "value", "raw"):
        assert f"&lt;script&gt;alert(&#x27;{name}&#x27;)" in page
        assert f"\\<script\\>alert('{name}')" in text
    assert not re.search(r"(?<!\\)<", text)
    assert not re.search(r"^# (?!\\<script)", text, re.M)
    assert "\x1b" not in page + text


def test_nothing_kept_and_nothing_labelled(tmp_path):
    found = [voting.vote("1", "x", None, ["no answer"])]
    card.write(tmp_path, found, filters.apply(found, filters.FilterConfig()))
    text = (tmp_path / "card.md").read_text()
    assert "Kept 0 of 1 inputs. No row has a human label" in text
    assert "nan" not in text


def test_every_setting_is_described():
    settings_ = filters.FilterConfig(
        min_margin=0.5, min_words=2, max_words=9, leak_words=3
    )
    said = card.described(settings_)
    assert list(said) == list(filters.REASONS)
    assert [said[r] for r in (filters.NARROW, filters.SHORT, filters.LEAKS)] == [
        "at least 0.5",
        "words at least 2",
        "first words 3",
    ]


def test_written_rows_give_the_same_numbers_again(tmp_path):
    found = voted()
    result = filters.apply(found, filters.FilterConfig(min_margin=0.5))
    rows = tmp_path / "rationales.jsonl"
    filters.write(result, rows, tmp_path / "filtered.jsonl")
    files.write_jsonl(tmp_path / "failed.jsonl", [{"id": "8", "input": "What is 8?"}])
    read = card.of_jsonl(str(rows), None, "default")
    assert read.result.counts == result.counts and read.result.settings is None
    assert (len(read.found), read.failed) == (len(found), 1)
    assert read.facts["parser version"] == str(completions.PARSER_VERSION)
    first = card.write(tmp_path, found, result)
    second = card.write(tmp_path, read.found, read.result, facts=read.facts)
    same = ("agreement", "kept_agreement", "lengths", "leakage", "margins", "problems")
    for name in same:
        assert getattr(first, name) == getattr(second, name), name
    assert "not recorded" in (tmp_path / "card.md").read_text()


def test_rows_without_filtered_ones_are_filtered_now(tmp_path):
    rows = tmp_path / "own.jsonl"
    row = {"input": "x", "label": "a", "teacher_label": "a", "rationale": "R."}
    rows.write_text(f"{json.dumps(row)}\n{json.dumps(row)}\n")
    read = card.of_jsonl(str(rows), None, "default")
    assert len(read.found) == 2
    assert read.result.counts == {filters.SAME_ROW: 1}
    assert read.facts["parser version"] == "not recorded"


def test_filtered_rows_alone_or_nothing(tmp_path):
    rows, beside = tmp_path / "rationales.jsonl", tmp_path / "filtered.jsonl"
    lost = [(voted()[-1], "unparsable: no answer marker")]
    filters.write(filters.FilterResult([], lost), rows, beside)
    read = card.of_jsonl(str(rows), None, "default")
    assert (len(read.found), read.result.kept, read.failed) == (1, [], 0)
    filters.write(filters.FilterResult([], []), rows, beside)
    with pytest.raises(UserError, match=f"{rows}: holds no rows"):
        card.of_jsonl(str(rows), None, "default")
    with pytest.raises(UserError, match="No such file"):
        card.of_jsonl(str(tmp_path / "none.jsonl"), None, "default")
    beside.write_text('{"id": "1", "input": "x"}\n')
    with pytest.raises(UserError, match=f"{beside}: row '1': reason must be text"):
        card.of_jsonl(str(rows), None, "default")


def test_gin_sets_the_filters():
    cli.configure(["teacher/filters.gin"])
    assert filters.FilterConfig() == filters.FilterConfig(
        **{f.name: f.default for f in dataclasses.fields(filters.FilterConfig)}
    )
    cli.configure(["teacher/filters.gin"], ["MAX_WORDS = 7", "LEAK_WORDS = 2"])
    found = filters.FilterConfig()
    assert (found.max_words, found.leak_words) == (7, 2)
    text = (cli.config_dir() / "teacher/filters.gin").read_text()
    assert "Commonly overridden" in text


def run(*arguments):
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "dsbs_jax.rationales.card",
            *map(str, arguments),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )


def test_command_on_released_data(tmp_path):
    done = run(
        f"--release={RELEASE}",
        "--dataset=cqa",
        f"--output={tmp_path / 'card'}",
        "--gin_file=teacher/filters.gin",
        "--gin.DROP_DISAGREEMENT=True",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == str(tmp_path / "card/card.html")
    text = (tmp_path / "card/card.md").read_text()
    dropped = {name: (value, n) for name, value, n in table(text, "filter")}
    assert dropped[filters.DISAGREES][0] == "on"
    assert "teacher labels that are none of the choices" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --release and --dataset, or --jsonl"),
        (["--release=x", "--jsonl=y"], "give either --release and --dataset"),
        (["--release=x"], "--release needs --dataset"),
        (["--release=/none", "--dataset=cqa"], "/none: no such folder or zip file"),
        ([f"--release={RELEASE}", "--dataset=cqa", "--split=valid"], "cqa has no raw"),
        (["--jsonl=/none.jsonl"], "/none.jsonl: No such file"),
        (["--jsonl=y", "--dataset=nli"], "--dataset is 'nli', expected one of cqa"),
        (["--jsonl=y", "--gin.MIN_WORDS=3"], "needs --gin_file=teacher/filters.gin"),
        (["--jsonl=y", "--vocabulary=/none.model"], "vocabulary /none.model: no Sent"),
        (["--jsonl=y", "--targets_length=0"], "targets_length"),
    ],
)
def test_bad_commands_end_in_one_line(tmp_path, arguments, message):
    done = run(*arguments, f"--output={tmp_path / 'card'}")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and message in line
    assert not (tmp_path / "card").exists()


def test_importing_it_is_quick():
    """Neither what trains a student nor what draws is loaded before it is needed."""
    code = (
        "import sys; from dsbs_jax.rationales.card import command; "
        "heavy = {'tensorflow', 'seqio', 'jax', 'matplotlib'} & set(sys.modules); "
        "sys.exit(f'imports {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert (done.returncode, done.stderr) == (0, "")
