"""The model card is read by the hub's client, and its code is run."""

import ast
import contextlib
import dataclasses
import hashlib
import io
import re
import typing

import huggingface_hub
import jax
import numpy as np
import pytest
from flax import traverse_util

import dsbs_jax
from dsbs_jax import weights
from dsbs_jax.data import vocabulary
from dsbs_jax.data.methods import Method
from dsbs_jax.local import input_batches, student_folder
from dsbs_jax.local.config import DecodingConfig
from dsbs_jax.reports import model_card
from dsbs_jax.reports.model_card import CardMetric, ModelCardFacts
from dsbs_jax.reports.proportion import Proportion
from dsbs_jax.weights import huggingface_reader
from dsbs_jax.weights.huggingface_names import OUTPUT
from support.students import make_student

FACTS = ModelCardFacts(
    name="jars",
    repository="lab/jars",
    method="step_by_step",
    dataset="jars",
    label_prefix="predict: ",
    explain_prefix="explain: ",
    labels=("amber", "dark blue", "red"),
    input_length=20,
    label_length=63,
    rationale_length=30,
    data_fingerprint="sha256:0123",
    teacher="sage",
    metrics=(
        CardMetric.of_proportion("test", "accuracy", Proportion(52, 60)),
        CardMetric(split="test", name="macro_f1", value=0.8),
    ),
    license="apache-2.0",
    base_model="google/t5-v1_1-small",
    language=("en",),
)
BASELINE = dataclasses.replace(
    FACTS, method="finetune", label_prefix="", explain_prefix=None, labels=None
)
SINGLE_TASK = dataclasses.replace(BASELINE, method="single_task", single_task=True)
HOSTILE = [
    "`a`` b",
    "```\n# heading",
    "---\nlicense: other",
    "\"quoted\" 'text' \\ {{ x }} {% y %}",
    "<script>alert(1)</script> [a](http://example.com)",
    "\u202eback\ud800",
]


def parse(facts):
    """Reads a card with the hub's client."""
    content = model_card.render(facts).encode("utf-8", "backslashreplace").decode()
    return huggingface_hub.ModelCard(content)


def code_blocks(facts):
    blocks = re.findall(
        r"^```python\n(.*?)^```$", model_card.render(facts), re.M | re.S
    )
    assert len(blocks) == 2
    return blocks


def test_hub_reads_the_metadata():
    card = parse(FACTS)
    data = card.data
    assert (data.license, data.library_name) == ("apache-2.0", "transformers")
    assert (data.base_model, data.language) == ("google/t5-v1_1-small", ["en"])
    assert data.pipeline_tag == "text2text-generation"
    assert data.metrics == ["accuracy", "macro_f1"]
    assert data.model_name == "jars"
    results = [
        (r.dataset_name, r.dataset_split, r.metric_type, r.metric_value)
        for r in data.eval_results
    ]
    assert results == [
        ("jars", "test", "accuracy", 0.866667),
        ("jars", "test", "macro_f1", 0.8),
    ]


def test_unknown_facts_are_left_out():
    facts = dataclasses.replace(
        BASELINE,
        method=None,
        metrics=(),
        license=None,
        base_model=None,
        teacher=None,
        data_fingerprint=None,
    )
    card = parse(facts)
    assert set(card.data.to_dict()) <= {
        "language",
        "library_name",
        "pipeline_tag",
        "tags",
    }
    for text in ("None", "fingerprint", "teacher's", "## Evaluation", "predict: "):
        assert text not in card.text
    assert "have not stated a license" in card.text


def test_page_states_prefixes_labels_metrics_and_data():
    text = model_card.render(FACTS)
    for part in (
        "- `predict: ` asks for the label, of at most 63 tokens.",
        "- `explain: ` asks for the rationale, of at most 30 tokens.",
        "`amber`, `dark blue`, `red`.",
        "| test | accuracy | 0.867 | 0.758 to 0.931 | 60 |",
        "The fingerprint of the training data is `sha256:0123`.",
        "`sage`",
    ):
        assert part in text
    assert "Inputs need no prefix" not in text
    assert "Inputs need no prefix" in model_card.render(BASELINE)
    assert "then `So the answer is`" in model_card.render(SINGLE_TASK)


@pytest.mark.parametrize("method", typing.get_args(Method))
def test_every_method_is_described(method):
    text = model_card.render(dataclasses.replace(BASELINE, method=method))
    assert "The student was trained" in text


