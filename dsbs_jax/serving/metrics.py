"""The server's metrics in the format of Prometheus."""

from collections.abc import Callable

import prometheus_client

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counters of one server, without the process-wide registry of the library."""

    def __init__(self) -> None:
        """Starts with zero."""
        self._registry = prometheus_client.CollectorRegistry()
        prometheus_client.ProcessCollector(registry=self._registry)
        self._requests = prometheus_client.Counter(
            "dsbs_requests",
            "Requests by path and status; 499 if the client left.",
            ["path", "status"],
            registry=self._registry,
        )
        self._seconds = prometheus_client.Histogram(
            "dsbs_request_seconds",
            "Time to answer a request.",
            ["path"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._batch_size = prometheus_client.Histogram(
            "dsbs_batch_size",
            "Inputs of a batch.",
            ["model"],
            buckets=_SIZES,
            registry=self._registry,
        )
        self._queue_length = prometheus_client.Gauge(
            "dsbs_queue_length",
            "Inputs that wait for a batch.",
            ["model"],
            registry=self._registry,
        )
        self._loads = prometheus_client.Counter(
            "dsbs_model_loads",
            "Times that a model was loaded, or could not be loaded.",
            ["model", "result"],
            registry=self._registry,
        )

    def count_request(self, path: str, status: int, seconds: float) -> None:
        """Counts a request.

        Args:
            path: A path of the server, or "other", so that clients cannot add series.
            status: The HTTP status.
            seconds: The time to answer it.
        """
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def count_batch(self, model: str, size: int) -> None:
        """Counts a batch of a model."""
        self._batch_size.labels(model).observe(size)

    def count_load(self, model: str, result: str) -> None:
        """Counts an attempt to load a model: "ok" or "failed"."""
        self._loads.labels(model, result).inc()

    def watch_queue(self, model: str, length: Callable[[], int]) -> None:
        """Reads the length of a model's queue whenever the metrics are requested."""
        self._queue_length.labels(model).set_function(length)

    def text(self) -> bytes:
        """Returns the current values."""
        return prometheus_client.generate_latest(self._registry)
