"""What a server tells of itself in Prometheus' form. One registry a server: several may live in a process."""

from typing import Any

from vla.optional import need

__all__ = ["Metrics"]

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters and histograms of one core; a label's values are from fixed sets, so that they stay few."""

    def __init__(self) -> None:
        client: Any = need("prometheus_client", "serving", "a policy server")
        self._client = client
        self.registry = client.CollectorRegistry()
        client.ProcessCollector(registry=self.registry)  # memory, processor time, open files
        here = {"registry": self.registry}
        self.requests = client.Counter("vla_requests", "Chunks asked for.", ["protocol"], **here)
        self.errors = client.Counter("vla_errors", "Requests refused.", ["protocol", "kind"], **here)
        self.holds = client.Counter("vla_holds", "Chunks that hold.", ["protocol"], **here)
        self.latency = client.Histogram(
            "vla_latency_seconds", "From a request to its chunk.", ["protocol"], buckets=_SECONDS, **here
        )
        self.inference = client.Histogram(
            "vla_inference_seconds", "One call of the policy.", buckets=_SECONDS, **here
        )
        self.batch = client.Histogram("vla_batch_size", "Observations a call.", buckets=_ROWS, **here)
        self.queue = client.Gauge("vla_queue_length", "Requests that wait.", **here)
        self.sessions = client.Gauge("vla_sessions", "Sessions that are open.", **here)

    def text(self) -> bytes:
        """All of it, in Prometheus' text format 0.0.4."""
        found: bytes = self._client.generate_latest(self.registry)
        return found
