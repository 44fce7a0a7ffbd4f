"""`/v1/predict`, through a real connection."""

import json

import pytest

from dsbs_jax.data.tables import ColumnMap
from support.serving import FakeStudent, answers, error, post, running, until


def test_text_is_answered_with_probabilities(server):
    response = server.predict("line: no signal")
    assert response.status_code == 200
    assert response.json() == {
        "model": "tickets",
        "predictions": [
            {
                "predicted_label": "line",
                "log_probability": -1.5,
                "probabilities": {"billing": 0.1, "line": 0.8, "other": 0.1},
            }
        ],
    }


def test_list_is_answered_in_order(server):
    names = ["billing", "line", "billing", "other", "line"] * 10
    response = server.predict([f"{name}: {i}" for i, name in enumerate(names)])
    answers = response.json()["predictions"]
    assert [answer["predicted_label"] for answer in answers] == names


def test_rationales_are_generated_for_the_requests_that_ask_for_them(server, student):
    student.released.clear()
    first = server.send(post({"input": "line: a"}))
    until(student.started.is_set)
    batcher = server.service.store.get(None).batcher
    plain = server.send(post({"input": "line: b"}))
    until(lambda: batcher.queue_length == 1)
    explained = server.send(post({"input": "other: cc", "explain": True}))
    until(lambda: batcher.queue_length == 2)
    student.released.set()
    for connection, rationale in [
        (first, None),
        (plain, None),
        (explained, "version 1: other: cc has 9 characters"),
    ]:
        (answer,) = answers(connection)
        assert answer.get("predicted_rationale") == rationale
        connection.close()
    assert student.calls == [["line: a"], ["line: b", "other: cc"]]


def test_single_task_student_explains_in_its_answer():
    student = FakeStudent(explain_prefix=None, single_task=True)
    with running({"tickets": student}) as server:
        (answer,) = server.predict("line", explain=True).json()["predictions"]
        assert answer["predicted_rationale"] == "version 1: line has 4 characters"
        (answer,) = server.predict("line").json()["predictions"]
        assert "predicted_rationale" not in answer


def test_free_answers_have_no_probabilities():
    with running({"tickets": FakeStudent(labels=None)}) as server:
        (answer,) = server.predict("42 is it").json()["predictions"]
        assert answer == {"predicted_label": "42", "log_probability": -0.25}


def test_student_without_rationales_names_the_reason():
    with running({"plain": FakeStudent(explain_prefix=None)}) as server:
        response = server.predict("line", explain=True)
        assert response.status_code == 422
        expected = "explain: the student 'plain' was not trained to give rationales"
        assert error(response)["message"] == expected
        assert server.predict("line").status_code == 200


def test_object_is_formatted_with_the_template():
    columns = ColumnMap(template="{topic}: {text}, urgent {urgent}, {hours} h")
    student = FakeStudent()
    with running({"tickets": student}, columns=columns) as server:
        row = {"topic": "line", "text": "dead", "urgent": True, "hours": 2.0, "id": 7}
        response = server.predict([row, "billing: as it is"])
        assert response.status_code == 200
        assert student.calls == [["line: dead, urgent true, 2 h", "billing: as it is"]]
        del row["text"]
        response = server.predict(row)
        assert response.status_code == 422
        message = (
            "input: the column 'text' is missing; found 'topic', 'urgent', 'hours'"
        )
        assert error(response)["message"].startswith(message)


def test_object_is_formatted_with_the_template_of_the_student():
    students = {
        "tickets": FakeStudent(template="{topic}: {text}"),
        "mail": FakeStudent(input_column="subject"),
    }
    row = {"topic": "line", "text": "dead", "subject": "other: mail", "own": "line"}
    with running(students) as server:
        for name in students:
            assert server.predict([row, "billing: text"], model=name).status_code == 200
        cards = server.client.get("/v1/models").json()["data"]
        assert [card["columns"] for card in cards] == [["topic", "text"], ["subject"]]
    assert students["tickets"].calls == [["line: dead", "billing: text"]]
    assert students["mail"].calls == [["other: mail", "billing: text"]]
    student = FakeStudent(template="{topic}: {text}")
    with running({"tickets": student}, columns=ColumnMap(input="own")) as server:
        assert server.predict([row]).status_code == 200
    assert student.calls == [["line"]]


@pytest.mark.parametrize("value", ["NaN", "1e999", "null", "[1]", '{"a": 1}', '" "'])
def test_column_without_a_text_is_refused(value):
    columns = ColumnMap(template="{a}")
    with running({"tickets": FakeStudent()}, columns=columns) as server:
        response = server.raw(f'{{"input": {{"a": {value}}}}}')
        assert response.status_code == 422
        assert error(response)["message"].startswith("input: ")
        assert server.raw(f'{{"input": {{"a": {10**400}}}}}').status_code == 200


