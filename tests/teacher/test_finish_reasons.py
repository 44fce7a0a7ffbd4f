import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsbs_jax.teacher.finish_reasons import may_be_incomplete

# The names that servers document, and where they come from.
CUT = [
    "length",  # OpenAI, vLLM, SGLang, Ollama, TGI
    "LENGTH",
    "max_tokens",  # Anthropic
    "MAX_TOKENS",  # Gemini
    "FinishReason.MAX_TOKENS",
    "FINISH_REASON_MAX_TOKENS",
    "maxTokens",
    "max_output_tokens",  # OpenAI's Responses API
    "model_length",  # Mistral
    "max_length",
    "limit",  # llama.cpp
    "token_limit",
    "truncated",
    "model_context_window_exceeded",  # Anthropic
    "content_filter",  # OpenAI, Azure
    "content-filter",
    "content_filtered",  # Bedrock
    "SAFETY",  # Gemini
    "RECITATION",
    "PROHIBITED_CONTENT",
    "BLOCKLIST",
    "SPII",
    "MALFORMED_FUNCTION_CALL",
    "guardrail_intervened",  # Bedrock
    "ERROR_TOXIC",  # Cohere
    "refusal",  # Anthropic
    "error",  # OpenRouter
    "abort",  # vLLM, SGLang
    "cancelled",
    "insufficient_system_resource",  # DeepSeek
    "pause_turn",  # Anthropic
    "load",  # Ollama: the model was only loaded
    "time_out",
    "incomplete",
]
COMPLETE = [
    "stop",
    "STOP",
    "FinishReason.STOP",
    "stop_sequence",
    "end_turn",
    "eos",
    "eos_token",
    "EOS_TOKEN",
    "word",
    "COMPLETE",
    "completed",
    "tool_calls",
    "tool_use",
    "function_call",
]
UNREPORTED = [None, "", "null", "unknown", "FINISH_REASON_UNSPECIFIED", "OTHER"]


@pytest.mark.parametrize("reason", CUT)
@pytest.mark.parametrize("tokens", [None, 5])
def test_reason_of_a_cut_reply(reason, tokens):
    assert may_be_incomplete(reason, tokens, 256)


@pytest.mark.parametrize("reason", COMPLETE)
def test_reason_of_a_complete_reply(reason):
    assert not may_be_incomplete(reason, None, 256)
    assert not may_be_incomplete(reason, 255, 256)
    # Servers that report "stop" for each reply, and those that count other tokens.
    assert may_be_incomplete(reason, 256, 256)
    assert not may_be_incomplete(reason, 257, 256)


@pytest.mark.parametrize("reason", UNREPORTED)
@pytest.mark.parametrize(
    ("tokens", "expected"), [(None, False), (255, False), (256, True), (900, True)]
)
def test_unreported_reason_is_judged_by_the_tokens(reason, tokens, expected):
    assert may_be_incomplete(reason, tokens, 256) is expected


@pytest.mark.parametrize(
    ("tokens", "expected"), [(None, True), (255, False), (256, True)]
)
def test_unknown_reason_is_believed_only_below_the_limit(tokens, expected):
    assert may_be_incomplete("glorious", tokens, 256) is expected


@given(st.none() | st.text(), st.none() | st.integers(), st.none() | st.integers())
def test_any_reason_gives_an_answer(reason, tokens, limit):
    assert may_be_incomplete(reason, tokens, limit) in (True, False)