@pytest.mark.parametrize("text", HOSTILE)
def test_text_has_no_effect_on_the_page(text):
    facts = dataclasses.replace(
        FACTS,
        name=text,
        dataset=text,
        teacher=text,
        data_fingerprint=text,
        input_template=text,
        example=text,
        labels=("red", text),
    )
    card = parse(facts)
    assert (card.data.license, card.data.pipeline_tag) == (
        "apache-2.0",
        "text2text-generation",
    )
    headings = re.findall(r"^#+ .*$", card.text, re.M)
    assert len(headings) == 7  # the title and six sections
    outside_code = re.sub(r"```.*?^```|`[^`]*`", "", card.text, flags=re.M | re.S)
    assert not re.search(r"(?<!\\)<script", outside_code)
    for code in code_blocks(facts):
        values = {
            node.targets[0].id: ast.literal_eval(node.value)
            for node in ast.parse(code).body
            if isinstance(node, ast.Assign) and node.targets[0].id in ("labels", "text")
        }
        assert values.pop("labels", ["red", text]) == ["red", text]
        assert values == {"text": text}


def test_long_label_sets_are_wrapped_between_labels():
    labels = tuple(f"label number {number}" for number in range(40))
    facts = dataclasses.replace(FACTS, labels=labels)
    code, _ = code_blocks(facts)
    assert max(map(len, code.splitlines())) <= 88
    (value,) = [
        ast.literal_eval(node.value)
        for node in ast.parse(code).body
        if isinstance(node, ast.Assign) and node.targets[0].id == "labels"
    ]
    assert tuple(value) == labels


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A student with random weights whose answers are text without special tokens."""
    folder = tmp_path_factory.mktemp("export")
    model, params = make_student(vocab_size=256)
    params = traverse_util.flatten_dict(jax.device_get(params), sep="/")
    params = {name: 8 * np.asarray(array) for name, array in params.items()}
    # With a logit of 0, pad, unk, sentinels and padding are never the best of 256.
    params[OUTPUT][:, [0, 2, *range(100, 256)]] = 0
    huggingface_reader.write_model(folder, params, model.config)
    words = ["a red jar", "a dark blue jar", "an amber jar", "predict: explain: "]
    vocabulary.train(words * 9, folder / "spiece.model", 100)
    return folder


def write_student_file(folder, facts):
    """Writes the `student.json` that an export writes next to the card."""
    words = (folder / "spiece.model").read_bytes()
    spec = student_folder.StudentSpec(
        network=weights.config_of(weights.open_checkpoint(str(folder))),
        decoding=DecodingConfig(max_decode_length=facts.label_length),
        input_length=facts.input_length,
        target_length=facts.rationale_length,
        label_prefix=facts.label_prefix,
        explain_prefix=facts.explain_prefix,
        single_task=facts.single_task,
        labels=facts.labels,
        vocabulary_sha256=hashlib.sha256(words).hexdigest(),
    )
    student_folder.write_spec(folder, spec)


@pytest.mark.slow
@pytest.mark.parametrize(
    "facts", [FACTS, BASELINE, SINGLE_TASK], ids=lambda facts: facts.method
)
def test_code_runs_as_written_and_both_libraries_agree(
    facts, model_folder, monkeypatch
):
    pytest.importorskip("transformers", reason="needs the extra `hf`")
    example = "a red jar, a blue jar: which is more?"
    facts = dataclasses.replace(
        facts, repository=None, example=example, input_length=64
    )
    write_student_file(model_folder, facts)
    monkeypatch.chdir(model_folder)
    printed = []
    for code in code_blocks(facts):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})
        printed.append(output.getvalue().splitlines())
    theirs, ours = printed
    (prediction,) = eval(ours[0], {"Prediction": dsbs_jax.api.student.Prediction})
    if facts.labels is not None:
        expected = ast.literal_eval(theirs[0])
        assert prediction.probabilities.keys() == expected.keys() == set(facts.labels)
        for label, probability in expected.items():
            assert prediction.probabilities[label] == pytest.approx(
                probability, abs=1e-4
            )
    else:
        assert len(theirs[0]) > 3
        assert prediction.predicted_label == theirs[0]
    if facts.explain_prefix is not None:
        assert len(theirs[1]) > 3
        assert ast.literal_eval(ours[1]) == [theirs[1]]


@pytest.mark.slow
def test_code_cuts_inputs_as_this_project_does(model_folder, monkeypatch):
    pytest.importorskip("transformers", reason="needs the extra `hf`")
    monkeypatch.chdir(model_folder)
    code = model_card.transformers_code(dataclasses.replace(FACTS, repository=None))
    names = {}
    exec(code.partition("\nlabels = ")[0], names)
    words = vocabulary.load(str(model_folder / "spiece.model"))
    for text in ("a red jar", "a red jar and a dark blue jar"):
        (ours,) = input_batches.encode_inputs([text], words, FACTS.input_length)
        assert names["read"](text).input_ids.tolist() == [ours.tolist()]
    assert len(ours) == FACTS.input_length
