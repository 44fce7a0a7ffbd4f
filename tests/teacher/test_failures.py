import pytest

from dsbs_jax.teacher import failures
from dsbs_jax.teacher.failures import RequestFailure, RunFailure

# Refusals of the account as servers write them: status, code, message.
QUOTA = [
    (
        429,
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    (429, None, "You exceeded your current quota, please check your plan"),
    (429, "billing_hard_limit_reached", "Billing hard limit has been reached"),
    (400, None, "Your credit balance is too low to access the Anthropic API."),
    (402, None, "Insufficient Balance"),
    (402, None, "Payment Required"),
    (402, "insufficient_credits", "This request requires more credits"),
    (403, None, "Quota exceeded for this project"),
    (400, "budget_exceeded", "Budget has been exceeded! Current cost: 10.1"),
    (429, None, "Budget has been exceeded! Current cost: 2, Max budget: 1"),
    (429, None, "You have reached your monthly spend limit"),
    (403, None, "You have run out of credits"),
    (429, None, "Your account has insufficient funds"),
    (429, None, "free quota has been used up"),
    (429, None, "You have exhausted your daily quota"),
]
# Refusals of one row.
ROWS = [
    (
        400,
        "content_filter",
        "The response was filtered due to the prompt triggering "
        "Azure OpenAI's content management policy.",
    ),
    (400, None, "The prompt was refused by the content filter"),
    (400, "context_length_exceeded", "This model's maximum context length is 4096"),
    (413, None, "Request too large"),
    (422, None, "Input validation error: `inputs` must have less than 1024 tokens"),
    (400, None, "too long"),
    (403, None, "Your chosen model requires moderation and your input was flagged"),
    (403, "content_policy_violation", "Forbidden"),
    (451, None, "Unavailable"),
    (404, None, "no endpoint for this context length"),
]
TEMPORARY = [
    (429, None, "slow down"),
    (429, "rate_limit_exceeded", "Rate limit reached for requests"),
    (408, None, "timeout"),
    (409, None, "conflict"),
    (425, None, "too early"),
    (500, None, "error"),
    (502, None, "bad gateway"),
    (503, None, "Loading model"),
    (504, None, "gateway timeout"),
    (529, "overloaded_error", "Overloaded"),
]
RUNS = [
    (401, "invalid_api_key", "Incorrect API key provided"),
    (403, None, "Country not supported"),
    (404, "model_not_found", "The model `x` does not exist"),
    (405, None, "Method Not Allowed"),
    (307, None, "Temporary Redirect"),
]


def classify(status, code, message, seconds=None, has_succeeded=False):
    return failures.for_status(status, message, code, seconds, has_succeeded)


@pytest.mark.parametrize(("status", "code", "message"), QUOTA)
@pytest.mark.parametrize("has_succeeded", [False, True])
def test_exhausted_quota_ends_the_run(status, code, message, has_succeeded):
    failure = classify(status, code, message, None, has_succeeded)
    assert isinstance(failure, RunFailure)
    assert failure.reason.startswith(f"{message}; the replies until now are stored")


def test_quota_per_minute_is_waited_for():
    failure = classify(429, None, "You exceeded your current quota", 36.0)
    assert isinstance(failure, RequestFailure) and failure.can_retry
    assert failure.retry_after == 36.0


@pytest.mark.parametrize(("status", "code", "message"), ROWS)
def test_refusal_of_a_row(status, code, message):
    failure = classify(status, code, message)
    assert isinstance(failure, RequestFailure)
    assert failure.request_specific and not failure.can_retry


@pytest.mark.parametrize(("status", "code", "message"), TEMPORARY)
def test_temporary_failure(status, code, message):
    failure = classify(status, code, message)
    assert isinstance(failure, RequestFailure)
    assert failure.can_retry and not failure.request_specific


@pytest.mark.parametrize(("status", "code", "message"), RUNS)
def test_refusal_of_every_request(status, code, message):
    assert isinstance(classify(status, code, message), RunFailure)
    later = classify(status, code, message, None, has_succeeded=True)
    # A firewall can refuse one text; a key that is wrong now stays wrong.
    assert isinstance(later, RunFailure) is (status == 401)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (502, 502),
        ("429", 429),
        ("rate_limit_exceeded", 429),
        ("overloaded_error", 429),
        ("context_length_exceeded", 400),
        ("invalid_request_error", 400),
        ("content_filter", 400),
        ("insufficient_quota", 402),
        (None, None),
        (1, None),
        (0, None),
        ("", None),
        ("server_error", None),
        ("4294967296", None),
        ("\u0664\u0662\u0669", None),
    ],
)
def test_status_of_an_error_code(code, status):
    assert failures.status_of(code) == status


# What to change: status, message, BASE_URL, and a part of the hint.
HINTS = [
    (404, "404 page not found", "http://h:11434", "/v1, try http://h:11434/v1"),
    (404, "Not Found", "http://h:8000/", "/v1, try http://h:8000/v1"),
    (405, "Method Not Allowed", "http://h", "/v1, try http://h/v1"),
    (None, "", "http://h:8080", "/v1, try http://h:8080/v1"),
    (404, "Not Found", "https://h/v1beta/openai", None),
    (404, "Not Found", "https://h/api/v1", None),
    (404, "Not Found", "https://h/v1/", None),
    (404, "Not Found", "https://openrouter/api", None),
    (404, "Not Found", "http://h/v1/chat/completions", "try http://h/v1"),
    (404, "Not Found", "http://h/v1/completions/", "try http://h/v1"),
    (404, "The model `x` does not exist", "http://h/v1", "check TEACHER_MODEL"),
    (404, "model 'x' not found", "http://h:11434", "check TEACHER_MODEL"),
    (404, "This is not a chat model", "http://h/v1", "STYLE = 'completion'"),
    (404, "This is a chat model and not supported", "http://h/v1", "STYLE = 'chat'"),
    (401, "bad key", "http://h/v1", "the key is read from KEY, which is not set"),
    (403, "no", "http://h", "the key is read from KEY"),
    (500, "error", "http://h/v1", None),
]


@pytest.mark.parametrize(("status", "reason", "url", "expected"), HINTS)
def test_hint(status, reason, url, expected):
    hint = failures.hint(status, reason, url, "KEY", has_key=False)
    if expected is None:
        assert hint == ""
    else:
        assert hint.startswith("; ") and expected in hint
