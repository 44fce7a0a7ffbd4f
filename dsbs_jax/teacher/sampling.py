"""Sampling settings, the body of each request, and the key that names a request.

A request's key is the SHA-256 of its body, the API style and the sample's number. A
stored reply is found again as long as none of these changes; the server's address is
not part of the key. A change to `request_key` or to a body would send paid requests
again.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta

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
from dsbs_jax.teacher import structured
from dsbs_jax.teacher.prompts import Prompt

CHAT = "chat"
COMPLETION = "completion"
# An int stays an int: 1 and 1.0 differ in the body, and so in the request's key.
Temperature = NonNegativeInt | NonNegativeFloat | None
_TopP = Annotated[int, Meta(ge=0, le=1)] | Fraction | None
# Caps assume MAX_TOKENS and one reply per request, which is read when it is complete.
_RESERVED_FIELDS = ("max_tokens", "max_completion_tokens", "model", "n", "stream")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingConfig(Settings):
    """How the teacher answers. None uses the server's default of a setting."""

    model: Text = setting(macro="TEACHER_MODEL", help="The server's name of the model.")
    style: Literal["chat", "completion"] = setting(
        CHAT,
        help="'chat', or 'completion' (API /v1/completions) without a chat template.",
    )
    structured: bool = setting(
        False,
        help="Request JSON with rationale and label, if the server supports it.",
    )
    samples: PositiveInt = setting(
        1, help="Replies per input; the label with the most votes wins."
    )
    temperature: Temperature = setting(0.0, help="0 gives the same reply each time.")
    top_p: _TopP = setting(None, help="Share of the probability mass to sample from.")
    max_tokens: PositiveInt = setting(256, help="Maximum tokens of a completion.")
    max_tokens_name: Text = setting(
        "max_tokens",
        help="Field of the token limit; some servers expect 'max_completion_tokens'.",
    )
    seed: NonNegativeInt | None = setting(
        0, help="Seed of an input's first sample; sample number i adds i, from 0."
    )
    send_stop: bool = setting(True, help="Send the stop sequences of the prompt.")
    extra_body: dict[str, Any] = setting(
        {}, help="Further fields of each request: {'top_k': 40}."
    )

    def __post_init__(self) -> None:
        """Checks settings that depend on each other."""
        super().__post_init__()
        if self.structured and self.style != CHAT:
            raise UserError("STRUCTURED is True, expected STYLE = 'chat' with it")
        if self.samples > 1 and self.temperature == 0:
            raise UserError(
                f"SAMPLES is {self.samples} and TEMPERATURE is 0, which gives the same "
                "reply each time; expected a TEMPERATURE above 0"
            )
        check_extra_body("EXTRA_BODY", self.extra_body, self.max_tokens_name)


def check_extra_body(
    macro: str, fields: Mapping[str, Any], max_tokens_name: str = "max_tokens"
) -> None:
    """Raises UserError if fields are not JSON, or have a setting of their own."""
    try:
        json.dumps(fields, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UserError(f"{macro} cannot be written as JSON: {error}") from error
    for name in fields.keys() & {max_tokens_name, *_RESERVED_FIELDS}:
        raise UserError(
            f"{macro} sets {name!r}, expected only fields without a setting of "
            "their own, and not n or stream"
        )


def request_body(
    sampling: SamplingConfig,
    prompt: Prompt,
    input: str,
    sample: int,
    labels: Sequence[str] = (),
) -> dict[str, Any]:
    """Builds the JSON body of the request for one sample of one input.

    Args:
        sampling: How the teacher answers.
        prompt: The prompt around the input.
        input: The input.
        sample: Number of the sample, from 0.
        labels: The labels to which structured output is limited.

    Raises:
        ValueError: The input does not have the segments that the prompt names.
    """
    body: dict[str, Any] = {"model": sampling.model}
    if sampling.style == CHAT:
        body["messages"] = prompt.chat_messages(input, as_json=sampling.structured)
    else:
        body["prompt"] = prompt.completion_prompt(input)
    # A JSON object cannot continue with another question, so it needs no stop sequence.
    send_stop = sampling.send_stop and not sampling.structured
    optional = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": None if sampling.seed is None else sampling.seed + sample,
        "stop": list(prompt.stop) or None if send_stop else None,
    }
    body |= {name: value for name, value in optional.items() if value is not None}
    body[sampling.max_tokens_name] = sampling.max_tokens
    if sampling.structured:
        body["response_format"] = structured.response_format(labels)
    return body | sampling.extra_body


def request_key(style: str, body: Mapping[str, Any], sample: int) -> str:
    """Returns the key of a request: 64 hexadecimal digits."""
    content = json.dumps([style, sample, body], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()
