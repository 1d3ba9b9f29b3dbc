"""What each step of the ops graph may read, write, call and spend, and what must hold before its answer counts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import wraps
from typing import Any

from governance import Approval, Contract, Gate, NodeCall, Tool, ToolCall, Verdict, from_state
from governance.contracts import Constraint
from governance.gates import custom, grounded, schema
from graphs.ops_prompts import Diagnosis, Plan, Triage
from tools.evidence import rank_suspects
from tools.incident import parse_incident

LOOK = (
    "search_logs",
    "error_logs",
    "metric_anomalies",
    "trace_statistics",
    "recent_changes",
    "service_graph",
    "rank_services",
)
ATTEMPTS = 4
A_MODEL_ANSWERS = 180.0
"""Seconds within which a small model on a slow machine answers."""


def cited(diagnosis: Mapping[str, Any]) -> list[str]:
    return list(diagnosis["evidence"])


def something_found(call: NodeCall, update: Any) -> str | None:
    return None if update["evidence"] else "the investigation found nothing that changed at the onset"


def a_cause(call: NodeCall, update: Any) -> str | None:
    """The blamed service must be where the trouble begins, not one that suffers from another."""
    blamed = update["diagnosis"]["service"]
    suspects = {suspect.service: suspect for suspect in rank_suspects(parse_incident(call.read("incident")))}
    if blamed not in suspects:
        return f"{blamed} is none of the services: {', '.join(sorted(suspects))}"
    behind = suspects[blamed]
    for _ in suspects:  # services may call each other in a circle
        behind = suspects[behind.explained_by or behind.service]
    if behind.service == blamed:
        return None
    seen = [found.id for found in behind.evidence if found.id in call.read("evidence")]
    return f"{blamed} only suffers from {behind.service}, see {', '.join(seen)}"


def or_a_person(gate: Gate) -> Gate:
    """The same gate, but where the last attempt fails too, a person decides."""

    @wraps(gate)  # the ledger names the gate that judged
    def judge(call: NodeCall, update: Any) -> Verdict:
        verdict = gate(call, update)
        if verdict.outcome == "revise" and call.attempt >= call.contract.attempts:
            return Verdict.escalate(verdict.reason, verdict.evidence)
        return verdict

    return judge


def the_way_back(kind: str) -> Constraint:
    """The argument must be what a change of the incident replaced, and nothing new."""

    def check(value: Any, call: ToolCall) -> str | None:
        service = call.args.get("service")
        known = call.node.read("incident")["changes"]
        changes = [c for c in known if c["service"] == service and c["kind"] in WAYS_BACK and "before" in c]
        wanted = (kind, call.args.get("key"), str(value))
        if any((c["kind"], c.get("key"), str(c["before"])) == wanted for c in changes):
            return None
        ways = ", ".join(WAYS_BACK[c["kind"]].format(**c) for c in changes) or "nothing"
        return f"must take {service} back to what it was before the incident (only {ways} does that), not to {value!r}"

    return check


WAYS_BACK = {"deploy": "rollback_deploy to {before}", "config": "set_config {key} {before}"}
THE_CULPRIT = from_state("diagnosis", lambda diagnosis: diagnosis["service"])
ASKED = Approval("changes a running service", expires=900)

CONTRACTS = {
    "intake": Contract(
        reads=["incident"],
        writes=["incident", "health_before"],
        tools=["measure_health"],
        timeout=30,
    ),
    "triage": Contract(
        reads=["incident"],
        writes=["triage"],
        tokens=4000,
        timeout=A_MODEL_ANSWERS,
        gates=[schema("triage", Triage)],
        attempts=2,
    ),
    "investigate": Contract(
        reads=["incident"],
        writes=["evidence"],
        tools=LOOK,
        tokens=20_000,
        timeout=5 * A_MODEL_ANSWERS,
        gates=[custom(something_found, otherwise="escalate")],
    ),
    "diagnose": Contract(
        reads=["incident", "evidence", "feedback"],
        writes=["diagnosis"],
        tokens=8000,
        timeout=A_MODEL_ANSWERS,
        gates=[
            or_a_person(schema("diagnosis", Diagnosis)),
            or_a_person(custom(a_cause)),
            or_a_person(grounded("diagnosis", "evidence", cited=cited)),
        ],
        attempts=ATTEMPTS,
        feedback="feedback",
    ),
    "plan": Contract(
        reads=["incident", "evidence", "diagnosis", "refused"],
        writes=["plan"],
        tokens=4000,
        timeout=A_MODEL_ANSWERS,
        gates=[schema("plan", Plan)],
        attempts=2,
    ),
    "act": Contract(
        reads=["incident", "plan"],
        writes=["action", "refused"],
        tools=[
            Tool(
                "rollback_deploy",
                where={"service": THE_CULPRIT, "to_version": the_way_back("deploy")},
                approval=ASKED,
                refusals="answer",
            ),
            Tool(
                "set_config",
                where={"service": THE_CULPRIT, "value": the_way_back("config")},
                approval=ASKED,
                refusals="answer",
            ),
            Tool("restart_service", where={"service": THE_CULPRIT}, approval=ASKED, refusals="answer"),
        ],
        timeout=60,
    ),
    "verify": Contract(reads=[], writes=["health_after"], tools=["measure_health"], timeout=30),
    "roll_back": Contract(
        reads=["incident", "action"],
        writes=["outcome"],
        tools=[Tool("undo_action", where={"action": from_state("action")})],
        timeout=60,
    ),
    "close": Contract(
        reads=["triage", "diagnosis", "action", "refused", "outcome", "health_before", "health_after"],
        writes=["outcome", "report"],
        timeout=10,
    ),
}
