r"""Assembles a streamed reply (server-sent events) to the reply that was not streamed.

    data: {"choices": [{"delta": {"content": "It is "}}]}
    data: {"choices": [{"delta": {"content": "hot."}, "finish_reason": "stop"}]}
    data: [DONE]
    -> {"choices": [{"message": {"content": "It is hot."}, "finish_reason": "stop"}]}

Some servers stream although the request does not ask for it.
"""

from typing import Any

from dsbs_jax import json_input
from dsbs_jax.json_input import JsonError

_FIELDS = ("data:", "event:", "id:", "retry:", ":")


def is_stream(text: str) -> bool:
    """Returns whether a response body is a stream of events."""
    return text.lstrip().startswith(_FIELDS)


def assemble(text: str) -> dict[str, Any]:
    """Returns the reply that the events of a complete stream describe.

    Raises:
        JsonError: An event is not JSON, or the stream ends early.
    """
    choices: dict[int, dict[str, Any]] = {}
    reply: dict[str, Any] = {}
    is_done = False
    for data in _events(text):
        if data == "[DONE]":
            is_done = True
            continue
        chunk = json_input.parse(data, dict[str, Any])
        reply |= {n: chunk[n] for n in ("error", "usage") if chunk.get(n) is not None}
        for part in _objects(chunk.get("choices")):
            index = part.get("index")
            choice = choices.setdefault(index if isinstance(index, int) else 0, {})
            _add(choice, part)
    is_done = is_done or any(c.get("finish_reason") for c in choices.values())
    if not is_done and "error" not in reply:
        raise JsonError("the stream ends early")
    return {"choices": [choices[index] for index in sorted(choices)], **reply}


def _events(text: str) -> list[str]:
    lines = text.replace("\r\n", "\n").split("\n")
    data = [line[5:].strip() for line in lines if line.startswith("data:")]
    return [one for one in data if one]


def _objects(value: object) -> list[dict[str, Any]]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def _add(choice: dict[str, Any], part: dict[str, Any]) -> None:
    """Appends the texts of an event to the texts of its choice."""
    for name, value in part.items():
        if name in ("delta", "message") and isinstance(value, dict):
            message = choice.setdefault("message", {})
            for field, text in value.items():
                message[field] = _joined(message.get(field), text)
        elif name == "text":
            choice["text"] = _joined(choice.get("text"), value)
        elif value is not None:
            choice[name] = value


def _joined(before: Any, added: Any) -> Any:
    if added is None or before is None:
        return before if added is None else added
    both_text = isinstance(before, str) and isinstance(added, str)
    both_lists = isinstance(before, list) and isinstance(added, list)
    return before + added if both_text or both_lists else added
