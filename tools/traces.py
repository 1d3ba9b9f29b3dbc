"""Where time and errors of traces begin, as opposed to where they merely pass through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from tools.incident import Incident, Span
from tools.signals import Evidence

SLOWER_MS = 5.0
SLOWER_RATIO = 1.5


@dataclass(frozen=True)
class OperationTrend:
    """One operation before and since the onset: time of its own, errors, and errors that began in it."""

    service: str
    operation: str
    before: int
    since: int
    own_ms_before: float
    own_ms_since: float
    errors_since: float
    begun_before: float
    begun_since: float


def operation_trends(incident: Incident) -> tuple[OperationTrend, ...]:
    """Compare every operation's spans before and since the onset."""
    children: dict[tuple[str, str], list[Span]] = {}
    for span in incident.spans:
        if span.parent_id is not None:
            children.setdefault((span.trace_id, span.parent_id), []).append(span)
    groups: dict[tuple[str, str], list[Span]] = {}
    for span in incident.spans:
        groups.setdefault((span.service, span.operation), []).append(span)
    return tuple(_trend(incident, spans, children) for _, spans in sorted(groups.items()))


def _trend(
    incident: Incident, spans: Sequence[Span], children: Mapping[tuple[str, str], Sequence[Span]]
) -> OperationTrend:
    def below(span: Span) -> Sequence[Span]:
        return children.get((span.trace_id, span.span_id), ())

    def begins_error(span: Span) -> bool:
        return span.status == "error" and all(child.status == "ok" for child in below(span))

    before = [span for span in spans if span.start < incident.onset]
    since = [span for span in spans if span.start >= incident.onset]
    return OperationTrend(
        service=spans[0].service,
        operation=spans[0].operation,
        before=len(before),
        since=len(since),
        own_ms_before=_mean([own_ms(span, below(span)) for span in before]),
        own_ms_since=_mean([own_ms(span, below(span)) for span in since]),
        errors_since=_mean([float(span.status == "error") for span in since]),
        begun_before=_mean([float(begins_error(span)) for span in before]),
        begun_since=_mean([float(begins_error(span)) for span in since]),
    )


def own_ms(span: Span, children: Sequence[Span]) -> float:
    """Return a span's duration less the time in which a child of it was at work."""
    end = span.start + span.duration_ms / 1000
    covered, reached = 0.0, span.start
    for child in sorted(children, key=lambda child: child.start):
        child_end = min(end, child.start + child.duration_ms / 1000)
        covered += max(0.0, child_end - max(reached, child.start))
        reached = max(reached, child_end)
    return max(0.0, span.duration_ms - covered * 1000)


def trace_origins(incident: Incident) -> tuple[Evidence, ...]:
    """Return the operations in which new errors begin or which take longer by themselves, worst first."""
    found = [e for trend in operation_trends(incident) if (e := _evidence(trend)).strength > 0]
    return tuple(sorted(found, key=lambda e: (-e.strength, e.id)))


def trace_statistics(incident: Incident) -> tuple[Evidence, ...]:
    """Return every operation's time and errors, by name."""
    return tuple(_evidence(trend) for trend in operation_trends(incident))


def _evidence(trend: OperationTrend) -> Evidence:
    begun = max(0.0, trend.begun_since - trend.begun_before)
    growth = trend.own_ms_since - trend.own_ms_before
    slower = growth > SLOWER_MS and trend.own_ms_since > SLOWER_RATIO * trend.own_ms_before
    share = growth / trend.own_ms_since if slower else 0.0
    text = (
        f"{trend.service} {trend.operation}: "
        f"own time {trend.own_ms_before:.1f} -> {trend.own_ms_since:.1f} ms, "
        f"{trend.errors_since:.0%} of {trend.since} spans failed since the onset, "
        f"{trend.begun_since:.0%} failed without a failing call below"
    )
    return Evidence(
        f"trace:{trend.service}:{trend.operation.replace(' ', '_')}",
        "trace",
        trend.service,
        text,
        round(min(1.0, max(2 * begun, share)), 3),
        "errors" if 2 * begun >= share else "latency",
    )


def _mean(values: Sequence[float]) -> float:
    return mean(values) if values else 0.0
