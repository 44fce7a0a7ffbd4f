"""Tests of strict JSON reading."""

from typing import Annotated, Any

import msgspec
import pytest

from dsbs_jax import json_input
from dsbs_jax.json_input import JsonError


class Row(msgspec.Struct):
    """One row of the tests."""

    input: str
    label: str | None = None
    choices: list[str] = []


def test_values_are_parsed_into_the_expected_type():
    row = json_input.parse(b'{"input": "2 + 2", "label": null, "other": 1}', Row)
    assert (row.input, row.label) == ("2 + 2", None)
    assert json_input.parse('{"a": [1, 1.5, true]}') == {"a": [1, 1.5, True]}
    assert json_input.parse("[1]", list[int]) == [1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"input": 3}', "field 'input' must be text, found integer"),
        (b'{"input": true}', "field 'input' must be text, found true or false"),
        (b'{"input": "x", "label": 4}', "'label' must be text or null, found integer"),
        (b'{"input": "x", "choices": ["a", 1]}', r"field 'choices\[1\]' must be text"),
        (b'{"label": "x"}', "field 'input' is missing"),
        (b"[]", "expected object, found list"),
        (b'{"input": ', "broken JSON at column 11: Expecting value"),
        (b'{"input":\n x', "broken JSON at line 2, column 2: Expecting value"),
        (b'{"input": "\xff"}', "not UTF-8 at byte 11"),
        (b"[" * 100_000, "JSON nested too deeply"),
        (b"1" * 5_000, "broken JSON: Exceeds the limit"),
        (b"", "broken JSON at column 1"),
    ],
)
def test_wrong_json_is_described(content, message):
    with pytest.raises(JsonError, match=message):
        json_input.parse(content, Row)


def test_true_and_fractions_are_not_integers():
    for value in (True, 1.5, "1"):
        with pytest.raises(JsonError, match="expected integer, found"):
            json_input.convert(value, int)


def test_a_number_out_of_range_is_described():
    votes = Annotated[int, msgspec.Meta(ge=0)]
    with pytest.raises(JsonError, match="field 'votes' must be integer >= 0"):
        json_input.convert({"votes": -1}, msgspec.defstruct("R", [("votes", votes)]))
    with pytest.raises(JsonError, match="expected integer >= 0"):
        json_input.convert(-1, votes)
    with pytest.raises(JsonError, match="the value is too large for a number"):
        json_input.convert(10**400, float)
    with pytest.raises(JsonError, match=r"field '\[0\]' is too large for a number"):
        json_input.convert([10**400], list[float])


def test_half_a_surrogate_pair_is_parsed():
    # The reader of completions reports it as a problem of one row.
    assert json_input.parse(b'{"input": "\\ud800"}', Row).input == "\ud800"
    assert json_input.parse(b'["\\ud800"]', list[Any]) == ["\ud800"]


def test_lines_are_numbered_as_in_the_file():
    content = b'\xef\xbb\xbf{"a": 1}\r\n\n  \n{"a": 2}'
    assert list(json_input.numbered_lines(content)) == [
        (1, b'{"a": 1}\r'),
        (4, b'{"a": 2}'),
    ]
