import dataclasses
from typing import Annotated, Any, Literal

import pytest
import typer
from typer.testing import CliRunner

from dsbs_jax.commands import options
from dsbs_jax.errors import UserError
from dsbs_jax.settings import (
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    Settings,
    Text,
    setting,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling(Settings):
    """How to sample."""

    model: Text = setting(help="Name of the model.")
    samples: PositiveInt = setting(1, help="Replies [per input].")
    temperature: NonNegativeInt | NonNegativeFloat | None = setting(0.0, help="Heat.")
    top_p: Fraction | None = setting(None, help="Share.")
    style: Literal["chat", "completion"] = setting("chat", help="The API.")
    structured: bool = setting(False, help="Request JSON.")
    send_stop: bool = setting(True, help="Send stop sequences.")
    labels: tuple[Text, ...] = setting((), help="Labels.")
    files: Text | tuple[Text, ...] | None = setting(None, help="Files.")
    extra_body: dict[str, Any] = setting({}, help="Fields.")
    hidden: int = setting(3, help="Not an option.")


def app_of(received):
    app = typer.Typer(rich_markup_mode="rich")

    @app.command()
    @options.with_settings({"Sampling": Sampling}, without=("hidden",))
    def command(data: Annotated[str, typer.Argument()], **settings: Any) -> None:
        received.update(settings, data=data)

    return app


def invoke(*arguments):
    received = {}
    result = CliRunner().invoke(app_of(received), ["rows", *arguments])
    if result.exception:
        raise result.exception
    return received


def test_defaults_are_those_of_the_settings():
    received = invoke("--model", "m")
    assert received.pop("data") == "rows"
    expected = dataclasses.asdict(Sampling(model="m"))
    del expected["hidden"]
    assert received == expected


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        (["--samples", "3"], "samples", 3),
        (["--temperature", "1"], "temperature", 1),
        (["--temperature", "0.7"], "temperature", 0.7),
        (["--top_p", "1"], "top_p", 1.0),
        (["--style", "completion"], "style", "completion"),
        (["--structured"], "structured", True),
        (["--no_send_stop"], "send_stop", False),
        (["--labels", 'a, "b, c",d'], "labels", ("a", "b, c", "d")),
        (["--labels", "a", "--labels", "b,c"], "labels", ("a", "b", "c")),
        (["--labels", "['a', 'b, c']"], "labels", ("a", "b, c")),
        (["--labels", "[]"], "labels", ()),
        (["--labels", "[a]"], "labels", ("[a]",)),
        (["--files", "a,b"], "files", "a,b"),
        (["--files", "a", "--files", "b"], "files", ("a", "b")),
        (["--extra_body", '{"top_k": 4}'], "extra_body", {"top_k": 4}),
    ],
)
def test_texts_become_values(arguments, field, value):
    received = invoke("--model", "m", *arguments)[field]
    assert received == value and type(received) is type(value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--samples", "0"], "--samples is '0', expected int >= 1"),
        (["--top_p", "2"], "--top_p is '2', expected 0 to 1"),
        (["--style", "x"], "--style is 'x', expected chat or completion"),
        (["--extra_body", "{"], "--extra_body is '{', expected JSON object"),
    ],
)
def test_wrong_values_are_reported_with_the_option(arguments, message):
    with pytest.raises(UserError) as caught:
        invoke("--model", "m", *arguments)
    assert str(caught.value) == message


def test_help_has_the_text_the_type_and_the_default_of_each_setting():
    result = CliRunner().invoke(app_of({}), ["--help"], env={"COLUMNS": "120"})
    lines = {
        line.split()[1]: line for line in result.output.splitlines() if "│" in line
    }
    assert "<int >= 1>" in lines["--samples"]
    assert "Replies [per input]." in lines["--samples"]
    assert "[default: 1]" in lines["--samples"]
    assert "<chat or completion>" in lines["--style"]
    assert "Turns this off: Send stop" in lines["--no_send_stop"]
    assert "[required]" in result.output and "hidden" not in result.output
    assert "─ Sampling ─" in result.output


def test_examples_end_the_help():
    assert options.examples("a b") == "Example:\n\na b"
    assert options.examples("a b", "c") == "Examples:\n\na b\n\nc"
