"""Models, health and metrics."""

import asyncio

import pytest

from dsbs_jax.data.tables import ColumnMap
from support.serving import FakeStudent, error, running


def test_models_say_what_they_can_do(student):
    plain = FakeStudent(labels=None, explain_prefix=None, method="finetune")
    columns = ColumnMap(template="{a} and {b}")
    with running({"one": student, "two": plain}, columns=columns) as server:
        first, second = server.client.get("/v1/models").json()["data"]
        assert (first["id"], first["explains"]) == ("one", True)
        assert first["labels"] == ["billing", "line", "other"]
        assert (second["id"], second["explains"]) == ("two", False)
        assert (second["labels"], second["method"]) == (None, "finetune")
        assert (first["columns"], first["engine"]) == (["a", "b"], "jax")
        assert (first["max_inputs"], first["max_characters"]) == (64, 20_000)
        assert server.client.get("/v1/models/two").json() == second


def test_server_is_ready_after_loading_and_before_stopping(student):
    with running({"tickets": student}, loaded=False) as server:
        assert server.client.get("/healthz").json() == {"status": "ok"}
        for path in ("/readyz", "/v1/models", "/v1/models/tickets"):
            response = server.client.get(path)
            assert (response.status_code, error(response)["code"]) == (503, "loading")
        asyncio.run(server.service.store.load())
        response = server.client.get("/readyz")
        assert (response.status_code, response.json()) == (200, {"status": "ready"})
        server.service.is_stopping = True
        response = server.client.get("/readyz")
        assert (response.status_code, error(response)["code"]) == (503, "stopping")
        assert server.client.get("/healthz").status_code == 200
        assert server.predict("line").status_code == 200


def test_metrics_count_requests_and_batches(server):
    server.predict(["line"] * 20)
    server.predict(" ")
    for name in ("a", "b", "c"):
        server.client.get(f"/{name}")
    for series, value in {
        'dsbs_requests_total{path="/v1/predict",status="200"}': 1,
        'dsbs_requests_total{path="/v1/predict",status="422"}': 1,
        'dsbs_requests_total{path="other",status="404"}': 3,
        'dsbs_request_seconds_count{path="/v1/predict"}': 2,
        'dsbs_batch_size_sum{model="tickets"}': 20,
        'dsbs_batch_size_count{model="tickets"}': 2,
        'dsbs_queue_length{model="tickets"}': 0,
    }.items():
        assert server.metric(series) == value, series
    assert server.metric("process_resident_memory_bytes") > 0
    kind = server.client.get("/metrics").headers["Content-Type"]
    assert kind.startswith("text/plain; version=")


def test_openapi_describes_the_routes(server):
    page = server.client.get("/openapi.json").json()
    assert [*page["paths"]] == [
        "/v1/predict",
        "/v1/chat/completions",
        "/v1/models",
        "/v1/models/{name}",
        "/healthz",
        "/readyz",
        "/metrics",
    ]
    request = page["components"]["schemas"]["PredictRequest"]
    assert [*request["properties"]] == ["input", "model", "explain"]
    assert request["additionalProperties"] is False
    errors = page["paths"]["/v1/predict"]["post"]["responses"]
    assert errors["422"]["content"]["application/json"]["schema"]["$ref"].endswith(
        "/ErrorResponse"
    )


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/none", 404, "unknown_path"),
        ("GET", "/v1/predict/", 404, "unknown_path"),
        ("GET", "/../../etc/passwd", 404, "unknown_path"),
        ("GET", "/page.js%00", 404, "unknown_path"),
        ("GET", "/docs", 404, "unknown_path"),
        ("GET", "/v1/predict", 405, "wrong_method"),
        ("PUT", "/v1/predict", 405, "wrong_method"),
        ("DELETE", "/v1/models", 405, "wrong_method"),
    ],
)
def test_other_paths_and_methods_have_the_same_shape(
    server, method, path, status, code
):
    response = server.client.request(method, path)
    assert (response.status_code, error(response)["code"]) == (status, code)
