import pytest

from dsbs_jax.teacher import features, structured
from dsbs_jax.teacher.failures import RequestFailure, RunFailure
from dsbs_jax.teacher.features import ServerFeatures

BODY = {
    "model": "m",
    "messages": [{"role": "user", "content": "Q: x\nA:"}],
    "temperature": 0.0,
    "top_p": 0.9,
    "seed": 0,
    "stop": ["\nQ:"],
    "max_tokens": 256,
    "n": 3,
    "stream": True,
    "stream_options": {"include_usage": True},
    "top_k": 40,
    "logprobs": True,
    "response_format": structured.response_format(("visit", "remote")),
}
_LITERAL = (
    "[{'type': 'literal_error', 'loc': ('body', 'response_format', 'type'), 'msg': "
    "\"Input should be 'text' or 'json_object'\", 'input': 'json_schema'}]"
)

# Refusals as servers write them, and the change or the setting of the error.
REFUSALS = [
    (_LITERAL, "json_object with a schema"),
    (
        "Invalid parameter: 'response_format' of type 'json_schema' is not supported "
        "with this model.",
        "json_object with a schema",
    ),
    ("This response_format type is unavailable now: unknown", "json_object with a"),
    ("Unsupported: structured outputs are not enabled", "json_object with a schema"),
    ("guided decoding is not supported by this engine", "json_object with a schema"),
    ('Grammar error: Unimplemented keys: ["enum"]', "json_object with a schema"),
    ("json_schema: Extra inputs are not permitted", "json_object with a schema"),
    (
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
        "'max_completion_tokens' instead.",
        "the other name of max_tokens",
    ),
    ("max_tokens is deprecated, please use max_completion_tokens", "the other name"),
    ("Unsupported parameter: 'stop' is not supported with this model.", "without stop"),
    ("`stop` may not have more than 4 sequences: too many", "without stop"),
    (
        'Invalid JSON payload received. Unknown name "seed": Cannot find field.',
        "without seed",
    ),
    ("seed: Extra inputs are not permitted", "without seed"),
    ("Unrecognized request argument supplied: seed", "without seed"),
    ("Only one completion choice is allowed: 'n' must be 1", "without n"),
    ("n > 1 is not supported", "without n"),
    ("Invalid value for parameter n: must be at most 1", "without n"),
    ("best_of is not supported by this model", "without n"),
    ("Extra inputs are not permitted: stream_options", "without stream_options"),
    ("Streaming is not supported: unsupported parameter 'stream'", "without stream_op"),
]
SETTINGS = [
    (
        "Unsupported value: 'temperature' does not support 0.0 with this model. "
        "Only the default (1) value is supported.",
        "TEMPERATURE, set TEMPERATURE = None",
    ),
    ("`temperature` has to be a strictly positive float: must be > 0", "TEMPERATURE"),
    ("`temperature` and `top_p` cannot both be specified", "TEMPERATURE"),
    ("Unsupported parameter: 'top_p' is not supported with this model.", "TOP_P"),
    ("Unrecognized request argument supplied: top_k", r"EXTRA_BODY\['top_k'\], remove"),
    ("top_k: Extra inputs are not permitted", r"EXTRA_BODY\['top_k'\]"),
    (
        "logprobs are not supported: unsupported parameter 'logprobs'",
        r"EXTRA_BODY\['logprobs'\]",
    ),
    ("This model does not support parameter logprobs", r"EXTRA_BODY\['logprobs'\]"),
]
# Refusals that concern a text or the server.
OTHER = [
    "This model's maximum context length is 4096 tokens. However, you requested 5000 "
    "tokens (4744 in the messages, 256 in the completion). max_tokens is too large",
    "'max_tokens' is too large: 256. This model's maximum context length is 100 tokens "
    "and your request has 90 input tokens",
    "The prompt was refused by the content filter",
    "Your input was flagged: does not comply with the policy on temperature",
    "The server is overloaded",
    "Please stop sending requests",
    "no such model",
    "Internal Server Error",
    "CUDA out of memory",
    "invalid prompt",
    "The seeds of the plant are not allowed",
]


def learn(server, said, body=BODY, detail=""):
    failure = RequestFailure(f"status 400: {said}", detail=detail)
    return server.learn(failure, body, server.changes)


