"""Tells whether a refusal concerns one request, all requests, or a setting.

A server that refuses one row must not end the run; a server that refuses every request
must end it soon, with its own words and the setting to change.
"""

import dataclasses
import re
import urllib.parse

# Statuses after which another attempt may succeed; also all from 500.
_RETRIED_STATUS = frozenset({408, 409, 425, 429})
# The server rejects this request for its content; other requests may succeed.
_REQUEST_SPECIFIC_STATUS = frozenset({400, 413, 422, 451})
# Every further request fails in the same way.
_FINAL_STATUS = frozenset({401, 402, 407})
_NOT_FOUND = (404, 405)

_QUOTA_CODES = frozenset(
    {
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "insufficient_balance",
        "insufficient_credits",
        "credit_limit_reached",
        "budget_exceeded",
    }
)
_QUOTA = re.compile(
    r"insufficient[ _](quota|balance|credit|fund)|exceeded your current quota"
    r"|quota (has been |is )?(exhausted|exceeded|used up)|exhausted .{0,20}quota"
    r"|credit balance is too low|(out of|not enough|no|more) credits|payment required"
    r"|billing .{0,20}limit|budget has been exceeded|(spend|usage) limit",
    re.IGNORECASE,
)
# A refusal of the text of one request, with any status.
_CONTENT = re.compile(
    r"content[ _-]?(filter|policy|management)|moderation|flagged|responsible ?ai"
    r"|safety|harmful|context[ _](length|window|size)|maximum context"
    r"|prompt is too long|(prompt|input) tokens|too many tokens|reduce the length"
    r"|exceeds? the context",
    re.IGNORECASE,
)
_VERSION = re.compile(r"/v\d|/openai(/|$)|/api(/|$)")


@dataclasses.dataclass(eq=False)
class RequestFailure(Exception):
    """A request, or one attempt at it, failed.

    Attributes:
        reason: The last error.
        request_specific: Whether the server rejects the content of this request, which
            says nothing about other requests. A retry cannot help.
        retry_after: Seconds that the server asks to wait, or None.
        may_be_billed: Whether the server may have processed the request nevertheless.
        status: The HTTP status, or the one that the reply reports; None without one.
        can_retry: Whether another attempt may succeed.
        detail: The complete refusal, with the field that the server reports.
    """

    reason: str
    request_specific: bool = False
    retry_after: float | None = None
    may_be_billed: bool = False
    status: int | None = None
    can_retry: bool = True
    detail: str = ""


@dataclasses.dataclass(eq=False)
class RunFailure(Exception):
    """Every request of the run fails in this way.

    Attributes:
        reason: The error, and what to do.
        detail: The complete refusal, with the field that the server reports.
        status: The HTTP status, or the one that the reply reports; None without one.
    """

    reason: str
    detail: str = ""
    status: int | None = None


def is_about_content(reason: str) -> bool:
    """Returns whether a refusal is about the text of a request or its length."""
    return _CONTENT.search(reason) is not None


def for_status(
    status: int,
    reason: str,
    code: str | int | None,
    retry_after: float | None,
    has_succeeded: bool,
) -> RequestFailure | RunFailure:
    """Returns the failure that a status describes.

    Args:
        status: The HTTP status, or the one that a reply reports.
        reason: The status and the server's message.
        code: The server's code or name of the error, or None.
        retry_after: Seconds that the server asks to wait, or None.
        has_succeeded: Whether the server has answered another request of this run.
    """
    if _is_quota(status, reason, code, retry_after):
        return RunFailure(
            f"{reason}; the replies until now are stored, and the same command resumes "
            "when the account may send requests again",
            status=status,
        )
    if status in _RETRIED_STATUS or status >= 500:
        return RequestFailure(reason, retry_after=retry_after, status=status)
    if status in _REQUEST_SPECIFIC_STATUS or is_about_content(f"{code} {reason}"):
        return RequestFailure(
            reason, request_specific=True, status=status, can_retry=False
        )
    if has_succeeded and status not in _FINAL_STATUS:
        # A firewall, for example, refuses certain texts with 403.
        return RequestFailure(reason, status=status, can_retry=False)
    return RunFailure(reason, status=status)


def _is_quota(
    status: int, reason: str, code: str | int | None, retry_after: float | None
) -> bool:
    if status == 402 or str(code).lower() in _QUOTA_CODES:
        return True
    # With a time to wait, the quota is one per minute.
    is_limit = status in (400, 403) or (status == 429 and retry_after is None)
    return is_limit and _QUOTA.search(reason) is not None


def status_of(code: str | int | None) -> int | None:
    """Returns the HTTP status that a server's error code means, or None.

    "429" -> 429, "rate_limit_exceeded" -> 429, "context_length_exceeded" -> 400
    """
    text = str(code or "").lower()
    if text.isascii() and text.isdigit() and 400 <= int(text[:4]) < 600:
        return int(text)
    if text in _QUOTA_CODES:
        return 402
    if "rate_limit" in text or "overloaded" in text or "too_many" in text:
        return 429
    if "invalid" in text or "context" in text or "content" in text:
        return 400
    return None


def hint(
    status: int | None,
    reason: str,
    base_url: str,
    api_key_variable: str,
    has_key: bool,
) -> str:
    """Returns what to change after a refusal of every request: "; ...", or ""."""
    if status in (401, 403):
        missing = "" if has_key else ", which is not set"
        return f"; the key is read from {api_key_variable}{missing}"
    path = urllib.parse.urlsplit(base_url).path.rstrip("/")
    if path.endswith("/completions"):
        short = base_url.rstrip("/").removesuffix("/completions").removesuffix("/chat")
        return f"; BASE_URL ends before the path of the API, try {short}"
    if re.search(r"chat[ -](model|template)", reason):
        return "; STYLE = 'completion' sends no chat, STYLE = 'chat' does"
    if "model" in reason.lower() and status is not None:
        return "; check TEACHER_MODEL"
    if not _VERSION.search(path) and (status is None or status in _NOT_FOUND):
        return f"; BASE_URL usually ends with /v1, try {base_url.rstrip('/')}/v1"
    return ""
