"""What a service tells about itself: JSON lines for logs and spans, Prometheus text for metrics."""

from __future__ import annotations

import json
import secrets
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BUCKETS_MS = (1, 2, 5, 10, 15, 20, 30, 40, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 2000, 5000)


@dataclass(frozen=True)
class TraceContext:
    """The place of one span in its trace, carried between services as a `traceparent` header."""

    trace_id: str
    span_id: str

    def header(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-01"


def parse_traceparent(header: str | None) -> TraceContext | None:
    """Read a W3C `traceparent`; anything malformed starts a new trace."""
    parts = (header or "").split("-")
    if len(parts) != 4 or len(parts[1]) != 32 or len(parts[2]) != 16:
        return None
    return TraceContext(trace_id=parts[1], span_id=parts[2])


_current: ContextVar[TraceContext | None] = ContextVar("current_span", default=None)


def current_trace() -> TraceContext | None:
    """Return the span that this thread works for, or None outside a request."""
    return _current.get()


class JsonLines:
    """Append records to a file, one JSON object a line, whole lines only."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._lock = threading.Lock()

    def write(self, record: Mapping[str, Any]) -> None:
        line = json.dumps(record, separators=(",", ":")) + "\n"
        with self._lock:
            self._file.write(line)


@dataclass
class SpanOutcome:
    """What the body of a span may set before it ends."""

    status: str = "ok"


class Telemetry:
    """Logs, spans and metrics of one service process."""

    def __init__(self, service: str, version: str, directory: Path) -> None:
        self.service = service
        self.version = version
        self.metrics = Metrics()
        self._logs = JsonLines(directory / f"{service}.log.jsonl")
        self._spans = JsonLines(directory / f"{service}.spans.jsonl")

    def log(self, level: str, message: str, *, error: BaseException | None = None) -> None:
        trace = _current.get()
        record: dict[str, Any] = {
            "at": round(time.time(), 3),
            "service": self.service,
            "version": self.version,
            "level": level,
            "message": message,
        }
        if trace is not None:
            record["trace_id"] = trace.trace_id
        if error is not None:
            record["traceback"] = "".join(traceback.format_exception(error))
        self._logs.write(record)

    @contextmanager
    def span(self, operation: str, *, parent: TraceContext | None = None) -> Iterator[SpanOutcome]:
        """Record one span; an exception marks it as an error and goes on."""
        above = parent or _current.get()
        own = TraceContext(above.trace_id if above else secrets.token_hex(16), secrets.token_hex(8))
        outcome, start, clock = SpanOutcome(), time.time(), time.perf_counter()
        token = _current.set(own)
        try:
            yield outcome
        except BaseException:
            outcome.status = "error"
            raise
        finally:
            _current.reset(token)
            self._write_span(own, above, operation, start, time.perf_counter() - clock, outcome.status)

    def _write_span(
        self,
        own: TraceContext,
        above: TraceContext | None,
        operation: str,
        start: float,
        seconds: float,
        status: str,
    ) -> None:
        self._spans.write(
            {
                "trace_id": own.trace_id,
                "span_id": own.span_id,
                "parent_id": above.span_id if above else None,
                "service": self.service,
                "operation": operation,
                "start": round(start, 4),
                "duration_ms": round(seconds * 1000, 2),
                "status": status,
            }
        )


@dataclass
class Histogram:
    """Durations in fixed buckets, as Prometheus counts them."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_MS) + 1))
    total_ms: float = 0.0

    def add(self, milliseconds: float) -> None:
        place = next((i for i, edge in enumerate(BUCKETS_MS) if milliseconds <= edge), len(BUCKETS_MS))
        self.counts[place] += 1
        self.total_ms += milliseconds

    def render(self, name: str) -> Iterator[str]:
        running = 0
        for edge, count in zip((*BUCKETS_MS, "+Inf"), self.counts, strict=True):
            running += count
            yield f'{name}_bucket{{le="{edge}"}} {running}'
        yield f"{name}_sum {self.total_ms:.3f}"
        yield f"{name}_count {running}"


class Metrics:
    """Counters, gauges and histograms of one process, rendered as Prometheus text."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers: dict[str, float] = {"http_requests_total": 0, "http_request_errors_total": 0}
        self._histograms = {"http_request_duration_ms": Histogram(), "downstream_duration_ms": Histogram()}

    def add(self, name: str, amount: float = 1) -> None:
        with self._lock:
            self._numbers[name] = self._numbers.get(name, 0) + amount

    def observe(self, name: str, milliseconds: float) -> None:
        with self._lock:
            self._histograms.setdefault(name, Histogram()).add(milliseconds)

    def render(self) -> str:
        with self._lock:
            numbers = {**self._numbers, "process_cpu_seconds_total": round(time.process_time(), 4)}
            lines = [f"{name} {value:g}" for name, value in sorted(numbers.items())]
            for name, histogram in sorted(self._histograms.items()):
                lines.extend(histogram.render(name))
        return "\n".join(lines) + "\n"
