import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import gin
import pytest

from dsbs_jax import cli, settings
from dsbs_jax.data import tables
from dsbs_jax.errors import UserError
from dsbs_jax.rationales import filters
from dsbs_jax.rationales.card import inputs
from dsbs_jax.rationales.filters import FilterConfig
from dsbs_jax.teacher import extract as extract_command
from dsbs_jax.teacher import extraction, prompts, sampling
from dsbs_jax.teacher.sampling import SamplingConfig

ROOT = pathlib.Path(__file__).resolve().parents[2]


def answer(question, label="visit"):
    return f"What {question} says is enough to decide. So the answer is {label}."


def test_output_can_be_read_as_a_dataset(serve, extract, tmp_path):
    server = serve(lambda question, _: answer(question))
    assert extract(server, count=6, labels=True) == extraction.DONE
    records = tables.read_examples(tmp_path / "out/rationales.jsonl")
    assert [(r.id, r.label) for r in records[:2]] == [("n0", "remote"), ("n1", "visit")]
    assert all(r.teacher_label == "visit" for r in records)
    assert records[3].rationale == "What line 3 says is enough to decide."
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["inputs"] == report["kept"] == report["replies"] == 6
    assert report["spent"]["requests"] == 6 and report["filtered"] == {}
    assert report["made_from"]["teacher"] == "scripted"


def test_any_of_several_human_labels_is_right(serve, extract, tmp_path):
    path = tmp_path / "own.jsonl"
    row = {"input": "line is dead", "label": ["repair", "visit"]}
    path.write_text(json.dumps(row) + "\n")
    server = serve(lambda question, _: answer(question))
    assert (
        extract(server, INPUT_FILE=str(path), DROP_DISAGREEMENT=True) == extraction.DONE
    )
    (record,) = tables.read_examples(tmp_path / "out/rationales.jsonl")
    assert record.answers == ("repair", "visit") and record.teacher_label == "visit"


def test_the_card_of_a_folder_uses_the_settings_of_its_report(serve, extract, tmp_path):
    server = serve(lambda question, _: answer(question))
    assert extract(server, labels=True, MIN_WORDS=3, PROMPT="svamp") == extraction.DONE
    rows = tmp_path / "out/rationales.jsonl"
    rationales = inputs.read_file(rows, filters.FilterConfig())
    assert rationales.result.config == filters.FilterConfig(min_words=3)
    assert rationales.spec.name == "svamp"
    facts = rationales.facts
    assert (facts["teacher"], facts["prompt"]) == ("scripted", "svamp")
    other = inputs.read_file(rows, filters.FilterConfig(), dataset="cqa")
    assert other.spec.name == "cqa"
    # A file that is not a report is ignored.
    for text in ("{", "[]", "[" * 100_000, '{"filters": {"min_words": "x"}}'):
        (tmp_path / "out/report.json").write_text(text)
        rationales = inputs.read_file(rows, filters.FilterConfig())
        assert (rationales.result.config, rationales.spec.name) == (None, "default")


def test_samples_are_requested_one_by_one_and_vote(serve, extract, rows):
    votes = iter(["visit", "visit", "remote", "visit", "remote"] * 3)
    server = serve(lambda question, _: answer(question, next(votes)))
    options = {"SAMPLES": 5, "TEMPERATURE": 0.7, "SEED": 40, "CONCURRENCY": 1}
    assert extract(server, count=1, **options) == extraction.DONE
    (row,) = rows("rationales.jsonl")
    assert row["teacher_label"] == "visit"
    assert (row["votes"], row["samples"], row["margin"]) == (3, 5, 0.2)
    assert [body["seed"] for body in server.bodies] == [40, 41, 42, 43, 44]
    assert {body["temperature"] for body in server.bodies} == {0.7}
    # Another choice of rationales sends no request.
    assert extract(server, **options, KEEP_RATIONALES="weighted") == extraction.DONE
    (row,) = rows("rationales.jsonl")
    assert row["rationales"] == [row["rationale"]]
    assert row["rationale_weights"] == [0.6]
    assert len(server.bodies) == 5
    # With more samples later, only the additional ones are requested.
    assert extract(server, **{**options, "SAMPLES": 7}) == extraction.DONE
    assert [body["seed"] for body in server.bodies[5:]] == [45, 46]
    assert rows("rationales.jsonl")[0]["samples"] == 7


