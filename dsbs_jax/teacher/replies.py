"""What a server's reply says; nothing in it is taken on trust."""

import dataclasses
import json
from typing import Any

from dsbs_jax.teacher.sampling import CHAT

# Beyond this, a number of tokens is nonsense.
_MAX_TOKENS = 10**9


class Malformed(Exception):
    """The reply is not what the protocol says; asking again may help."""


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that the server counted.

    Attributes:
        prompt: Those it read.
        completion: Those it wrote.
    """

    prompt: int
    completion: int


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """A completion as it came.

    Attributes:
        text: What the teacher said, any characters at all.
        finish_reason: Why it ended ("stop", "length"), or None.
        usage: None where the server does not say.
    """

    text: str
    finish_reason: str | None
    usage: Usage | None


def read(body: bytes, style: str) -> Reply:
    """Reads the body of a successful response.

    Raises:
        Malformed: It is no such reply; the message says what is wrong.
    """
    found = _object(body)
    choices = found.get("choices")
    if not isinstance(choices, list) or not choices:
        raise Malformed("the reply has no choices")
    choice = choices[0]
    if not isinstance(choice, dict):
        raise Malformed("the reply's choice is no object")
    message = choice.get("message") if style == CHAT else choice
    name = "content" if style == CHAT else "text"
    text = message.get(name) if isinstance(message, dict) else None
    if not isinstance(text, str):
        raise Malformed(f"the reply's choice has no {name}")
    reason = choice.get("finish_reason")
    return Reply(text, reason if isinstance(reason, str) else None, _usage(found))


def read_problem(body: bytes) -> str:
    """Reads what the body of an error says: `{"error": {"message": "too long"}}`.

    Returns:
        The message; where there is none, all of the body as text, perhaps none.
    """
    text = body.decode("utf-8", "replace")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text.strip()
    for name in ("error", "message"):
        if isinstance(found, dict) and name in found:
            found = found[name]
    return found if isinstance(found, str) else text.strip()


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Malformed(f"the reply is not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise Malformed("the reply's JSON is nested too deeply") from error
    except ValueError as error:
        raise Malformed("the reply is broken JSON") from error
    if not isinstance(found, dict):
        raise Malformed("the reply is no JSON object")
    return found


def _usage(found: dict[str, Any]) -> Usage | None:
    usage = found.get("usage")
    if not isinstance(usage, dict):
        return None
    # A server may leave out what it wrote where that is nothing.
    counts = (usage.get("prompt_tokens"), usage.get("completion_tokens", 0))
    if all(type(n) is int and 0 <= n <= _MAX_TOKENS for n in counts):
        return Usage(*counts)
    return None
