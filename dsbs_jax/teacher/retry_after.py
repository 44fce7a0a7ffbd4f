"""How long a server asks to wait before the next attempt."""

import datetime
import email.utils
import math
import re
import time
from collections.abc import Mapping

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
# Google: "retryDelay": "36s". OpenAI and others: "Please try again in 6m0.5s."
_IN_TEXT = re.compile(
    r'(?:"retryDelay"\s*:\s*"|(?:try again|retry) (?:in|after) )'
    r"((?:\d+(?:\.\d+)? ?(?:ms|s|m|h)(?![a-z]) ?)+|\d+(?:\.\d+)?(?= seconds?))",
    re.IGNORECASE,
)


def seconds_to_wait(headers: Mapping[str, str], text: str) -> float | None:
    """Returns the seconds that a refusal asks to wait, or None.

    Args:
        headers: The headers of the response.
        text: Its body.
    """
    milliseconds = parse_retry_after(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    seconds = parse_retry_after(headers.get("retry-after"))
    if seconds is None and (match := _IN_TEXT.search(text)):
        return _duration(match[1])
    return seconds


def parse_retry_after(header: str | None) -> float | None:
    """Returns the seconds of a Retry-After header, or None if it is not valid.

    The header holds seconds or a date.
    """
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            date = email.utils.parsedate_to_datetime(header)
        except (ValueError, OverflowError):
            return None
        if date.tzinfo is None:
            date = date.replace(tzinfo=datetime.UTC)
        seconds = max(0.0, date.timestamp() - time.time())
    return seconds if 0 <= seconds < math.inf else None


def _duration(text: str) -> float:
    """Returns seconds: "6m0.5s" -> 360.5, "20ms" -> 0.02, "7" -> 7.0."""
    parts = re.findall(r"(\d+(?:\.\d+)?) ?(ms|s|m|h)?", text.lower())
    return sum(float(number) * _UNITS.get(unit, 1.0) for number, unit in parts)