def test_failed_samples_do_not_affect_the_others(serve, act, extract, rows):
    script = iter(["visit", None, "visit"])

    def next_answer(question, _):
        label = next(script)
        return answer(question, label) if label else act["raw"](b"{")

    options = {"SAMPLES": 3, "TEMPERATURE": 1.0, "CONCURRENCY": 1, "MAX_ATTEMPTS": 1}
    assert extract(serve(next_answer), count=1, **options) == extraction.DONE
    (row,) = rows("rationales.jsonl")
    assert (row["votes"], row["samples"]) == (2, 2)
    assert rows("failed.jsonl") == []


def test_duplicate_input_is_requested_once(serve, extract, tmp_path, rows):
    path = tmp_path / "inputs.jsonl"
    path.write_text('{"input": "line 1"}\n' * 2 + '{"input": "line 2"}\n')
    server = serve(lambda question, _: answer(question))
    options = {"DROP_DUPLICATE_ROWS": False}
    assert extract(server, **options) == extraction.DONE
    assert server.request_counts == {"line 1": 1, "line 2": 1}
    ids = [row["id"] for row in rows("rationales.jsonl")]
    assert ids == ["inputs-1", "inputs-2", "inputs-3"]
    assert extract(server) == extraction.DONE
    (dropped,) = rows("filtered.jsonl")
    assert dropped["id"] == "inputs-2" and "duplicate" in dropped["reason"]


def test_structured_output_is_requested_and_read(serve, extract, rows):
    replies = {
        "line 0": '{"rationale": "It is dead.", "label": "visit"}',
        "line 1": '{"rationale": "It is dead.", "label": "visit", "x": 1}',
        "line 2": "It is dead. So the answer is visit.",
        "line 3": '{"rationale": "It is dead.", "label": "vis',
    }
    server = serve(lambda question, _: replies[question])
    assert extract(server, count=4, STRUCTURED=True) == extraction.DONE
    for row in rows("rationales.jsonl"):
        assert (row["teacher_label"], row["rationale"]) == ("visit", "It is dead.")
    (dropped,) = rows("filtered.jsonl")
    assert dropped["completions"] == [replies["line 3"]]
    assert dropped["reason"] == "unparsable: cut off before the answer was complete"
    body = server.bodies[0]
    schema = body["response_format"]["json_schema"]["schema"]
    assert list(schema["properties"]) == ["rationale", "label"]
    assert "stop" not in body
    assert json.loads(body["messages"][1]["content"]).keys() == {"rationale", "label"}


def test_completion_style_sends_one_prompt(serve, extract, rows):
    server = serve(lambda question, _: " " + answer(question) + "\n\nQ: and")
    assert extract(server, STYLE="completion") == extraction.DONE
    assert len(rows("rationales.jsonl")) == 4
    prompt = prompts.load("template")
    assert sorted(b["prompt"] for b in server.bodies) == [
        prompt.completion_prompt(f"line {n}") for n in range(4)
    ]
    assert server.bodies[0]["stop"] == ["\nQ:"]


def test_extra_fields_are_sent_unchanged(serve, extract):
    server = serve(lambda question, _: answer(question))
    fields = {"SEED": None, "TEMPERATURE": None, "SEND_STOP": False}
    extra = {"top_k": 5, "chat_template_kwargs": {"enable_thinking": False}}
    options = {"MAX_TOKENS_NAME": "max_completion_tokens", "EXTRA_BODY": extra}
    assert extract(server, count=1, **fields, **options) == extraction.DONE
    (body,) = server.bodies
    assert body.pop("messages")
    assert body == {"model": "scripted", "max_completion_tokens": 256, **extra}


def test_dry_run_prints_the_complete_prompt_and_sends_nothing(
    serve, extract, tmp_path, capsys
):
    server = serve(lambda question, _: answer(question))
    assert extract(server, dry_run=True) == extraction.DONE
    output = capsys.readouterr().out
    for message in prompts.load("template").chat_messages("line 0"):
        assert f"[{message['role']}]\n{message['content']}\n" in output
    assert (
        '"seed": 0' in output
        and "estimate with 4 characters per token: 4 requ" in output
    )
    assert extract(server, dry_run=True, STYLE="completion") == extraction.DONE
    assert (
        prompts.load("template").completion_prompt("line 0") in capsys.readouterr().out
    )
    assert not server.bodies and not (tmp_path / "out").exists()