@pytest.mark.parametrize(("said", "change"), REFUSALS)
def test_refusal_of_a_field_changes_the_next_requests(said, change):
    server = ServerFeatures()
    assert learn(server, said).startswith(change)
    assert server.adapt(BODY) != BODY


@pytest.mark.parametrize(("said", "setting"), SETTINGS)
def test_refusal_without_a_replacement_names_the_setting(said, setting):
    with pytest.raises(RunFailure) as caught:
        learn(ServerFeatures(), said)
    assert said in caught.value.reason
    with pytest.raises(AssertionError, match=setting):
        raise AssertionError(caught.value.reason)


@pytest.mark.parametrize("said", OTHER)
def test_other_refusals_change_nothing(said):
    server = ServerFeatures()
    assert learn(server, said) is None
    assert server.adapt(BODY) == BODY


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("stop", "Unsupported parameter: 'stop' is not supported."),
        ("temperature", "'temperature' does not support 0"),
        ("response_format", "json_schema is not supported"),
    ],
)
def test_field_that_was_not_sent_is_not_blamed(field, said):
    body = {name: value for name, value in BODY.items() if name != field}
    assert learn(ServerFeatures(), said, body) is None


def test_field_that_the_server_reports_apart_from_the_message():
    server = ServerFeatures()
    said = "Unsupported parameter"
    assert learn(server, said, detail="Unsupported parameter 'stop'") == "without stop"


def test_json_of_a_schema_becomes_plain_json_and_then_text():
    server = ServerFeatures()
    schema = BODY["response_format"]["json_schema"]["schema"]
    forms, texts = [], []
    for _ in range(3):
        learn(server, _LITERAL)
        body = server.adapt(BODY)
        forms.append(body.get("response_format"))
        texts.append(body["messages"][0]["content"])
    plain = {"type": "json_object"}
    assert forms == [{**plain, "schema": schema}, plain, None]
    asked = 'Reply with a JSON object with the fields "rationale" and "label". "label" '
    assert texts[0] == "Q: x\nA:"
    assert texts[1] == texts[2] == asked + 'is one of ["visit", "remote"].\n\nQ: x\nA:'
    assert server.changes == (features.NO_RESPONSE_FORMAT,)
    with pytest.raises(RunFailure, match="STRUCTURED = True, set STRUCTURED = False"):
        learn(server, _LITERAL)
    assert BODY["messages"][0]["content"] == "Q: x\nA:"


@pytest.mark.parametrize(
    ("sent", "renamed"),
    [("max_tokens", "max_completion_tokens"), ("max_completion_tokens", "max_tokens")],
)
def test_token_limit_keeps_its_value_under_the_other_name(sent, renamed):
    server = ServerFeatures()
    said = f"Unsupported parameter: '{sent}' is not supported with this model."
    learn(server, said, {"model": "m", sent: 9})
    assert server.adapt({"model": "m", sent: 9}) == {"model": "m", renamed: 9}
    with pytest.raises(RunFailure, match="MAX_TOKENS_NAME"):
        learn(server, said, {"model": "m", sent: 9})


def test_several_fields_are_found_one_after_the_other():
    server = ServerFeatures()
    for name in ("seed", "stop", "n"):
        learn(server, f"Unknown field: '{name}'")
    assert server.changes == ("without seed", "without stop", "without n")
    assert not {"seed", "stop", "n"} & server.adapt(BODY).keys()


def test_request_that_was_sent_before_a_change_is_sent_again():
    server = ServerFeatures()
    failure = RequestFailure("status 400: Unknown field: 'seed'")
    before = server.changes
    assert server.learn(failure, BODY, before) == "without seed"
    # The second of two concurrent requests learns nothing, and is sent again.
    assert server.learn(failure, BODY, before) == "without seed"
    assert server.changes == ("without seed",)


def test_after_a_reply_a_refusal_concerns_its_row():
    server = ServerFeatures()
    server.accept()
    assert learn(server, _LITERAL) is None


def test_a_response_format_of_the_user_is_not_replaced():
    body = {**BODY, "response_format": {"type": "regex", "pattern": "a"}}
    with pytest.raises(RunFailure, match="EXTRA_BODY\\['response_format'\\]"):
        learn(ServerFeatures(), "response_format regex is not supported", body)
