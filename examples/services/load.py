"""A bounded number of real requests to one service, and what came back."""

from __future__ import annotations

import itertools
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

from .changes import PlatformError, ServiceState

MOST_REQUESTS = 2000
TIMEOUT_SECONDS = 5.0
BASKET = ("tea", "cup", "pot")


@dataclass(frozen=True)
class Health:
    """What a number of real requests to a service showed."""

    service: str
    requests: int
    succeeded: int
    success_rate: float
    p50_ms: float
    p95_ms: float
    failures: tuple[str, ...]

    def line(self) -> str:
        return (
            f"{self.service}: {self.success_rate:.1%} of {self.requests} requests succeeded, "
            f"p50 {self.p50_ms:.0f} ms, p95 {self.p95_ms:.0f} ms"
        )


@dataclass(frozen=True)
class Attempt:
    """One request's result: its time and, when it failed, why."""

    milliseconds: float
    failure: str | None


def order(number: int, *, probe: bool) -> dict[str, Any]:
    """Return the body of the n-th request; two of five customers hold a coupon."""
    coupon = "SPRING" if number % 5 in (1, 3) else None
    return {"sku": BASKET[number % 3], "quantity": 1, "coupon": coupon, "cents": 1250, "probe": probe}


def drive(
    state: ServiceState,
    *,
    requests: int,
    concurrency: int = 8,
    rate: float | None = None,
    probe: bool = False,
) -> Health:
    """Send the requests, as fast as `concurrency` allows or at `rate` a second, and measure the answers."""
    host, port = _loopback(state.url)
    if not 1 <= requests <= MOST_REQUESTS:
        raise PlatformError(f"requests takes a number from 1 to {MOST_REQUESTS}, got {requests}")
    numbers, started, lock = itertools.count(), time.perf_counter(), threading.Lock()
    given_up = threading.Event()

    def work(_: int) -> list[Attempt]:
        done: list[Attempt] = []
        while True:
            with lock:
                number = next(numbers)
            due = started + number / rate if rate is not None else 0.0
            if number >= requests or given_up.wait(max(0.0, due - time.perf_counter())):
                return done
            done.append(_attempt(host, port, state.path, order(number, probe=probe)))

    with ThreadPoolExecutor(concurrency) as threads:
        try:
            attempts = [attempt for done in threads.map(work, range(concurrency)) for attempt in done]
        finally:
            given_up.set()  # Ctrl-C ends the load after the requests that are under way
    return summarise(state.service, attempts)


def summarise(service: str, attempts: Sequence[Attempt]) -> Health:
    """Turn attempts into rates and percentiles; failed requests count in both."""
    times = sorted(attempt.milliseconds for attempt in attempts)
    failures = Counter(attempt.failure for attempt in attempts if attempt.failure is not None)
    succeeded = len(attempts) - failures.total()
    return Health(
        service=service,
        requests=len(attempts),
        succeeded=succeeded,
        success_rate=round(succeeded / len(attempts), 4),
        p50_ms=round(percentile(times, 0.5), 1),
        p95_ms=round(percentile(times, 0.95), 1),
        failures=tuple(f"{count} x {reason}" for reason, count in failures.most_common(3)),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the sorted values do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _attempt(host: str, port: int, path: str, body: dict[str, Any]) -> Attempt:
    started = time.perf_counter()
    failure: str | None = None
    connection = HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = json.loads(response.read())
        if response.status != 200:
            failure = f"{response.status} {answer.get('error', '')}"
    except (OSError, HTTPException) as broken:
        failure = f"{type(broken).__name__}"
    finally:
        connection.close()
    return Attempt((time.perf_counter() - started) * 1000, failure)


def _loopback(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    if parts.hostname not in ("127.0.0.1", "localhost") or parts.port is None:
        raise PlatformError(f"load is only sent to loopback, got {url!r}")
    return parts.hostname, parts.port
