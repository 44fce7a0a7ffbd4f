"""Decoding of a server's replies. No field of a reply is trusted.

Servers put the text, or the reason why it is missing, in different places. `decode`
reads all of them, and returns either a text or the problem in the server's words.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from dsbs_jax import json_input
from dsbs_jax.json_input import JsonError
from dsbs_jax.teacher import finish_reasons, reply_shapes, streams
from dsbs_jax.teacher.sampling import CHAT

# A larger number of tokens cannot be right.
_TokenCount = Annotated[int, Meta(ge=0, le=10**9)]
# Fields of a message that hold reasoning, and types of parts that do.
_REASONING = ("reasoning_content", "reasoning", "thinking")
_REASONING_LISTS = ("reasoning_details", "thinking_blocks")
_TEXT_PARTS = ("text", "output_text", None)
# How LiteLLM asks models without a JSON mode for JSON: as the call of this tool.
_JSON_TOOL = "json_tool_call"


class MalformedReply(Exception):
    """The reply does not follow the protocol; another attempt may succeed."""


class ServerError(MalformedReply):
    """The reply reports an error, although its status is a success.

    Attributes:
        code: The server's code or name of the error, or None.
    """

    def __init__(self, message: str, code: str | int | None) -> None:
        """Keeps the server's message and its code."""
        super().__init__(message)
        self.code = code


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
        reasoning: The model's reasoning, if the server separates it from the text.
        problem: Why the text is empty, for example because the model refused or a
            content filter removed the text. None if there is text, or if the server
            gives no reason.
    """

    text: str
    finish_reason: str | None
    usage: Usage | None
    reasoning: str | None = None
    problem: str | None = None


class _Response(msgspec.Struct):
    # The choices are checked one by one, so that a bad one does not make a usable
    # reply a paid retry.
    choices: Annotated[list[Any], Meta(min_length=1)]
    usage: Any = None


def decode(body: bytes, style: str) -> Reply:
    """Decodes the first choice of a successful response, as `decode_all`."""
    return decode_all(body, style)[0]


def decode_all(body: bytes, style: str) -> list[Reply]:
    """Decodes the choices of a successful response.

    Returns:
        The first choice and all further usable ones. Each has the usage of the complete
        response.

    Raises:
        ServerError: The body reports an error.
        MalformedReply: The body is not a completion in a known format.
    """
    try:
        text = body.decode("utf-8")
        is_stream = streams.is_stream(text)
        value = streams.assemble(text) if is_stream else json_input.parse(text)
        value = reply_shapes.as_choices(value)
        _raise_error(value)
        response = json_input.convert(value, _Response)
    except UnicodeDecodeError as error:
        raise MalformedReply(f"the reply is not UTF-8 at byte {error.start}") from error
    except JsonError as error:
        raise MalformedReply(f"the reply is not a completion: {error}") from error
    usage = _read_usage(response.usage)
    replies = [_read_choice(response.choices[0], style, usage)]
    for choice in response.choices[1:]:
        try:
            replies.append(_read_choice(choice, style, usage))
        except MalformedReply:
            continue
    return replies


def _read_choice(choice: object, style: str, usage: Usage | None) -> Reply:
    if not isinstance(choice, dict):
        raise MalformedReply("the reply is not a completion: a choice is not an object")
    _raise_error(choice, is_choice=True)
    message = choice.get("message")
    fields = message if isinstance(message, dict) else {}
    content: Any = fields.get("content")
    if "text" in choice and (style != CHAT or content is None):
        content = choice["text"]
    text, reasoning, refusal = _read_content(content)
    reasoning = reasoning or _read_reasoning(fields)
    refusal = (
        refusal or _text_of(fields.get("refusal")) or _text_of(fields.get("error"))
    )
    reason = _finish_reason(choice)
    problem = None
    if not (text or "").strip():
        tool, arguments = _tool_call(fields)
        if tool == _JSON_TOOL and arguments:
            text = arguments
        else:
            problem = _problem(reason, reasoning, refusal, tool, usage)
    if text is None and problem is None and not reasoning:
        said = f"finish reason {reason!r}" if reason else "no finish reason"
        raise MalformedReply(f"the reply is not a completion: it has no text ({said})")
    return Reply(text or "", reason, usage, reasoning, problem)


def _read_content(content: object) -> tuple[str | None, str | None, str | None]:
    """Returns the text, the reasoning and the refusal in a message's content.

    [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Yes."}]
    -> ("Yes.", "Hm.", None)
    """
    if content is None or isinstance(content, str):
        return content, None, None
    parts = content if isinstance(content, list) else [content]
    found: dict[str, list[str]] = {"text": [], "reasoning": [], "refusal": []}
    for part in parts:
        if isinstance(part, str):
            found["text"].append(part)
        elif isinstance(part, dict):
            kind, place = part.get("type"), "reasoning"
            if kind in _TEXT_PARTS:
                place = "text"
            elif kind == "refusal":
                place = "refusal"
            text = _text_of(part)
            if text is not None:
                found[place].append(text)
        else:
            raise MalformedReply("the reply is not a completion: content is not text")
    texts, reasoning, refusal = ("".join(found[name]) for name in found)
    return (texts if found["text"] else None), reasoning or None, refusal or None


def _read_reasoning(message: dict[str, Any]) -> str | None:
    """Returns the reasoning that a message holds apart from its content, or None."""
    for name in _REASONING:
        if text := _text_of(message.get(name)):
            return text
    for name in _REASONING_LISTS:
        if text := _text_of(message.get(name)):
            return text
    return None


def _text_of(value: object) -> str | None:
    """Returns the text of a part, or the joined texts of a list of parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        texts = [text for text in map(_text_of, value) if text is not None]
        return "".join(texts) if texts else None
    if isinstance(value, dict):
        names = ("text", "thinking", "reasoning", "summary", "refusal", "message")
        return next((t for n in names if (t := _text_of(value.get(n)))), None)
    return None


def _finish_reason(choice: dict[str, Any]) -> str | None:
    reason = choice.get("finish_reason")
    if isinstance(reason, dict):  # SGLang's own API: {"type": "length", "length": 16}
        reason = reason.get("type")
    return reason if isinstance(reason, str) else None


def _tool_call(message: dict[str, Any]) -> tuple[str | None, str | None]:
    """Returns the name and the arguments of the first tool that the model calls."""
    calls = message.get("tool_calls")
    call = calls[0] if isinstance(calls, list) and calls else {}
    function = call.get("function") if isinstance(call, dict) else None
    function = function or message.get("function_call")
    if not isinstance(function, dict):
        return None, None
    name, arguments = function.get("name"), function.get("arguments")
    return (
        name if isinstance(name, str) else "?",
        arguments if isinstance(arguments, str) else None,
    )


def _problem(
    reason: str | None,
    reasoning: str | None,
    refusal: str | None,
    tool: str | None,
    usage: Usage | None,
) -> str | None:
    """Returns why a reply has no text, or None if nothing explains it."""
    if refusal and refusal.strip():
        return f"the model refused: {refusal.strip()}"
    count = f", {usage.completion_tokens:,} tokens" if usage else ""
    ended = f"finish reason {reason!r}{count}" if reason else f"no reason{count}"
    name = (reason or "").lower()
    if "filter" in name or "safety" in name:
        return f"the server's content filter removed the reply ({ended})"
    is_cut = finish_reasons.may_be_incomplete(reason, None, None)
    if is_cut and reasoning and reasoning.strip():
        return f"the reply was cut off while reasoning ({ended}); raise MAX_TOKENS"
    if tool:
        return f"the model called the tool {tool!r} instead of answering ({ended})"
    if is_cut:
        return f"the reply was cut off before its text ({ended}); raise MAX_TOKENS"
    return None


def _read_usage(value: object) -> Usage | None:
    if not isinstance(value, dict):
        return None
    names = {"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens"}
    fields = {names.get(name, name): number for name, number in value.items()}
    try:
        return json_input.convert(fields | value, Usage)
    except JsonError:
        return None


def _raise_error(value: object, is_choice: bool = False) -> None:
    """Raises ServerError if a response or one of its choices reports an error."""
    if not isinstance(value, dict):
        return
    is_error = value.get("error") or value.get("errors")
    if not is_choice:
        names = (value.get("object"), value.get("type"))
        is_error = is_error or "error" in names or not value.get("choices")
    if is_error and (found := error_of(value)):
        raise ServerError(*found)


def error_of(value: object) -> tuple[str, str | int | None] | None:
    """Returns the message and the code of an error object, or None.

    {"error": {"message": "too long", "code": 400}} -> ("too long", 400)
    """
    code: str | int | None = None
    for name in ("error", "errors", "detail", "message"):
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, dict):
            code = _code(value) or code
            value = value.get(name) or value
    return (value, code) if isinstance(value, str) and value else None


def _code(error: dict[str, Any]) -> str | int | None:
    for name in ("code", "status_code", "status", "type", "error_type"):
        code = error.get(name)
        if isinstance(code, str | int) and not isinstance(code, bool) and code:
            return code
    return None


def error_fields(text: str) -> tuple[str, str | int | None, str | None]:
    """Reads the body of an error response.

    {"error": {"message": "no", "code": "unsupported_value", "param": "stop"}}
    -> ("no", "unsupported_value", "stop")

    Returns:
        The message, or without one the complete text, which may be empty; the code; and
        the field that the server refuses.
    """
    try:
        value = json_input.parse(text)
    except JsonError:
        return text.strip(), None, None
    message, code = error_of(value) or (text.strip(), None)
    return message, code, refused_field(value)


def refused_field(value: object) -> str | None:
    """Returns the field that an error object names as refused, or None.

    {"error": {"message": "no", "param": "stop"}} -> "stop"
    """
    error = value.get("error", value) if isinstance(value, dict) else {}
    param = error.get("param") if isinstance(error, dict) else None
    return param if isinstance(param, str) else None
