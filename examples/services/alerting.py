"""The alert rules of the example services, evaluated over recorded series."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from tools.incident import Alert, Series


@dataclass(frozen=True)
class Rule:
    """A metric of a service above a threshold for a number of samples in a row."""

    name: str
    service: str
    metric: str
    threshold: float
    severity: Literal["critical", "warning"]
    says: str
    samples: int = 3


RULES = (
    Rule(
        "CheckoutErrors",
        "gateway",
        "error_rate",
        0.05,
        "critical",
        "{value:.0%} of checkouts fail (limit 5%)",
    ),
    Rule(
        "CheckoutSlow",
        "gateway",
        "latency_p95_ms",
        150,
        "warning",
        "checkout p95 is {value:.0f} ms (limit 150 ms)",
    ),
    Rule("OrdersErrors", "orders", "error_rate", 0.05, "warning", "{value:.0%} of orders fail (limit 5%)"),
)


def evaluate(series: Sequence[Series]) -> tuple[Alert, ...]:
    """Return the alerts that fire, each at most once, dated to when its condition began to hold."""
    found = [alert for rule in RULES for line in series for alert in _fired(rule, line)]
    found.sort(key=lambda alert: (alert.at, alert.name))
    return tuple(
        Alert(f"alert:{i}", a.at, a.service, a.name, a.severity, a.summary, a.value, a.threshold)
        for i, a in enumerate(found, start=1)
    )


def _fired(rule: Rule, line: Series) -> Iterator[Alert]:
    if (line.service, line.metric) != (rule.service, rule.metric):
        return
    run: list[tuple[float, float]] = []
    for at, value in line.points:
        run = [*run, (at, value)] if value > rule.threshold else []
        if len(run) == rule.samples:
            worst = max(value for _, value in run)
            summary = rule.says.format(value=worst)
            yield Alert("-", run[0][0], rule.service, rule.name, rule.severity, summary, worst, rule.threshold)
            return