OTHER = [
    ({"TEACHER_MODEL": "another"}, "TEACHER_MODEL = 'scripted', now it is 'another'"),
    ({"TEMPERATURE": 0.5}, "TEMPERATURE = 0.0, now it is 0.5"),
    ({"STYLE": "completion"}, "STYLE = 'chat', now"),
    ({"EXTRA_BODY": {"top_k": 1}}, "EXTRA_BODY = {}, now"),
]


@pytest.mark.parametrize(("macros", "message"), OTHER)
def test_folder_rejects_other_settings(serve, extract, tmp_path, macros, message):
    server = serve(lambda question, _: answer(question))
    assert extract(server) == extraction.DONE
    before = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    with pytest.raises(UserError, match=re.escape(message)):
        extract(server, **macros)
    after = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert after == before and len(server.bodies) == 4
    # Settings that do not affect the replies may change.
    more = {"CONCURRENCY": 1, "MAX_REQUESTS": 100, "MIN_WORDS": 30}
    assert extract(server, **more) == extraction.DONE
    assert len(server.bodies) == 4


def test_folder_rejects_another_prompt(serve, extract, tmp_path):
    server = serve(lambda question, _: answer(question))
    assert extract(server) == extraction.DONE
    own = tmp_path / "own.txt"
    text = (prompts.FOLDER / "template.txt").read_text()
    own.write_text(text)
    assert extract(server, PROMPT=str(own)) == extraction.DONE
    own.write_text(text.replace("calls sound clear", "calls are loud"))
    with pytest.raises(UserError, match=r"own.txt \(PROMPT\) has changed \(exemplar 1"):
        extract(server, PROMPT=str(own))
    assert len(server.bodies) == 4


def test_wrong_tokenizer_is_reported_before_any_file_is_written(
    serve, extract, tmp_path
):
    server = serve(lambda question, _: answer(question))
    missing = str(tmp_path / "missing.model")
    with pytest.raises(UserError, match=r"missing\.model"):
        extract(server, TOKENIZER_PATH=missing)
    assert not (tmp_path / "out").exists() and server.bodies == []


def test_settings_may_change_until_the_first_reply_is_stored(serve, act, extract, rows):
    def script(question, _):
        known = server.bodies[-1]["model"] == "scripted"
        return answer(question) if known else act["status"](404, "no such model")

    server = serve(script)
    with pytest.raises(UserError, match="status 404: no such model"):
        extract(server, CONCURRENCY=1, TEACHER_MODEL="scirpted")
    assert extract(server, CONCURRENCY=1) == extraction.DONE
    assert len(rows("rationales.jsonl")) == 4
    with pytest.raises(UserError, match="was created with TEACHER_MODEL = 'scripted'"):
        extract(server, TEACHER_MODEL="scirpted")


def test_folder_of_something_else_is_left_unchanged(serve, extract, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="holds 'thesis.txt' but no run.json"):
        extract(serve(lambda question, _: answer(question)))
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_run_that_was_killed_before_run_json_starts_again(serve, extract, tmp_path):
    (tmp_path / "out/completions").mkdir(parents=True)
    (tmp_path / "out/completions/replies.jsonl").write_text("")
    (tmp_path / "out/.run.json.x1y2").write_text("{")
    assert extract(serve(lambda question, _: answer(question))) == extraction.DONE


def test_damaged_reply_is_reported_and_requested_again(
    serve, extract, tmp_path, capsys
):
    server = serve(lambda question, _: answer(question))
    assert extract(server) == extraction.DONE
    expected = (tmp_path / "out/rationales.jsonl").read_bytes()
    log = tmp_path / "out/completions/replies.jsonl"
    lines = log.read_bytes().split(b"\n")
    question = re.search(rb"line \d", lines[1]).group().decode()
    lines[1] = lines[1].replace(b"enough", b"plenty")
    log.write_bytes(b"\n".join(lines))
    capsys.readouterr()
    assert extract(server) == extraction.DONE
    output = capsys.readouterr().out
    assert "replies.jsonl: line 2: wrong checksum; the line is moved to" in output
    assert server.request_counts == {
        f"line {n}": 1 + (question == f"line {n}") for n in range(4)
    }
    assert (tmp_path / "out/rationales.jsonl").read_bytes() == expected


