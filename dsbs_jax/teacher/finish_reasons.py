"""Decides from a server's finish reason whether a reply may be incomplete.

Servers use many names for the same reason ("length", "max_tokens", "MAX_TOKENS",
"model_length"), and some report no reason or always "stop". An answer that may have
been cut off is never a label ("vis" for "visit").
"""

import re

# How servers name a complete reply.
_COMPLETE = frozenset(
    """
    stop stopped stop_sequence stop_string stop_str stop_token stop_word word eos eot
    eos_token eos_token_id end end_turn end_of_text end_of_turn complete completed
    finished done success normal natural tool_calls tool_call tool_use function_call
    """.split()  # noqa: SIM905  A list of strings would take 30 lines.
)
# Parts of the names of all other reasons that the documentation of servers lists.
_INCOMPLETE = re.compile(
    "length|max|limit|token|trunc|exceed|incomplete|partial|budget|filter|safety|"
    "recit|block|prohibit|spii|sensitive|moderat|guardrail|refus|policy|error|fail|"
    "malformed|abort|cancel|time_?out|interrupt|insufficient|load|pause|disconnect|"
    "preempt|kill|terminat"
)
# Names with which a server says that it does not know the reason.
_UNREPORTED = frozenset({"", "null", "none", "unknown", "unspecified", "other"})
_PREFIX = re.compile(r"^finish_?reason_")


def may_be_incomplete(
    reason: str | None, tokens: int | None, max_tokens: int | None
) -> bool:
    """Returns whether the end of a reply may be missing.

    Args:
        reason: The server's finish reason, or None.
        tokens: Tokens of the completion that the server counted, or None.
        max_tokens: The token limit of the request, or None if it is not known.
    """
    name = _normalize(reason)
    is_complete = name in _COMPLETE
    if not is_complete and _INCOMPLETE.search(name):
        return True
    if tokens is None or max_tokens is None:
        return not is_complete and name not in _UNREPORTED
    # Some servers report "stop" for each reply. More tokens than the limit show that
    # the server counts other tokens too, so its "stop" is believed.
    return tokens == max_tokens if is_complete else tokens >= max_tokens


def _normalize(reason: str | None) -> str:
    """Returns the name in one form: "FinishReason.MAX_TOKENS" -> "max_tokens"."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|[^A-Za-z0-9]+", "_", reason or "")
    return _PREFIX.sub("", words.strip("_").lower())
