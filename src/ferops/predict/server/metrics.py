"""What the server measures, for Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest

from ferops.predict.networks import ExpressionNetwork


class Metrics:
    """Counters of one server."""

    def __init__(self, waiting: Callable[[], int]) -> None:
        """Start at zero; `waiting` returns the number of requests in the queue."""
        self._registry = own = CollectorRegistry()
        self._requests = Counter(
            "ferops_requests", "Requests; status 499: gone before the answer.", ["route", "status"], registry=own
        )
        self._seconds = Histogram(
            "ferops_request_seconds", "From a request to the end of its answer.", ["route"], registry=own
        )
        self.faces = Counter("ferops_faces", "Faces whose expression was recognised.", registry=own)
        self.batch = Histogram(
            "ferops_batch_faces", "Faces that the network was asked for at once.",
            buckets=[1, 2, 4, 8, 16, 32, 64, 128], registry=own,
        )  # fmt: skip
        self._model = Info("ferops_model", "The network that answers.", registry=own)
        self.current = Gauge(
            "ferops_model_current", "1 where the network is known to be what the registered model names.", registry=own
        )
        Gauge("ferops_queue_requests", "Requests that are read, wait or are answered.", registry=own).set_function(
            waiting
        )
        ProcessCollector(registry=own)

    def count(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def describe(self, network: ExpressionNetwork) -> None:
        """Name the network that answers."""
        self._model.info({"name": network.name, "version": network.version or ""})
        self.current.set(1)

    def as_text(self) -> bytes:
        """Return all of them in Prometheus' text format."""
        return generate_latest(self._registry)