BAD = [
    ({"STYLE": "chatty"}, "STYLE is 'chatty', expected 'chat' or 'completion'"),
    ({"SAMPLES": 0}, "SAMPLES is 0, expected int >= 1"),
    ({"SAMPLES": 3}, "SAMPLES is 3 and TEMPERATURE is 0, which gives the same"),
    ({"MAX_TOKENS": True}, "MAX_TOKENS is True"),
    ({"TEMPERATURE": "hot"}, "TEMPERATURE is 'hot', expected int >= 0 or float >= 0"),
    ({"TOP_P": 1.5}, "TOP_P is 1.5, expected int >= 0 and <= 1 or float >= 0 and <= 1"),
    ({"SEED": -1}, "SEED is -1, expected int >= 0"),
    ({"EXTRA_BODY": 3}, "EXTRA_BODY is '?3'?, expected dict of str"),
    ({"PROMPT": ""}, "PROMPT is '', expected str"),
    ({"OUTPUT_DIR": None}, "OUTPUT_DIR is None, expected str"),
    (
        {"STRUCTURED": True, "STYLE": "completion"},
        "STRUCTURED is True, expected STYLE = 'chat'",
    ),
    ({"CONCURRENCY": 0}, "CONCURRENCY is 0"),
    ({"PROMPT": "nowhere"}, "prompt 'nowhere': No such file"),
    ({"PROMPT": "esnli"}, "inputs.jsonl: row 'n0': the prompt .* expects 2 segments"),
    ({"INPUT_FILE": "/no/such.jsonl"}, "/no/such.jsonl: No such file"),
    ({"BASE_URL": "nowhere"}, "BASE_URL is 'nowhere'"),
    ({"EXTRA_BODY": {"x": b"1"}}, "EXTRA_BODY cannot be written as JSON"),
    ({"EXTRA_BODY": {"n": 5}}, "EXTRA_BODY sets 'n', expected only fields without"),
    ({"EXTRA_BODY": {"max_tokens": 9999}}, "EXTRA_BODY sets 'max_tokens'"),
    ({"TEACHER_MODEL": ""}, "TEACHER_MODEL is '', expected str"),
    ({"MIN_MARGIN": 2.0}, "MIN_MARGIN is 2.0, expected float >= 0 and <= 1"),
]


@pytest.mark.parametrize(("macros", "message"), BAD, ids=[str(m) for m, _ in BAD])
def test_bad_setting_is_named_before_any_request(
    serve, extract, tmp_path, macros, message
):
    server = serve(lambda question, _: answer(question))
    with pytest.raises(UserError, match=message):
        extract(server, **macros)
    assert not server.bodies and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"input": "x", "label": {}}', "1 bad line.*: line 2: field 'label' must"),
        ('{"input": ""}', "1 bad line.*: line 2: input is blank"),
        ("{", "1 bad line.*: line 2: broken JSON"),
    ],
)
def test_bad_row_is_named(serve, extract, tmp_path, line, message):
    path = tmp_path / "bad.jsonl"
    path.write_text(f'{{"input": "fine"}}\n{line}\n')
    with pytest.raises(UserError, match=f"bad.jsonl: {message}"):
        extract(serve(lambda *_: "x"), INPUT_FILE=str(path))
    assert not (tmp_path / "out").exists()


def test_request_key_depends_on_everything_that_is_sent():
    one = SamplingConfig(model="m", temperature=1.0)
    prompt = prompts.load("template")

    def key(config=one, prompt=prompt, input="x", sample=0):
        body = sampling.request_body(config, prompt, input, sample)
        return sampling.request_key(config.style, body, sample)

    keys = {
        key(),
        key(input="y"),
        key(sample=1),
        key(SamplingConfig(model="n", temperature=1.0)),
        key(SamplingConfig(model="m", temperature=0.9)),
        key(SamplingConfig(model="m", temperature=1.0, max_tokens=9)),
        key(SamplingConfig(model="m", temperature=1.0, style=sampling.COMPLETION)),
        key(prompt=prompts.load("cqa")),
    }
    assert len(keys) == 8
    assert key() == key(SamplingConfig(model="m", temperature=1.0, samples=9))
    # Without seeds, samples still differ.
    free = SamplingConfig(model="m", temperature=1.0, seed=None)
    assert key(free) != key(free, sample=1)


