"""Read-only tools over one incident, for a model to choose among; their answers are stable and citable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated

from langchain_core.tools import BaseTool, StructuredTool

from governance.contracts import SideEffect, declares
from tools import hops, signals, traces
from tools.incident import Incident
from tools.signals import Evidence
from tools.suspects import Suspect, rank_suspects

__all__ = ["Evidence", "Suspect", "evidence_index", "evidence_tools", "rank_suspects"]

Service = Annotated[str, "name of one service; empty for all services"]
MOST_LINES = 20
MOST_SUSPECTS = 5


def evidence_index(incident: Incident) -> Mapping[str, Evidence]:
    """Return every finding by its id: what an answer may cite."""
    found = (
        *signals.alerts(incident),
        *signals.error_clusters(incident),
        *signals.metric_anomalies(incident),
        *traces.trace_statistics(incident),
        *hops.slow_hops(incident),
        *signals.recent_changes(incident),
        *signals.edges(incident),
        *(
            line
            for name in incident.services
            for line in signals.search_logs(incident, service=name, contains="", most=len(incident.logs))
        ),
    )
    return {evidence.id: evidence for evidence in found}


def evidence_tools(incident: Incident) -> list[BaseTool]:
    """Build the investigation's tools; an unknown service name is answered with the names that exist."""

    def about(service: str, find: Callable[[Incident], Iterable[Evidence]], what: str) -> str:
        if service:
            incident.known(service)
        return told(signals.of_service(find(incident), service), f"no {what} for {service or 'any service'}")

    def list_alerts() -> str:
        """List the alerts of the incident, first ones first."""
        return told(signals.alerts(incident), "no alerts")

    def search_logs(service: str, contains: str) -> str:
        """Search the logs of one service for a text."""
        found = signals.search_logs(incident.known(service), service=service, contains=contains)
        return told(found, f"no line of {service} contains {contains!r}")

    def error_logs(service: Service = "") -> str:
        """Group warnings and errors in the logs by their wording, with counts before and since the onset."""
        return about(service, signals.error_clusters, "warnings or errors logged")

    def metric_anomalies(service: Service = "") -> str:
        """List the metrics that moved for the worse at the onset."""
        return about(service, signals.metric_anomalies, "anomalous metric")

    def trace_statistics(service: Service = "") -> str:
        """Compare operations before and since the onset: time of their own, errors, where errors begin."""
        return about(service, lambda i: (*hops.slow_hops(i), *traces.trace_statistics(i)), "traces")

    def recent_changes(service: Service = "") -> str:
        """List deploys and config changes near the onset, the nearest first."""
        return about(service, signals.recent_changes, "change in the hour before the onset")

    def service_graph() -> str:
        """List which service calls which."""
        return told(signals.edges(incident), "no calls between services known")

    def rank_services() -> str:
        """Rank the services by how likely the incident began in them, with the evidence for each."""
        ranked = rank_suspects(incident)[:MOST_SUSPECTS]
        return "\n".join(f"{place}. {suspect.line()}" for place, suspect in enumerate(ranked, start=1))

    functions: tuple[Callable[..., str], ...] = (
        list_alerts,
        search_logs,
        error_logs,
        metric_anomalies,
        trace_statistics,
        recent_changes,
        service_graph,
        rank_services,
    )
    return [_read_only(function) for function in functions]


def told(found: Iterable[Evidence], nothing: str) -> str:
    """Write findings as lines with their ids, or say that there are none."""
    lines = [evidence.line() for evidence in found]
    more = len(lines) - MOST_LINES
    shown = lines[:MOST_LINES] + ([f"({more} more)"] if more > 0 else [])
    return "\n".join(shown) or nothing


def _read_only(function: Callable[..., str]) -> BaseTool:
    tool = StructuredTool.from_function(function, handle_tool_error=True)
    return declares(SideEffect("read", idempotent=True))(tool)
