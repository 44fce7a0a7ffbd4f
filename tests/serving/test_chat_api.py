"""OpenAI's protocol, tested with the client of OpenAI."""

import math

import openai
import pytest

from support.serving import FakeStudent, error, running

MESSAGES = [{"role": "user", "content": "line: no signal"}]


@pytest.fixture
def client(server):
    return connect(server)


def connect(server, key="unused"):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)


def complete(client, **fields):
    fields = {"model": "tickets", "messages": MESSAGES, **fields}
    return client.chat.completions.create(**fields)


def test_label_is_the_content(client):
    completion = complete(client)
    (choice,) = completion.choices
    assert (choice.index, choice.finish_reason, choice.logprobs) == (0, "stop", None)
    assert (choice.message.role, choice.message.content) == ("assistant", "line")
    assert (completion.model, completion.object) == ("tickets", "chat.completion")
    assert completion.id.startswith("chatcmpl-")
    # "predict: line: no signal" and "line", with their end tokens.
    usage = completion.usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (5, 2)
    assert usage.total_tokens == 7


def test_prompt_tokens_are_those_that_the_student_reads(client):
    messages = [{"role": "user", "content": "line" + " x" * 50}]
    assert complete(client, messages=messages).usage.prompt_tokens == 12
    # The separator of segments is one token.
    messages = [{"role": "user", "content": "line a</s>b"}]
    assert complete(client, messages=messages).usage.prompt_tokens == 6


def test_last_message_is_the_input(client, student):
    messages = [
        {"role": "system", "content": "You are a student."},
        {"role": "user", "content": "billing"},
        {"role": "assistant", "content": "billing"},
        {"role": "user", "content": [{"type": "text", "text": "line"}]},
    ]
    assert complete(client, messages=messages).choices[0].message.content == "line"
    assert student.calls == [["line"]]


def test_stream_gives_the_same_answer(client):
    chunks = [*complete(client, stream=True)]
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1
    texts = [chunk.choices[0].delta.content for chunk in chunks]
    assert "".join(text for text in texts if text) == "line"
    assert chunks[0].choices[0].delta.role == "assistant"
    reasons = [chunk.choices[0].finish_reason for chunk in chunks]
    assert reasons == [None, "stop"]


def test_stream_ends_with_the_usage_if_requested(client):
    chunks = [*complete(client, stream=True, stream_options={"include_usage": True})]
    assert [chunk.usage for chunk in chunks[:-1]] == [None, None]
    assert (chunks[-1].choices, chunks[-1].usage.total_tokens) == ([], 7)


def test_logprobs_are_the_logarithms_of_the_probabilities(client):
    logprobs = complete(client, logprobs=True, top_logprobs=2).choices[0].logprobs
    (token,) = logprobs.content
    assert token.token == bytes(token.bytes).decode() == "line"
    assert token.logprob == pytest.approx(math.log(0.8))
    found = [(top.token, round(math.exp(top.logprob), 6)) for top in token.top_logprobs]
    assert found == [("line", 0.8), ("billing", 0.1)]


def test_logprobs_without_alternatives(client):
    for fields in ({}, {"top_logprobs": 0}):
        (token,) = complete(client, logprobs=True, **fields).choices[0].logprobs.content
        assert (token.token, token.top_logprobs) == ("line", [])


def test_free_answer_has_its_own_logprob_and_no_alternatives():
    with running({"tickets": FakeStudent(labels=None)}) as server:
        client = connect(server)
        (token,) = complete(client, logprobs=True).choices[0].logprobs.content
        assert (token.token, token.logprob) == ("line", -0.25)
        with pytest.raises(openai.BadRequestError, match="no closed label set"):
            complete(client, logprobs=True, top_logprobs=1)


def test_free_answer_without_an_end_is_reported():
    decoding = type("Decoding", (), {"max_decode_length": 1})
    student = FakeStudent(labels=None, decoding=decoding)
    with running({"tickets": student}) as server:
        assert complete(connect(server)).choices[0].finish_reason == "length"


def test_logprob_of_an_answer_with_rationale_is_refused():
    student = FakeStudent(single_task=True)
    with running({"tickets": student}) as server:
        assert complete(connect(server)).choices[0].message.content == "line"
        with pytest.raises(openai.BadRequestError, match="that of its rationale"):
            complete(connect(server), logprobs=True)


@pytest.mark.parametrize(
    "fields",
    [
        {"max_tokens": 5},
        {"max_completion_tokens": 5},
        {"n": 2},
        {"temperature": 0.7},
        {"top_p": 0.5},
        {"seed": 1},
        {"stop": ["."]},
        {"presence_penalty": 0.5},
        {"frequency_penalty": 0.5},
        {"logit_bias": {"5": 1}},
        {"response_format": {"type": "json_object"}},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"tool_choice": "none"},
        {"user": "me"},
        {"metadata": {"a": "b"}},
        {"store": True},
        {"reasoning_effort": "low"},
        {"extra_body": {"explain": True}},
        {"logprobs": True, "top_logprobs": 21},
        {"top_logprobs": 1},
        {"stream_options": {"include_usage": True}},
        {"messages": []},
        {"messages": [{"role": "assistant", "content": "a"}]},
        {"messages": [*MESSAGES, {"role": "assistant", "content": "li"}]},
        {"messages": [{"role": "user", "content": " "}]},
        {"messages": [{"role": "user", "content": "a" * 20_001}]},
        {"messages": [{"role": "user", "content": "a", "name": "me"}]},
        {"messages": [{"role": "tool", "content": "a", "tool_call_id": "1"}]},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "x"}}],
                }
            ]
        },
    ],
    ids=str,
)
def test_what_the_student_cannot_do_is_refused(client, student, fields):
    with pytest.raises(openai.BadRequestError) as refused:
        complete(client, **fields)
    assert refused.value.type == "invalid_request_error"
    assert refused.value.param
    assert student.calls == []


@pytest.mark.parametrize(
    "fields", [{"n": 1}, {"temperature": 0}, {"temperature": 0.0}, {"stream": False}]
)
def test_what_the_student_does_anyway_is_accepted(client, fields):
    assert complete(client, **fields).choices[0].message.content == "line"


def test_unknown_model_is_an_error_of_the_client(client):
    with pytest.raises(openai.NotFoundError) as refused:
        complete(client, model="gpt")
    assert refused.value.code == "model_not_found"


def test_models_are_listed(client):
    (model,) = client.models.list().data
    assert (model.id, model.object, model.owned_by) == ("tickets", "model", "dsbs_jax")
    assert model.labels == ["billing", "line", "other"]
    assert client.models.retrieve("tickets") == model
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt")


def test_content_that_is_not_json_has_the_status_of_openai(server):
    headers = {"Content-Type": "application/json"}
    path = "/v1/chat/completions"
    for content in (b"{", b"\xff", b"[" * 100_000, b""):
        response = server.client.post(path, content=content, headers=headers)
        assert response.status_code == 400
        assert error(response)["type"] == "invalid_request_error"


def test_full_queue_is_a_rate_limit(server):
    server.service.store.get(None).batcher._queue_size = 0
    with pytest.raises(openai.RateLimitError) as refused:
        complete(connect(server))
    assert refused.value.response.headers["Retry-After"] == "1"


def test_key_of_the_client_is_accepted(student):
    with running({"tickets": student}, api_key="secret") as server:
        assert complete(connect(server, "secret")).choices[0].message.content == "line"
        with pytest.raises(openai.AuthenticationError):
            complete(connect(server, "other"))