KEYS = [
    ({}, "3447eb59b9e2366d"),
    ({"style": "completion"}, "f653c6c0f4af61b3"),
    (
        {"structured": True, "samples": 2, "temperature": 1, "top_p": 1},
        "8105afaef1baba6b",
    ),
    (
        {
            "seed": None,
            "temperature": None,
            "send_stop": False,
            "extra_body": {"top_k": 5},
            "max_tokens_name": "max_completion_tokens",
        },
        "077afa8cf93a3656",
    ),
]


@pytest.mark.parametrize(("options", "expected"), KEYS)
def test_request_keys_are_those_of_version_0_1(options, expected):
    config = SamplingConfig(model="m", **options)
    body = sampling.request_body(config, prompts.load("cqa"), "Where?", 1)
    assert sampling.request_key(config.style, body, 1).startswith(expected)


@pytest.mark.parametrize("value", [1, 1.0])
def test_whole_numbers_keep_the_keys_of_version_0_1(value):
    """1 and 1.0 are written differently, so their requests have different keys."""
    config = SamplingConfig(model="m", temperature=value, top_p=value)
    body = sampling.request_body(config, prompts.load("template"), "x", 0)
    assert json.dumps([body["temperature"], body["top_p"]]) == f"[{value}, {value}]"


def run_command(*arguments, folder):
    return subprocess.run(
        [sys.executable, "-m", "dsbs_jax.teacher.extract", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("flag", ["--dry_run", "--dry-run"])
def test_command_in_the_header_of_the_gin_file_works(tmp_path, flag):
    path = cli.config_dir() / "teacher/extract.gin"
    header, _, _ = path.read_text().partition("\ninclude")
    assert "Needs: " in header and "Commonly overridden: " in header
    command = header[header.index("python -m") :].replace("#", "").replace("\\\n", "")
    _, _, module, *arguments, last = shlex.split(command)
    assert (module, last) == ("dsbs_jax.teacher.extract", "--dry_run")
    (tmp_path / "questions.jsonl").write_text('{"input": "Where is it?"}\n')
    done = run_command(*arguments, flag, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Q: Where is it?\nA:" in done.stdout
    assert not (tmp_path / "runs").exists()


def test_help_lists_every_setting(tmp_path):
    done = run_command("--help", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    for info in all_settings():
        assert f"  --gin.{info.macro}  (" in done.stdout
        assert info.help in " ".join(done.stdout.split())


def all_settings():
    return [
        i
        for cls in extract_command.SETTINGS.values()
        for i in settings.settings_of(cls)
    ]


def test_gin_file_holds_the_defaults_of_the_settings():
    path = cli.config_dir() / "teacher/extract.gin"
    own = [i for i in all_settings() if i not in settings.settings_of(FilterConfig)]
    macros = re.findall(r"^([A-Z_]+) = ", path.read_text(), re.MULTILINE)
    assert macros == [info.macro for info in own if not info.required]
    header = path.read_text().partition("Commonly overridden")[0]
    required = {info.macro: "x" for info in own if info.required}
    required["BASE_URL"] = "http://x"
    assert all(macro in header for macro in required)
    bindings = [f"{name} = {value!r}" for name, value in required.items()]
    cli.configure([str(path)], bindings, known=extract_command.SETTINGS.values())
    for cls in extract_command.SETTINGS.values():
        assert cli.read(cls) == settings.from_values(cls, required)
    gin.clear_config()


@pytest.mark.slow
def test_two_commands_train_a_student_on_unlabeled_inputs(
    serve, extract, tmp_path, tiny_jsonl, tiny_settings
):
    """Without human labels, the student learns the teacher's labels."""
    from dsbs_jax import train

    known = [json.loads(line) for line in tiny_jsonl.read_text().splitlines()]
    teacher = {r["input"]: r for r in known}
    inputs = tmp_path / "inputs.jsonl"
    inputs.write_text("".join(json.dumps({"input": r["input"]}) + "\n" for r in known))

    def script(question, _):
        row = teacher[question]
        return f"{row['rationale']} So the answer is {row['teacher_label']}."

    assert extract(serve(script), INPUT_FILE=str(inputs)) == extraction.DONE
    gin.clear_config()
    files, bindings = tiny_settings(
        "step_by_step_unlabeled",
        DATA_FILES=str(tmp_path / "out/rationales.jsonl"),
        DATASET="extracted",
        MODEL_DIR=str(tmp_path / "student"),
    )
    cli.configure(files, bindings)
    results = train.main()
    assert results["steps"] == 2
    assert (tmp_path / "student/checkpoints").is_dir()
