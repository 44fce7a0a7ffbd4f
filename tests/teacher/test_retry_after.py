import email.utils
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsbs_jax.teacher.retry_after import parse_retry_after, seconds_to_wait


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_retry_after(header, seconds):
    assert parse_retry_after(header) == seconds


def test_retry_after_date_counts_from_now():
    date = email.utils.formatdate(time.time() + 90, usegmt=True)
    assert 88 < parse_retry_after(date) <= 90


@given(st.text(st.characters(max_codepoint=255)))
def test_retry_after_never_raises(header):
    assert (parse_retry_after(header) or 0.0) >= 0


@pytest.mark.parametrize(
    ("headers", "text", "seconds"),
    [
        ({"retry-after": "7"}, "", 7.0),
        ({"retry-after-ms": "250", "retry-after": "1"}, "", 0.25),
        ({}, "Rate limit reached. Please try again in 20ms. Visit", 0.02),
        ({}, "Limit 3. Please try again in 6m0.5s.", 360.5),
        ({}, "Please try again in 1h2m3s.", 3723.0),
        ({}, '{"@type": "RetryInfo", "retryDelay": "36s"}', 36.0),
        ({}, "Please retry in 36.5s.", 36.5),
        ({}, "Please retry after 60 seconds.", 60.0),
        ({}, "try again in a few minutes", None),
        ({}, "try again later", None),
        ({"retry-after": "soon"}, "Please try again in 2s", 2.0),
    ],
)
def test_seconds_of_headers_and_texts(headers, text, seconds):
    assert seconds_to_wait(headers, text) == pytest.approx(seconds)


@given(st.text())
def test_any_text_gives_seconds_or_none(text):
    assert (seconds_to_wait({}, f"try again in {text}") or 0.0) >= 0
