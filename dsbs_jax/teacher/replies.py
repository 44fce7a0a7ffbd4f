"""Strict decoding of a server's replies. No field of a reply is trusted."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from dsbs_jax import json_input
from dsbs_jax.json_input import JsonError
from dsbs_jax.teacher.sampling import CHAT, COMPLETION

# A larger number of tokens cannot be right.
_TokenCount = Annotated[int, Meta(ge=0, le=10**9)]


class MalformedReply(Exception):
    """The reply does not follow the protocol; another attempt may succeed."""


class Usage(msgspec.Struct, frozen=True):
    """Tokens that the server counted."""

    prompt_tokens: _TokenCount
    # Some servers omit it when the completion is empty.
    completion_tokens: _TokenCount = 0


class Reply(msgspec.Struct, frozen=True):
    """A completion and what the server says about it.

    Attributes:
        text: The raw completion; it can hold any characters.
        finish_reason: Why the completion ended ("stop", "length"), or None.
        usage: The server's token counts, or None.
    """

    text: str
    finish_reason: str | None
    usage: Usage | None


class _Message(msgspec.Struct):
    content: str


class _ChatChoice(msgspec.Struct):
    message: _Message
    finish_reason: Any = None


class _CompletionChoice(msgspec.Struct):
    text: str
    finish_reason: Any = None


_CHOICES: dict[str, Any] = {CHAT: _ChatChoice, COMPLETION: _CompletionChoice}


class _Response(msgspec.Struct):
    # Only the first choice is read, so that the others are not checked: they cannot
    # make a usable reply a paid retry.
    choices: Annotated[list[Any], Meta(min_length=1)]
    usage: Any = None


def decode(body: bytes, style: str) -> Reply:
    """Decodes the body of a successful response.

    Raises:
        MalformedReply: The body is not a completion in the API's format.
    """
    try:
        response = json_input.parse(body, _Response)
        choice = json_input.convert(response.choices[0], _CHOICES[style])
    except JsonError as error:
        raise MalformedReply(f"the reply is not a completion: {error}") from error
    text = choice.message.content if style == CHAT else choice.text
    reason = choice.finish_reason if isinstance(choice.finish_reason, str) else None
    try:
        return Reply(text, reason, json_input.convert(response.usage, Usage))
    except JsonError:
        return Reply(text, reason, None)


def error_message(body: bytes) -> str:
    """Reads the message of an error response: `{"error": {"message": "too long"}}`.

    Returns:
        The message; without one, the complete body as text, which may be empty.
    """
    text = body.decode("utf-8", "replace")
    try:
        value = json_input.parse(text)
    except JsonError:
        return text.strip()
    for name in ("error", "message"):
        if isinstance(value, dict) and name in value:
            value = value[name]
    return value if isinstance(value, str) else text.strip()
