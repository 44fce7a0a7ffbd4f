"""Settings dataclasses: types, ranges, defaults, gin files."""

import dataclasses
import math
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from dsbs_jax import cli, gin_files, settings
from dsbs_jax.errors import UserError
from dsbs_jax.settings import (
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
    Text,
    setting,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example(Settings):
    """An example."""

    name: Text = setting(help="Required text.")
    steps: PositiveInt = setting(10, help="A count.")
    rate: NonNegativeFloat = setting(0.5, help="A rate.")
    patience: PositiveInt | None = setting(None, help="May be None.")
    choice: Literal["a", "b"] = setting("a", help="A choice.")
    lengths: dict[str, int] = setting({"inputs": 3}, help="A dictionary.")
    words: tuple[str, ...] = setting((), help="A list.")
    own: bool = setting(False, macro="OWN_NAME", help="Has a macro of another name.")
    derived: int = 3


def make(**values):
    return Example(**{"name": "x", **values})


def test_settings_are_listed_with_macro_default_and_help():
    infos = {info.field: info for info in settings.settings_of(Example)}
    assert list(infos) == [
        "name",
        "steps",
        "rate",
        "patience",
        "choice",
        "lengths",
        "words",
        "own",
    ]
    assert infos["name"].required and not infos["steps"].required
    assert infos["own"].macro == "OWN_NAME" and infos["steps"].macro == "STEPS"
    assert infos["lengths"].default == {"inputs": 3}
    assert infos["rate"].help == "A rate."


def test_values_are_converted_only_without_loss():
    assert make(rate=1).rate == 1.0 and isinstance(make(rate=1).rate, float)
    assert make(words=["a"]).words == ("a",)
    assert make(patience=3).patience == 3


def test_default_dictionary_belongs_to_one_instance():
    first = make()
    first.lengths["inputs"] = 5
    assert make().lengths == {"inputs": 3}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": ""}, "NAME is '', expected str"),
        ({"name": 3}, "NAME is 3, expected str"),
        ({"steps": 0}, "STEPS is 0, expected int >= 1"),
        ({"steps": 1.5}, "STEPS is 1.5, expected int >= 1"),
        ({"steps": "7"}, "STEPS is '7', expected int >= 1"),
        ({"steps": True}, "STEPS is True, expected int >= 1"),
        ({"steps": None}, "STEPS is None, expected int >= 1"),
        ({"rate": -0.1}, "RATE is -0.1, expected float >= 0"),
        ({"rate": math.inf}, "RATE is inf, expected a finite number"),
        ({"rate": math.nan}, "RATE is nan, expected "),
        ({"patience": 0}, "PATIENCE is 0, expected int >= 1 or None"),
        ({"choice": "c"}, "CHOICE is 'c', expected 'a' or 'b'"),
        ({"lengths": {"inputs": "3"}}, "LENGTHS is .*, expected dict of str to int"),
        ({"words": "ab"}, "WORDS is 'ab', expected list of str"),
        ({"own": 1}, "OWN_NAME is 1, expected bool"),
    ],
)
def test_bad_value_is_named_with_what_was_expected(values, message):
    with pytest.raises(UserError, match=message):
        make(**values)


def test_values_by_macro_name():
    example = settings.from_values(Example, {"NAME": "y", "OWN_NAME": True, "OTHER": 1})
    assert example == make(name="y", own=True)
    with pytest.raises(UserError, match="NAME is required and not set"):
        settings.from_values(Example, {"STEPS": 3})


@given(
    st.text(min_size=1),
    st.integers(1, 10**12),
    st.floats(0, 1e300),
    st.dictionaries(st.text(), st.integers()),
    st.lists(st.text()),
)
@pytest.mark.slow
def test_gin_file_holds_every_value(
    tmp_path_factory, name, steps, rate, lengths, words
):
    example = make(name=name, steps=steps, rate=rate, lengths=lengths, words=words)
    path = tmp_path_factory.mktemp("settings") / "config.gin"
    path.write_text(settings.as_gin([example]))
    macros = gin_files.read([str(path)]).values
    assert settings.from_values(Example, macros) == example
    assert len(macros) == 8


def test_gin_file_takes_the_first_of_two_values():
    text = settings.as_gin([make(steps=3), make(steps=4)])
    assert "STEPS = 3\n" in text and "STEPS = 4" not in text


def test_rules_for_several_fields():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Range(Settings):
        low: int = setting(0, help="")
        high: int = setting(1, help="")

        def __post_init__(self):
            super().__post_init__()
            if self.low > self.high:
                raise UserError("LOW is above HIGH")

    with pytest.raises(UserError, match="LOW is above HIGH"):
        Range(low=2)
    with pytest.raises(UserError, match="LOW is 'a'"):
        Range(low="a")


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (PositiveInt, "int >= 1"),
        (NonNegativeInt, "int >= 0"),
        (PositiveFloat, "float > 0"),
        (Fraction, "float >= 0 and <= 1"),
        (Text | None, "str or None"),
        (Annotated[float, Meta(gt=0, lt=1)] | None, "float > 0 and < 1 or None"),
        (Literal["a", "b"], "'a' or 'b'"),
        (dict[str, PositiveInt], "dict of str to int >= 1"),
        (tuple[Text, ...], "list of str"),
        (str | dict[str, str] | None, "str or dict of str to str or None"),
    ],
)
def test_types_are_described_for_people(hint, text):
    assert settings.type_text(hint) == text


def test_help_lists_settings_with_type_default_and_help():
    text = cli.help_text("What it does.", [Example], prefix="--gin.")
    assert text.startswith("What it does.\n\nAn example:\n")
    assert "  --gin.NAME  (str; required)\n      Required text.\n" in text
    assert "  --gin.PATIENCE  (int >= 1 or None; default: None)" in text
    assert "  --own  (bool; default: False)" in cli.help_text("", [Example])


def test_gin_reference_lists_settings_as_comments():
    text = settings.gin_reference("A header.\n\nIts second part.", [Example])
    assert text.startswith("# A header.\n#\n# Its second part.\n\n# An example\n#\n")
    assert "#   A count. (int >= 1)\n# STEPS = 10\n" in text
    assert "# NAME = required\n" in text
    assert all(line.startswith("#") or not line for line in text.splitlines())
