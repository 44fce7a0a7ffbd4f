"""Replies of servers whose own API does not use OpenAI's list of choices.

A gateway may pass such a reply on. Each shape is converted to one choice:

    {"generated_text": "It is hot.", "details": {"finish_reason": "eos_token"}}
    -> {"choices": [{"text": "It is hot.", "finish_reason": "eos_token"}]}
"""

from typing import Any


def as_choices(value: Any) -> Any:
    """Converts a reply of a known other shape; returns any other value unchanged."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]  # TGI's /generate with several inputs
    if not isinstance(value, dict) or "choices" in value or value.get("error"):
        return value
    for convert in (_anthropic, _ollama, _tgi, _llama_cpp):
        if (converted := convert(value)) is not None:
            return converted
    return value


def _reply(message: Any, text: Any, reason: Any, usage: Any) -> dict[str, Any]:
    choice = {"finish_reason": reason}
    choice |= {"text": text} if message is None else {"message": message}
    return {"choices": [choice], "usage": usage}


def _usage(prompt: Any, completion: Any) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion}


def _anthropic(value: dict[str, Any]) -> dict[str, Any] | None:
    if value.get("type") != "message" or "content" not in value:
        return None
    message = {"content": value["content"]}
    return _reply(message, None, value.get("stop_reason"), value.get("usage"))


def _ollama(value: dict[str, Any]) -> dict[str, Any] | None:
    if "done" not in value:
        return None
    usage = _usage(value.get("prompt_eval_count"), value.get("eval_count"))
    message = value.get("message")
    return _reply(message, value.get("response"), value.get("done_reason"), usage)


def _tgi(value: dict[str, Any]) -> dict[str, Any] | None:
    if "generated_text" not in value:
        return None
    details = value.get("details")
    details = details if isinstance(details, dict) else {}
    prefill = details.get("prefill")
    usage = _usage(
        len(prefill) if isinstance(prefill, list) else None,
        details.get("generated_tokens"),
    )
    return _reply(None, value["generated_text"], details.get("finish_reason"), usage)


def _llama_cpp(value: dict[str, Any]) -> dict[str, Any] | None:
    if "content" not in value or "tokens_predicted" not in value:
        return None
    usage = _usage(value.get("tokens_evaluated"), value.get("tokens_predicted"))
    return _reply(None, value["content"], value.get("stop_type"), usage)