def test_request_names_one_of_several_models():
    students = {"a": FakeStudent(labels=None), "runs/b": FakeStudent()}
    with running(students) as server:
        assert server.predict("x", model="a").json()["model"] == "a"
        assert server.predict("x", model="b").json()["model"] == "b"
        response = server.predict("x")
        assert (response.status_code, error(response)["param"]) == (422, "model")
        response = server.predict("x", model="c")
        assert response.status_code == 404
        assert error(response)["message"] == (
            "there is no model 'c', expected one of 'a', 'b'"
        )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"input": " \n"}, "input: the text is blank"),
        ({"input": ["a", ""]}, "input[1]: the text is blank"),
        ({"input": "\ud800"}, "input: the text holds a lone surrogate"),
        ({"input": []}, "input: 0 inputs, expected 1 to 64 (max_inputs)"),
        ({"input": ["a"] * 65}, "input: 65 inputs, expected 1 to 64 (max_inputs)"),
        ({"input": "a" * 20_001}, "input: 20,001 characters, expected at most 20,000"),
        ({"input": ["a", 3]}, "input[1]: must be a text or an object"),
        ({"input": [["a"]]}, "input[0]: must be a text or an object"),
        ({"input": None}, "input: must be a text or an object or a list"),
        ({"input": {"input": ["a"]}}, "input: field 'input' must be text, found list"),
        (
            {"input": {"text": "a"}},
            "input: the column 'input' is missing; found 'text'",
        ),
        ({"input": {}}, "input: the column 'input' is missing; found no columns"),
        ({"input": 10**400}, "input: must be a text or an object or a list"),
        ({}, "input: is missing"),
        ({"input": "a", "explain": 1}, "explain: must be true or false"),
        ({"input": "a", "explain": "yes"}, "explain: must be true or false"),
        ({"input": "a", "labels": ["b"]}, "labels: this server has no such field"),
        ([], "the body: must be an object"),
        ("text", "the body: must be an object"),
    ],
)
def test_wrong_fields_are_named(server, body, message):
    response = server.raw(json.dumps(body))
    assert response.status_code == 422
    assert error(response)["message"].startswith(message)
    assert error(response)["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\x00",
        b'{"input": "\xff"}',
        b'{"input": ',
        b"nonsense",
        b"[" * 100_000,
        b'{"input": ' * 50_000,
        b'{"input": ' + b"1" * 100_000 + b"}",
        b"\x00" * 100,
    ],
    ids=range(8),
)
def test_other_content_than_json_is_refused(server, content):
    response = server.raw(content)
    assert response.status_code == 400
    assert error(response)["code"] == "json"
    assert server.predict("line").status_code == 200


def test_empty_body_is_refused(server):
    response = server.raw(b"")
    assert (response.status_code, error(response)["message"]) == (
        422,
        "the body: is missing",
    )


def test_error_of_the_computation_does_not_show_the_input(server):
    response = server.predict("fail secret")
    assert response.status_code == 500
    assert error(response)["code"] == "bug"
    assert "secret" not in response.text
    assert server.predict("line").status_code == 200


def test_full_queue_is_reported_with_a_time(student):
    with running({"tickets": student}, queue_size=2, max_inputs=2) as server:
        student.released.clear()
        held = [server.send(post({"input": "line"}))]
        until(student.started.is_set)
        held.append(server.send(post({"input": ["line", "line"]})))
        until(lambda: server.metric('dsbs_queue_length{model="tickets"}') == 2)
        response = server.predict("line")
        assert response.status_code == 429
        assert int(response.headers["Retry-After"]) >= 1
        assert error(response)["type"] == "rate_limit_error"
        student.released.set()
        for connection in held:
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
            connection.close()


def test_timeout_is_reported_and_frees_the_queue(student):
    with running({"tickets": student}, request_timeout=0.2) as server:
        student.released.clear()
        response = server.predict("line")
        assert response.status_code == 504
        message = "no answer within 0.2 s (request_timeout)"
        assert error(response)["message"] == message
        assert server.predict(["line"] * 3).status_code == 504
        assert server.service.store.get(None).batcher.queue_length == 0
        student.released.set()
        until(lambda: server.predict("line").status_code == 200)
    assert ["line"] * 3 not in student.calls


def test_client_that_leaves_is_dropped_before_the_computation(server, student):
    student.released.clear()
    first = server.send(post({"input": "line: a"}))
    until(student.started.is_set)
    batcher = server.service.store.get(None).batcher
    leaving = server.send(post({"input": ["line: b", "line: c"]}))
    until(lambda: batcher.queue_length == 2)
    leaving.close()
    until(lambda: batcher.queue_length == 0)
    student.released.set()
    assert first.recv(100).startswith(b"HTTP/1.1 200")
    first.close()
    assert student.calls == [["line: a"]]
    series = 'dsbs_requests_total{path="/v1/predict",status="499"}'
    until(lambda: server.metric(series) == 1)


def test_models_that_load_are_reported(student):
    with running({"tickets": student}, loaded=False) as server:
        response = server.predict("line")
        assert (response.status_code, error(response)["code"]) == (503, "loading")
        assert response.headers["Retry-After"] == "5"
