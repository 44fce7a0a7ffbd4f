import json

import pytest

from dsbs_jax.data import dataset_spec
from dsbs_jax.replies.reader import ReplyReader
from dsbs_jax.teacher import prompts, structured

BUILT_IN = ("cqa", "svamp", "asdiv", "anli1", "esnli", "template")


@pytest.mark.parametrize("name", BUILT_IN)
def test_structured_exemplars_are_read_like_plain_ones(name):
    prompt = prompts.load(name)
    parser = prompt.spec.parser
    reader = ReplyReader.of_spec(prompt.spec)
    for exemplar in prompt.exemplars:
        text = structured.exemplar_json(exemplar.answer, parser)
        expected = parser.parse(exemplar.answer)
        assert reader.read_structured(text, exemplar.input) == expected
        assert reader.read(exemplar.answer, exemplar.input) == expected


def test_an_exemplar_may_have_another_answer_phrase():
    parser = dataset_spec.DEFAULT.parser
    text = structured.exemplar_json("Dead.\n\n**Answer:** visit", parser)
    assert json.loads(text) == {"rationale": "Dead.", "label": "visit"}
