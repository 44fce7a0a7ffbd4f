"""What is asked of the server: the body of each request, and the name it is kept under.

A request's key is the SHA-256 of what is sent, of the endpoint's style and of the
sample's number. So a reply is found again as long as none of these changes, wherever
the server stands.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from dsbs_jax.errors import UserError
from dsbs_jax.teacher import checks, structured
from dsbs_jax.teacher.prompts import Prompt

CHAT = "chat"
COMPLETION = "completion"
STYLES = (CHAT, COMPLETION)
_NOT_EXTRA = ("max_tokens", "max_completion_tokens", "model", "n", "stream")


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How the teacher answers. What is None is left to the server.

    Attributes:
        model: The server's name of it.
        style: "chat" (/v1/chat/completions) or "completion" (/v1/completions).
        structured: Whether to ask for a JSON object with rationale and label (chat
            style, where the server offers `response_format`).
        samples: Replies an input; more than one are put to the vote.
        temperature: 0 is greedy, which gives the same reply each time.
        top_p: The share of the probability that is sampled from.
        max_tokens: The most tokens of a reply.
        max_tokens_name: What the server calls that; newer ones of OpenAI want
            "max_completion_tokens".
        seed: The first sample's; the others count on from it.
        send_stop: Whether to send the prompt's stop sequences; some models refuse them.
        extra_body: Other fields that the server knows.

    Raises:
        UserError: A setting is out of its range.
    """

    model: str
    style: str = CHAT
    structured: bool = False
    samples: int = 1
    temperature: float | None = 0.0
    top_p: float | None = None
    max_tokens: int = 256
    max_tokens_name: str = "max_tokens"
    seed: int | None = 0
    send_stop: bool = True
    extra_body: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks the fields."""
        for name in ("model", "max_tokens_name"):
            checks.text(name, getattr(self, name))
        if self.style not in STYLES:
            raise UserError(
                f"STYLE is {self.style!r}, expected one of {', '.join(STYLES)}"
            )
        if self.structured and self.style != CHAT:
            raise UserError("STRUCTURED is True, expected STYLE = 'chat' with it")
        for name in ("samples", "max_tokens"):
            checks.whole(name, getattr(self, name))
        for name, high in (("temperature", math.inf), ("top_p", 1.0)):
            if getattr(self, name) is not None:
                checks.number(name, getattr(self, name), high=high)
        if self.seed is not None:
            checks.whole("seed", self.seed, 0)
        if self.samples > 1 and self.temperature == 0:
            raise UserError(
                f"SAMPLES is {self.samples} and TEMPERATURE is 0, which gives the same "
                "reply each time; expected a TEMPERATURE above 0"
            )
        try:
            json.dumps(dict(self.extra_body), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise UserError(f"EXTRA_BODY is no JSON: {error}") from error
        # Caps count on MAX_TOKENS and on one reply, which is read when it is whole.
        barred = {self.max_tokens_name, *_NOT_EXTRA}
        for name in self.extra_body:
            if name in barred:
                raise UserError(
                    f"EXTRA_BODY sets {name!r}, expected no field that has a setting "
                    "of its own, and neither n nor stream"
                )

    def body(self, prompt: Prompt, input: str, sample: int) -> dict[str, Any]:
        """Makes the body of the request for one sample of one input.

        Raises:
            ValueError: The input does not fit the prompt.
        """
        body: dict[str, Any] = {"model": self.model}
        if self.style == CHAT:
            body["messages"] = prompt.messages(input, as_json=self.structured)
        else:
            body["prompt"] = prompt.text(input)
        optional = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": None if self.seed is None else self.seed + sample,
            # A JSON object has no place where a next question could begin.
            "stop": list(prompt.stop) if self.send_stop and not self.structured else [],
        }
        body |= {k: v for k, v in optional.items() if v is not None and v != []}
        body[self.max_tokens_name] = self.max_tokens
        if self.structured:
            body["response_format"] = structured.response_format()
        return body | dict(self.extra_body)

    def key(self, body: Mapping[str, Any], sample: int) -> str:
        """Names the request: SHA-256 in hexadecimal."""
        identity = json.dumps([self.style, sample, body], sort_keys=True)
        return hashlib.sha256(identity.encode()).hexdigest()
