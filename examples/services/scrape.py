"""Reads `/metrics` of every service at a fixed pace and turns the counters into series over time."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, NamedTuple
from urllib.request import urlopen

from tools.incident import Series

from .telemetry import BUCKETS_MS

Sample = Mapping[str, float]
PACE_SECONDS = 0.5


class Measure(NamedTuple):
    """What a derived series is about."""

    unit: str
    about: Literal["errors", "latency", "downstream", "resource", "traffic"]
    worse: Literal["up", "either"] = "up"


@dataclass
class Scraper:
    """Samples per service, taken by a thread until the context ends."""

    urls: Mapping[str, str]
    samples: dict[str, list[tuple[float, Sample]]] = field(default_factory=dict)

    @contextmanager
    def running(self) -> Iterator[None]:
        done = threading.Event()
        thread = threading.Thread(target=self._keep_scraping, args=(done,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _keep_scraping(self, done: threading.Event) -> None:
        while not done.wait(PACE_SECONDS):
            for service, url in self.urls.items():
                try:
                    text = urlopen(f"{url}/metrics", timeout=2).read().decode()
                except OSError:
                    continue  # a service that restarts leaves a gap, as it would for Prometheus
                self.samples.setdefault(service, []).append((time.time(), parse(text)))


def parse(text: str) -> Sample:
    """Read Prometheus text into a flat mapping of names, labels included."""
    return {name: float(value) for name, value in re.findall(r"^(\S+) (\S+)$", text, flags=re.MULTILINE)}


def series_of(service: str, samples: Sequence[tuple[float, Sample]]) -> list[Series]:
    """Derive the series of one service from its counters; a restart's reset starts a new interval."""
    rows: dict[str, list[tuple[float, float]]] = {metric: [] for metric in MEASURES}
    for (earlier, before), (at, after) in pairwise(samples):
        if after["http_requests_total"] < before["http_requests_total"]:
            continue
        for metric, value in _interval(before, after, at - earlier).items():
            rows[metric].append((round(at, 3), round(value, 4)))
    return [
        Series(
            service,
            metric,
            MEASURES[metric].unit,
            tuple(points),
            MEASURES[metric].about,
            MEASURES[metric].worse,
        )
        for metric, points in rows.items()
        if points
    ]


MEASURES: Mapping[str, Measure] = {
    "request_rate": Measure("1/s", "traffic", "either"),
    "error_rate": Measure("share", "errors"),
    "latency_p95_ms": Measure("ms", "latency"),
    "downstream_p95_ms": Measure("ms", "downstream"),
    "cpu_percent": Measure("%", "resource"),
    "pool_in_use": Measure("connections", "resource"),
    "pool_wait_p95_ms": Measure("ms", "resource"),
    "pool_timeouts": Measure("1/s", "resource"),
}


def _interval(before: Sample, after: Sample, seconds: float) -> dict[str, float]:
    def grown(name: str) -> float:
        return after.get(name, 0.0) - before.get(name, 0.0)

    requests = grown("http_requests_total")
    found = {
        "request_rate": requests / seconds,
        "error_rate": grown("http_request_errors_total") / requests if requests else 0.0,
        "cpu_percent": 100 * grown("process_cpu_seconds_total") / seconds,
    }
    for metric, name in HISTOGRAMS.items():
        if grown(f"{name}_count"):
            found[metric] = quantile([grown(f'{name}_bucket{{le="{edge}"}}') for edge in EDGES], 0.95)
    if "pool_size" in after:
        found["pool_in_use"] = after.get("pool_in_use", 0.0)
        found["pool_timeouts"] = grown("pool_timeouts_total") / seconds
    return found


EDGES = (*BUCKETS_MS, "+Inf")
HISTOGRAMS = {
    "latency_p95_ms": "http_request_duration_ms",
    "downstream_p95_ms": "downstream_duration_ms",
    "pool_wait_p95_ms": "pool_wait_ms",
}


def quantile(cumulative: Sequence[float], share: float) -> float:
    """Estimate a quantile from cumulative bucket counts, straight between the edges of its bucket."""
    wanted = share * cumulative[-1]
    lower, below = 0.0, 0.0
    for edge, count in zip(BUCKETS_MS, cumulative, strict=False):
        if count >= wanted:
            return lower + (edge - lower) * (wanted - below) / (count - below)
        lower, below = float(edge), count
    return lower
