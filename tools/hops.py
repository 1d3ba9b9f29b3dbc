"""The time that calls spend between two services: what the caller waited less what the callee worked."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from tools.incident import Incident
from tools.signals import Evidence, deviation, strength_of

SLOW_HOP_MS = 5.0
SLOW_HOP_RATIO = 4.0


def slow_hops(incident: Incident) -> tuple[Evidence, ...]:
    """Return the services whose calls, in and out, lose time on the way, against all the others.

    Needs operations that caller and callee both report under one name, and the service graph.
    """
    nodes = _by_service(hop_times(incident))
    found = []
    for service, lost in nodes.items():
        others = [ms for name, ms in nodes.items() if name != service]
        if len(others) < 3 or lost < max(SLOW_HOP_MS, SLOW_HOP_RATIO * median(others)):
            continue
        strength = strength_of(deviation(others, lost, floor=1.0, worse="up"))
        text = f"calls to and from {service} lose {lost:.1f} ms on the way; elsewhere {median(others):.1f} ms"
        found.append(Evidence(f"hop:{service}", "trace", service, text, strength, "network"))
    return tuple(sorted(found, key=lambda e: (-e.strength, e.id)))


def hop_times(incident: Incident) -> Mapping[tuple[str, str], float]:
    """Return the milliseconds that a call loses between each caller and callee."""
    times: dict[str, dict[str, list[float]]] = {}
    for stats in incident.operations:
        if stats.at + stats.seconds > incident.onset:
            name = stats.operation.lstrip("/")
            times.setdefault(name, {}).setdefault(stats.service, []).append(stats.p50_ms)
    lost: dict[tuple[str, str], list[float]] = {}
    for reported in times.values():
        for edge in incident.graph:
            if edge.caller in reported and edge.callee in reported:
                gap = median(reported[edge.caller]) - median(reported[edge.callee])
                lost.setdefault((edge.caller, edge.callee), []).append(max(0.0, gap))
    return {edge: median(gaps) for edge, gaps in lost.items()}


def _by_service(hops: Mapping[tuple[str, str], float]) -> dict[str, float]:
    """A delay at a service slows every hop that touches it, one at its neighbour only some."""
    touching: dict[str, list[float]] = {}
    for edge, lost in sorted(hops.items()):
        for service in edge:
            touching.setdefault(service, []).append(lost)
    return {service: median(lost) for service, lost in touching.items()}
