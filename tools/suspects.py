"""Which service an incident most likely began in, with the evidence for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tools.hops import slow_hops
from tools.incident import Incident
from tools.signals import Evidence, error_clusters, metric_anomalies, recent_changes
from tools.traces import trace_origins

# Symptoms are what a caller inherits from its callee; causes are a service's own.
SYMPTOMS = {("metric", "errors"): 1.0, ("metric", "latency"): 1.0, ("log", "message"): 0.7}
CAUSES = {
    ("trace", "errors"): 2.0,
    ("trace", "latency"): 1.5,
    ("trace", "network"): 2.0,
    ("log", "exception"): 1.5,
    ("metric", "resource"): 1.0,
    ("change", ""): 1.0,
}
INHERITED = 0.2
UNSEEN_CHANGE = 0.3


@dataclass(frozen=True)
class Suspect:
    """One service with its score, the evidence, and the callee that explains its symptom, if any."""

    service: str
    score: float
    evidence: tuple[Evidence, ...]
    explained_by: str | None = None

    def line(self) -> str:
        cited = " ".join(f"[{evidence.id}]" for evidence in self.evidence) or "nothing found"
        passed = f"; its symptom is explained by {self.explained_by}" if self.explained_by else ""
        return f"{self.service} {self.score:.2f}: {cited}{passed}"


@dataclass(frozen=True)
class Case:
    """What speaks against one service before the others are looked at."""

    symptom: float
    cause: float
    evidence: tuple[Evidence, ...]


def rank_suspects(incident: Incident) -> tuple[Suspect, ...]:
    """Rank every service; a caller whose symptom one of its callees shows too stands behind it."""
    cases = {service: _case(service, found) for service, found in _by_service(incident).items()}
    suspects = [_suspect(incident, service, cases) for service in cases]
    return tuple(sorted(suspects, key=lambda suspect: (-suspect.score, suspect.service)))


def _by_service(incident: Incident) -> dict[str, list[Evidence]]:
    found: dict[str, list[Evidence]] = {service: [] for service in incident.services}
    for evidence in (
        *trace_origins(incident),
        *slow_hops(incident),
        *error_clusters(incident),
        *metric_anomalies(incident),
        *recent_changes(incident),
    ):
        if evidence.strength > 0:
            found[evidence.service].append(evidence)
    return found


def _case(service: str, found: list[Evidence]) -> Case:
    """Count the strongest finding of each sort, so that many small ones do not outweigh a clear one."""
    strongest: dict[tuple[str, str], Evidence] = {}
    for evidence in found:
        sort = (evidence.kind, evidence.about)
        if sort not in strongest or evidence.strength > strongest[sort].strength:
            strongest[sort] = evidence
    symptom = sum(SYMPTOMS.get(sort, 0.0) * evidence.strength for sort, evidence in strongest.items())
    cause = sum(CAUSES.get(sort, 0.0) * evidence.strength for sort, evidence in strongest.items())
    telling = [e for sort, e in strongest.items() if sort in SYMPTOMS or sort in CAUSES]
    if not any(evidence.kind != "change" for evidence in telling):
        cause *= UNSEEN_CHANGE  # a change that did nothing to its own service is a weak suspect
    return Case(symptom, cause, tuple(sorted(telling, key=lambda e: (-e.strength, e.id))))


def _suspect(incident: Incident, service: str, cases: Mapping[str, Case]) -> Suspect:
    case = cases[service]
    worst = max(_reachable(incident, service), key=lambda name: (cases[name].symptom, name), default=None)
    share = min(1.0, cases[worst].symptom / case.symptom) if worst and case.symptom > 0 else 0.0
    score = case.cause + case.symptom * (1 - (1 - INHERITED) * share)
    return Suspect(service, round(score, 3), case.evidence, worst if share >= 0.5 else None)


def _reachable(incident: Incident, service: str) -> set[str]:
    """Return the services that this one depends on, directly or not."""
    seen: set[str] = set()
    waiting = [service]
    while waiting:
        for callee in incident.callees(waiting.pop()):
            if callee not in seen and callee != service:
                seen.add(callee)
                waiting.append(callee)
    return seen
