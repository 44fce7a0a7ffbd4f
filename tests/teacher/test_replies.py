"""Replies in the shapes that servers document, and replies in no shape at all."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsbs_jax.teacher import replies
from dsbs_jax.teacher.replies import Reply, Usage

TEXT = "The line is dead. So the answer is visit."
THOUGHT = "No dial tone, so the line is dead."


def chat(content, reason="stop", usage=None, /, **fields):
    choice = {"index": 0, "message": {"role": "assistant", **content}}
    choice |= {"finish_reason": reason}
    return {"object": "chat.completion", "choices": [choice], "usage": usage, **fields}


# Replies as the documentation or the source of each server gives them: the body, and
# what it says: text, finish reason, completion tokens, reasoning.
SHAPES = {
    "OpenAI": (
        {
            "id": "chatcmpl-B9MBs8",
            "object": "chat.completion",
            "created": 1741569952,
            "model": "gpt-4.1-2025-04-14",
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": TEXT,
                        "refusal": None,
                        "annotations": [],
                    },
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": {
                "prompt_tokens": 19,
                "completion_tokens": 10,
                "total_tokens": 29,
                "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0},
            },
            "service_tier": "default",
        },
        (TEXT, "stop", 10, None),
    ),
    "OpenAI, reasoning uses all tokens": (
        chat(
            {"content": "", "refusal": None},
            "length",
            {
                "prompt_tokens": 19,
                "completion_tokens": 256,
                "completion_tokens_details": {"reasoning_tokens": 256},
            },
        ),
        ("", "length", 256, None),
    ),
    "OpenAI's completions": (
        {
            "object": "text_completion",
            "choices": [
                {"text": TEXT, "index": 0, "logprobs": None, "finish_reason": "length"}
            ],
            "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
        },
        (TEXT, "length", 7, None),
    ),
    "Anthropic's OpenAI-compatible endpoint": (
        chat(
            {"content": TEXT},
            "stop",
            {"prompt_tokens": 20, "completion_tokens": 12, "total_tokens": 32},
            id="msg_01A",
            model="claude-opus-4-1",
        ),
        (TEXT, "stop", 12, None),
    ),
    "Anthropic's messages": (
        {
            "id": "msg_013Zva2CMHLNnXjNJJKqJ2EF",
            "type": "message",
            "role": "assistant",
            "model": "claude-opus-4-1",
            "content": [
                {"type": "thinking", "thinking": THOUGHT, "signature": "EqQBCg"},
                {"type": "text", "text": TEXT, "citations": None},
            ],
            "stop_reason": "max_tokens",
            "stop_sequence": None,
            "usage": {"input_tokens": 2095, "output_tokens": 503},
        },
        (TEXT, "max_tokens", 503, THOUGHT),
    ),
    "vLLM": (
        chat(
            {
                "content": TEXT,
                "refusal": None,
                "annotations": None,
                "audio": None,
                "function_call": None,
                "tool_calls": [],
                "reasoning_content": None,
            },
            "stop",
            {"prompt_tokens": 43, "total_tokens": 60, "completion_tokens": 17},
            prompt_logprobs=None,
            kv_transfer_params=None,
        ),
        (TEXT, "stop", 17, None),
    ),
    "vLLM, reasoning until version 0.11": (
        chat(
            {"content": f"\n\n{TEXT}", "reasoning_content": THOUGHT, "tool_calls": []}
        ),
        (f"\n\n{TEXT}", "stop", None, THOUGHT),
    ),
    "vLLM, reasoning from version 0.11 on": (
        chat({"content": TEXT, "reasoning": THOUGHT, "tool_calls": []}),
        (TEXT, "stop", None, THOUGHT),
    ),
    "vLLM, request aborted": (
        chat({"content": TEXT[:20]}, "abort"),
        (TEXT[:20], "abort", None, None),
    ),
    "SGLang": (
        {
            "id": "7bdaaade",
            "object": "chat.completion",
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": TEXT,
                        "reasoning_content": THOUGHT,
                        "tool_calls": None,
                    },
                    "logprobs": None,
                    "finish_reason": "stop",
                    "matched_stop": 151645,
                }
            ],
            "usage": {
                "prompt_tokens": 37,
                "total_tokens": 50,
                "completion_tokens": 13,
                "prompt_tokens_details": None,
                "reasoning_tokens": 0,
            },
            "metadata": {"weight_version": "default"},
        },
        (TEXT, "stop", 13, THOUGHT),
    ),
    "SGLang, finish reason as an object": (
        chat({"content": TEXT}, {"type": "length", "length": 16}),
        (TEXT, "length", None, None),
    ),
    "llama.cpp": (
        {
            "choices": [
                {
                    "finish_reason": "stop",
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "reasoning_content": THOUGHT,
                        "content": TEXT,
                    },
                }
            ],
            "created": 1749000000,
            "model": "gpt-3.5-turbo",
            "system_fingerprint": "b5590-0d3984424",
            "object": "chat.completion",
            "usage": {"completion_tokens": 41, "prompt_tokens": 9, "total_tokens": 50},
            "id": "chatcmpl-1",
            "timings": {"prompt_n": 9, "predicted_n": 41, "predicted_ms": 120.1},
        },
        (TEXT, "stop", 41, THOUGHT),
    ),
    "llama.cpp's completion": (
        {
            "index": 0,
            "content": TEXT,
            "tokens": [],
            "id_slot": 0,
            "stop": True,
            "model": "m",
            "tokens_predicted": 64,
            "tokens_evaluated": 9,
            "truncated": False,
            "stop_type": "limit",
            "stopping_word": "",
        },
        (TEXT, "limit", 64, None),
    ),
    "llama-cpp-python": (
        {
            "id": "chatcmpl-3a8f",
            "object": "chat.completion",
            "created": 1,
            "model": "m.gguf",
            "choices": [
                {
                    "index": 0,
                    "message": {"content": f" {TEXT}", "role": "assistant"},
                    "logprobs": None,
                    "finish_reason": "length",
                }
            ],
            "usage": {"prompt_tokens": 9, "completion_tokens": 8, "total_tokens": 17},
        },
        (f" {TEXT}", "length", 8, None),
    ),
    "Ollama": (
        {
            "id": "chatcmpl-308",
            "object": "chat.completion",
            "created": 1777529963,
            "model": "qwen3.5:9b",
            "system_fingerprint": "fp_ollama",
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": TEXT,
                        "reasoning": THOUGHT,
                    },
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 6863, "completion_tokens": 1676},
        },
        (TEXT, "stop", 1676, THOUGHT),
    ),
    "Ollama's chat": (
        {
            "model": "llama3.2",
            "created_at": "2023-08-04T19:22:45.499127Z",
            "message": {"role": "assistant", "content": TEXT, "thinking": THOUGHT},
            "done": True,
            "done_reason": "length",
            "total_duration": 4883583458,
            "prompt_eval_count": 26,
            "eval_count": 282,
        },
        (TEXT, "length", 282, THOUGHT),
    ),
    "Ollama's generate": (
        {
            "model": "llama3.2",
            "response": TEXT,
            "done": True,
            "done_reason": "stop",
            "context": [1, 2],
            "prompt_eval_count": 26,
            "eval_count": 9,
        },
        (TEXT, "stop", 9, None),
    ),
    "TGI": (
        chat(
            {"content": TEXT},
            "eos_token",
            {"prompt_tokens": 10, "completion_tokens": 11, "total_tokens": 21},
            system_fingerprint="3.0.1-sha-bb9095a",
        ),
        (TEXT, "eos_token", 11, None),
    ),
    "TGI's generate": (
        {
            "generated_text": TEXT,
            "details": {
                "finish_reason": "length",
                "generated_tokens": 20,
                "seed": None,
                "prefill": [],
            },
        },
        (TEXT, "length", 20, None),
    ),
    "TGI's generate, a list": (
        [{"generated_text": TEXT}],
        (TEXT, None, None, None),
    ),
    "LiteLLM": (
        chat(
            {
                "content": TEXT,
                "tool_calls": None,
                "function_call": None,
                "reasoning_content": THOUGHT,
                "thinking_blocks": [
                    {"type": "thinking", "thinking": THOUGHT, "signature": "EqMBCkg"}
                ],
                "provider_specific_fields": None,
            },
            "stop",
            {
                "completion_tokens": 12,
                "prompt_tokens": 32,
                "total_tokens": 44,
                "completion_tokens_details": None,
            },
        ),
        (TEXT, "stop", 12, THOUGHT),
    ),
    "LiteLLM, only blocks": (
        chat(
            {
                "content": TEXT,
                "thinking_blocks": [{"type": "thinking", "thinking": THOUGHT}],
            }
        ),
        (TEXT, "stop", None, THOUGHT),
    ),
    "LiteLLM, JSON as a tool call": (
        chat(
            {
                "content": None,
                "tool_calls": [
                    {
                        "type": "function",
                        "function": {
                            "name": "json_tool_call",
                            "arguments": '{"rationale": "Dead.", "label": "visit"}',
                        },
                    }
                ],
            }
        ),
        ('{"rationale": "Dead.", "label": "visit"}', "stop", None, None),
    ),
    "OpenRouter": (
        chat(
            {
                "content": TEXT,
                "refusal": None,
                "reasoning": None,
                "reasoning_details": [
                    {"type": "reasoning.encrypted", "data": "opaque"},
                    {"type": "reasoning.summary", "summary": THOUGHT},
                ],
            },
            "stop",
            native_finish_reason="end_turn",
        ),
        (TEXT, "stop", None, THOUGHT),
    ),
    "Mistral, thinking parts": (
        chat(
            {
                "content": [
                    {
                        "type": "thinking",
                        "thinking": [{"type": "text", "text": THOUGHT}],
                        "closed": True,
                    },
                    {"type": "text", "text": TEXT},
                ]
            },
            "model_length",
        ),
        (TEXT, "model_length", None, THOUGHT),
    ),
    "parts": (
        chat({"content": [{"type": "text", "text": TEXT[:9]}, TEXT[9:]]}),
        (TEXT, "stop", None, None),
    ),
    "output_text part": (
        chat({"content": [{"type": "output_text", "text": TEXT, "annotations": []}]}),
        (TEXT, "stop", None, None),
    ),
    "one part without a list": (
        chat({"content": {"type": "text", "text": TEXT}}),
        (TEXT, "stop", None, None),
    ),
    "gateway with empty fields of an error": (
        chat({"content": TEXT}, message="", type="", param=None, code=0, error=None),
        (TEXT, "stop", None, None),
    ),
    "no finish reason": (
        {"choices": [{"index": 0, "message": {"content": TEXT}}]},
        (TEXT, None, None, None),
    ),
    "only reasoning": (
        chat({"content": None, "reasoning_content": TEXT}),
        ("", "stop", None, TEXT),
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_of_servers(name):
    body, (text, reason, tokens, reasoning) = SHAPES[name]
    style = "completion" if "completions" in name else "chat"
    reply = replies.decode(json.dumps(body).encode(), style)
    assert (reply.text, reply.finish_reason) == (text, reason)
    assert (reply.usage and reply.usage.completion_tokens) == tokens
    assert reply.reasoning == reasoning
    assert (reply.problem is None) is (bool(text) or bool(reasoning))


# Replies without text, and how the reason begins.
PROBLEMS = {
    "cut off while reasoning": (
        chat({"content": None, "reasoning_content": "Okay, let"}, "length"),
        "the reply was cut off while reasoning (finish reason 'length'); raise MAX_TOK",
    ),
    "cut off while reasoning, tokens": (
        chat(
            {"content": "", "reasoning": "Okay"},
            "max_tokens",
            {"prompt_tokens": 1, "completion_tokens": 2560},
        ),
        "the reply was cut off while reasoning (finish reason 'max_tokens', 2,560 tok",
    ),
    "cut off before the text": (
        chat({"content": None}, "length"),
        "the reply was cut off before its text (finish reason 'length'); raise MAX_TOK",
    ),
    "cut off, blank": (
        chat({"content": "\n\n"}, "MAX_TOKENS"),
        "the reply was cut off before its text (finish reason 'MAX_TOKENS')",
    ),
    "refusal": (
        chat({"content": None, "refusal": "I cannot help with that."}),
        "the model refused: I cannot help with that.",
    ),
    "refusal and empty content": (
        chat({"content": "", "refusal": "I'm sorry."}),
        "the model refused: I'm sorry.",
    ),
    "refusal as a part": (
        chat({"content": [{"type": "refusal", "refusal": "No."}]}),
        "the model refused: No.",
    ),
    "refusal after reasoning": (
        chat({"content": None, "refusal": "No.", "reasoning": "Let me see."}),
        "the model refused: No.",
    ),
    "content filter": (
        chat({"content": None, "refusal": None}, "content_filter"),
        "the server's content filter removed the reply (finish reason 'content_f",
    ),
    "content filter, no field": (
        chat({}, "content_filter"),
        "the server's content filter removed the reply",
    ),
    "safety": (
        chat({"content": ""}, "SAFETY"),
        "the server's content filter removed the reply (finish reason 'SAFETY')",
    ),
    "tool call": (
        chat(
            {"content": None, "tool_calls": [{"function": {"name": "search"}}]},
            "tool_calls",
        ),
        "the model called the tool 'search' instead of answering",
    ),
    "function call": (
        chat({"content": None, "function_call": {"name": "f"}}, "function_call"),
        "the model called the tool 'f' instead of answering",
    ),
    "empty": (chat({"content": ""}), None),
    "blank parts": (chat({"content": [{"type": "text", "text": " "}]}), None),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_reply_without_text_says_why(name):
    body, expected = PROBLEMS[name]
    reply = replies.decode(json.dumps(body).encode(), "chat")
    assert not reply.text.strip()
    if expected is None:
        assert reply.problem is None
    else:
        assert reply.problem.startswith(expected)


# Errors in replies whose status is a success, with the message and the code.
ERRORS = {
    "gateway": (
        {"error": {"message": "upstream model is overloaded", "code": 502}},
        ("upstream model is overloaded", 502),
    ),
    "null choices": (
        {"choices": None, "error": {"message": "too long", "code": 400}},
        ("too long", 400),
    ),
    "empty choices": (
        {"choices": [], "error": {"message": "too long"}},
        ("too long", None),
    ),
    "OpenRouter, in the choice": (
        {
            "choices": [
                {
                    "message": {"content": ""},
                    "finish_reason": "error",
                    "error": {"code": 429, "message": "rate limited"},
                }
            ]
        },
        ("rate limited", 429),
    ),
    "vLLM": (
        {"object": "error", "message": "bad", "type": "BadRequestError", "code": 400},
        ("bad", 400),
    ),
    "Anthropic": (
        {"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}},
        ("Busy", "overloaded_error"),
    ),
    "Ollama": ({"error": "model 'm' not found"}, ("model 'm' not found", None)),
    "TGI": (
        {"error": "Input validation error", "error_type": "validation"},
        ("Input validation error", "validation"),
    ),
    "Hugging Face": ({"error": ["too long", "x"]}, ("too long", None)),
    "FastAPI": ({"detail": "Not Found"}, ("Not Found", None)),
    "Google": (
        [{"error": {"code": 400, "message": "bad", "status": "INVALID_ARGUMENT"}}],
        ("bad", 400),
    ),
    "message": ({"message": "no such route"}, ("no such route", None)),
    "errors": ({"errors": [{"message": "quota"}]}, ("quota", None)),
    "text": ({"error": "out of memory", "choices": []}, ("out of memory", None)),
}


@pytest.mark.parametrize("name", ERRORS)
def test_error_in_a_successful_reply(name):
    body, (message, code) = ERRORS[name]
    with pytest.raises(replies.ServerError) as caught:
        replies.decode(json.dumps(body).encode(), "chat")
    assert (str(caught.value), caught.value.code) == (message, code)


def event(delta, reason=None, **fields):
    choice = {"index": 0, "delta": delta, "finish_reason": reason, **fields}
    return f"data: {json.dumps({'choices': [choice]})}\n\n"


USAGE_EVENT = (
    'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}\n\n'
)
DONE = "data: [DONE]\n\n"
STREAMS = {
    "OpenAI": (
        event({"role": "assistant", "content": ""})
        + event({"content": TEXT[:5]})
        + event({"content": TEXT[5:]})
        + event({}, "stop")
        + USAGE_EVENT
        + DONE,
        Reply(TEXT, "stop", Usage(3, 4)),
    ),
    "comments and carriage returns": (
        (
            ": OPENROUTER PROCESSING\n\n" + event({"content": TEXT}, "stop") + DONE
        ).replace("\n", "\r\n"),
        Reply(TEXT, "stop", None),
    ),
    "reasoning": (
        event({"reasoning_content": THOUGHT[:4]})
        + event({"reasoning_content": THOUGHT[4:], "content": None})
        + event({"content": TEXT}, "length"),
        Reply(TEXT, "length", None, THOUGHT),
    ),
    "names of events": (
        "event: message\n" + event({"content": TEXT}, "stop") + DONE,
        Reply(TEXT, "stop", None),
    ),
    "refusal": (
        event({"refusal": "I can"}) + event({"refusal": "not."}, "stop") + DONE,
        Reply("", "stop", None, None, "the model refused: I cannot."),
    ),
    "parts": (
        event({"content": [{"type": "thinking", "thinking": THOUGHT}]})
        + event({"content": [{"type": "text", "text": TEXT}]}, "stop"),
        Reply(TEXT, "stop", None, THOUGHT),
    ),
}


@pytest.mark.parametrize("name", STREAMS)
def test_streamed_reply(name):
    body, expected = STREAMS[name]
    assert replies.decode(body.encode(), "chat") == expected


def test_streamed_completion():
    lines = [f"data: {json.dumps({'choices': [{'text': t}]})}\n\n" for t in TEXT]
    body = "".join([*lines, DONE]).encode()
    assert replies.decode(body, "completion").text == TEXT


def test_streamed_choices_keep_their_order():
    body = event({"content": "b"}, "stop", index=1) + event({"content": "a"}, "stop")
    texts = [reply.text for reply in replies.decode_all(body.encode(), "chat")]
    assert texts == ["a", "b"]


def test_stream_that_ends_early_is_malformed():
    with pytest.raises(replies.MalformedReply, match="the stream ends early"):
        replies.decode(event({"content": TEXT}).encode(), "chat")


def test_error_in_a_stream():
    body = event({"content": "It"}) + 'data: {"error": {"message": "lost"}}\n\n'
    with pytest.raises(replies.ServerError, match="lost"):
        replies.decode(body.encode(), "chat")


def test_all_choices_are_read():
    body = chat({"content": "a"})
    body["choices"] += [{"message": None}, {"message": {"content": "b"}}, 3]
    texts = [r.text for r in replies.decode_all(json.dumps(body).encode(), "chat")]
    assert texts == ["a", "b"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[1, 2]",
        b"null",
        b'"text"',
        b"{",
        b"[" * 100_000,
        b'{"choices": []}',
        b'{"choices": [{}]}',
        b'{"choices": [null]}',
        b'{"choices": {"message": {"content": "x"}}}',
        b'{"choices": [{"message": {"content": null}, "finish_reason": "stop"}]}',
        b'{"choices": [{"message": {"content": 3}}]}',
        b'{"choices": [{"message": {"content": [3]}}]}',
        b'{"choices": [{"message": "text"}]}',
        b"<html>busy</html>",
        b"data: {\n\n",
        b"data: [1]\n\n",
        b"\xff",
    ],
)
def test_malformed_reply(body):
    with pytest.raises(replies.MalformedReply, match="^the reply is not "):
        replies.decode(body, "chat")


_NAMES = """
choices message content text usage prompt_tokens completion_tokens error type code
reasoning reasoning_content thinking_blocks refusal tool_calls function arguments name
finish_reason done done_reason detail delta object generated_text
""".split()  # noqa: SIM905
BODIES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["stop", "length", "text", "error", "json_tool_call"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(_NAMES), inner, max_size=4)
    ),
    max_leaves=15,
)


@given(body=BODIES, style=st.sampled_from(["chat", "completion"]))
def test_any_json_is_a_reply_or_malformed(body, style):
    try:
        results = replies.decode_all(json.dumps(body).encode(), style)
    except replies.MalformedReply:
        return
    assert all(isinstance(result.text, str) for result in results)


@given(choice=BODIES, style=st.sampled_from(["chat", "completion"]))
def test_any_choice_is_a_reply_or_malformed(choice, style):
    try:
        result = replies.decode(json.dumps({"choices": [choice]}).encode(), style)
    except replies.MalformedReply:
        return
    assert isinstance(result.text, str)


@given(st.lists(BODIES, max_size=4))
def test_any_stream_is_a_reply_or_malformed(events):
    body = "".join(f"data: {json.dumps(one)}\n\n" for one in events)
    try:
        result = replies.decode((body + DONE).encode(), "chat")
    except replies.MalformedReply:
        return
    assert isinstance(result.text, str)


@given(st.binary())
def test_any_bytes_are_a_reply_or_malformed(content):
    with pytest.raises(replies.MalformedReply):
        replies.decode(content, "chat")


@given(st.text() | st.builds(json.dumps, BODIES))
def test_any_error_body_has_a_message(text):
    message, _, _ = replies.error_fields(text)
    assert isinstance(message, str)


@pytest.mark.parametrize(
    "usage",
    [None, [], {"prompt_tokens": -1}, {"prompt_tokens": 1e9}, {"prompt_tokens": True}],
)
def test_invalid_usage_is_ignored(act, usage):
    content = act["message"]("x", usage=None)[:-1]
    content += b', "usage": ' + json.dumps(usage).encode() + b"}"
    assert replies.decode(content, "chat") == Reply("x", "stop", None)


@pytest.mark.parametrize("second", [{}, None, {"message": {"content": None}}])
def test_only_the_first_choice_must_be_usable(second):
    first = {"message": {"content": "x"}, "text": "x", "finish_reason": "stop"}
    body = json.dumps({"choices": [first, second]}).encode()
    for style in ("chat", "completion"):
        assert replies.decode(body, style) == Reply("x", "stop", None)
    body = json.dumps({"choices": [second, first]}).encode()
    with pytest.raises(replies.MalformedReply, match="the reply is not a completion"):
        replies.decode(body, "chat")
