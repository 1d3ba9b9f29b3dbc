"""The steps of the ops graph: plain LangGraph nodes, each a function of the state.

Prompts hold the incident, the evidence and fixed text only. What is measured on the running services
stays in the state, so that recorded answers of a model fit every run.
"""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from langchain_core.messages import AnyMessage, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool
from typing_extensions import TypedDict

from examples.services.changes import PlatformError
from examples.services.client import DEFAULT_URL, RemotePlatform
from governance.contracts import SideEffect, declares, effect_of
from graphs.models import chat_model
from graphs.ops_prompts import DIAGNOSE, INVESTIGATE, PLAN, TRIAGE, Diagnosis, Triage, limited_to
from tools import signals
from tools.evidence import evidence_index, evidence_tools
from tools.incident import Incident, ToolInputError, dump_incident, load_incident, parse_incident
from tools.operations import health_tool, operation_tools, recorded

LOOKS = 5
EXAMPLE = 'give {"incident": "examples/incidents/bad-deploy.json"}'
HEALTH: tuple[Literal["health_before", "health_after"], ...] = ("health_before", "health_after")
HEALTHY = 0.99
"""The share of real requests that must succeed before an incident is closed as healed."""


class Ops(TypedDict, total=False):
    """One incident from alert to close; each has a thread of its own."""

    incident: dict[str, Any] | str
    health_before: dict[str, Any]
    triage: dict[str, Any]
    evidence: dict[str, str]
    feedback: str
    diagnosis: dict[str, Any]
    plan: dict[str, Any]
    refused: Annotated[list[str], operator.add]
    action: dict[str, Any]
    health_after: dict[str, Any]
    outcome: str
    report: str


class Input(TypedDict):
    """The incident, as data or as the path of a file."""

    incident: dict[str, Any] | str


def intake(state: Ops) -> Ops:
    """Check the incident and measure whether it is still going on, before anything is spent on it."""
    given = state.get("incident")
    if given is None:
        raise ToolInputError("incident", expected="an incident or its path", got="nothing", remedy=EXAMPLE)
    incident = load_incident(given) if isinstance(given, str) else parse_incident(given)
    return {"incident": json.loads(dump_incident(incident)), "health_before": measured()}


def triage(state: Ops) -> Ops:
    """Say how bad it is."""
    ask = chat_model().with_structured_output(Triage, method="json_schema")
    found = ask.invoke([("system", TRIAGE), ("user", alerts(read(state)))])
    return {"triage": Triage.model_validate(found).model_dump()}


def investigate(state: Ops) -> Ops:
    """Let the model choose what to look at; keep what the tools said, by its id."""
    incident = read(state)
    unused = {tool.name: tool for tool in evidence_tools(incident) if tool.name != "list_alerts"}
    said: list[AnyMessage | tuple[str, str]] = [("system", INVESTIGATE), ("user", alerts(incident))]
    answers: list[str] = []
    while unused and len(answers) < LOOKS:
        choice = chat_model().bind_tools(list(unused.values())).invoke(said)
        said.append(choice)
        for call in choice.tool_calls:
            tool = unused.pop(call["name"], None)
            if tool is None:
                answer = ToolMessage(f"choose one of {', '.join(unused)}", tool_call_id=call["id"])
            else:
                answer = tool.invoke(call)
            said.append(answer)
            answers.append(str(answer.content))
        if not choice.tool_calls:
            break
    told = "\n".join(answers)
    telling = [one for one in evidence_index(incident).values() if one.strength > 0 and f"[{one.id}]" in told]
    return {"evidence": {one.id: one.text for one in telling}}


def diagnose(state: Ops) -> Ops:
    """Name the service in which it began and the evidence for it; after a rejection, cite only what there is."""
    shown = f"{alerts(read(state))}\n\nEvidence:\n{lines(state['evidence'])}"
    answer = Diagnosis
    if state.get("feedback") and state["evidence"]:
        shown += f"\n\nYour last answer was rejected: {state['feedback']}"
        answer = limited_to(list(state["evidence"]))
    ask = chat_model().with_structured_output(answer, method="json_schema")
    found = Diagnosis.model_validate(ask.invoke([("system", DIAGNOSE), ("user", shown)])).model_dump()
    return {"diagnosis": {**found, "evidence": list(dict.fromkeys(found["evidence"]))}}


def plan(state: Ops) -> Ops:
    """Choose one action; nothing is done yet."""
    diagnosis = state["diagnosis"]
    cited = {name: text for name, text in state["evidence"].items() if name in diagnosis["evidence"]}
    shown = f"Diagnosis: {diagnosis['service']}: {diagnosis['cause']}\n\nEvidence:\n{lines(cited)}"
    if state.get("refused"):
        shown += f"\n\nThis was refused: {state['refused'][-1]}"
    actions = list(actions_of(state).values())
    choice = chat_model().bind_tools(actions, tool_choice="any").invoke([("system", PLAN), ("user", shown)])
    if not choice.tool_calls:
        return {}
    call = choice.tool_calls[0]
    return {"plan": {"tool": call["name"], "args": call["args"]}}


def act(state: Ops) -> Ops:
    """Carry the plan out, or keep the reason why that was refused."""
    chosen = state["plan"]
    call = {"type": "tool_call", "id": "act", "name": chosen["tool"], "args": chosen["args"]}
    try:
        answer: ToolMessage = actions_of(state)[chosen["tool"]].invoke(call)
    except (ToolInputError, PlatformError) as impossible:
        return {"refused": [str(impossible)]}
    if answer.status == "error":
        return {"refused": [str(answer.content)]}
    return {"action": {**chosen, "outcome": recorded(answer)}}


def verify(state: Ops) -> Ops:
    """Measure again, by real requests."""
    return {"health_after": measured()}


def roll_back(state: Ops) -> Ops:
    """Take back an action that did not help."""
    undo_tool(actions_of(state)).invoke({"action": state["action"]})
    return {"outcome": "rolled back"}


def close(state: Ops) -> Ops:
    """Write down how it ended."""
    if "action" not in state:
        outcome, done = "handed over", "nothing was changed; refused: " + "; ".join(state["refused"])
    else:
        outcome = state.get("outcome") or "healed"
        done = f"{state['action']['tool']} {json.dumps(state['action']['args'])}"
    found = state["diagnosis"]
    report = (
        f"{outcome}: {state['triage']['summary']} Cause: {found['service']}: {found['cause']} "
        f"(evidence: {', '.join(found['evidence'])}). Done: {done}. Successful before and after: "
        + " -> ".join(f"{state[when]['success_rate']:.0%}" for when in HEALTH if when in state)
    )
    return {"outcome": outcome, "report": report}


def after_act(state: Ops) -> Literal["verify", "plan", "close"]:
    """A refused plan may be made anew twice; then a person takes over."""
    if "action" in state:
        return "verify"
    return "plan" if len(state["refused"]) < 3 else "close"


def after_verify(state: Ops) -> Literal["close", "roll_back"]:
    return "close" if state["health_after"]["success_rate"] >= HEALTHY else "roll_back"


def read(state: Ops) -> Incident:
    given = state["incident"]
    assert not isinstance(given, str)
    return parse_incident(given)


def platform() -> RemotePlatform:
    """The running services; `SERVICES_URL` says where."""
    return RemotePlatform(os.environ.get("SERVICES_URL", DEFAULT_URL))


def measured() -> dict[str, Any]:
    found: dict[str, Any] = health_tool(platform()).invoke({"service": "gateway"})
    return found


def actions_of(state: Ops) -> dict[str, BaseTool]:
    tools = operation_tools(platform(), incident=read(state).id)
    return {tool.name: tool for tool in tools if tool.name != "measure_health"}


def undo_tool(actions: Mapping[str, BaseTool]) -> BaseTool:
    """Build `undo_action`, which takes an action back the way its tool declares."""

    def undo_action(action: dict[str, Any]) -> str:
        """Take back one action."""
        effect = effect_of(actions[action["tool"]])
        if effect is None or effect.undo is None:
            raise ToolInputError(
                "action", expected="one that can be undone", got=action["tool"], remedy="undo it by hand"
            )
        return json.dumps(effect.undo(action["args"], action["outcome"]))

    return declares(SideEffect("write", idempotent=True))(StructuredTool.from_function(undo_action))


def alerts(incident: Incident) -> str:
    return "\n".join((incident.title, *(alert.line() for alert in signals.alerts(incident))))


def lines(evidence: Mapping[str, str]) -> str:
    return "\n".join(f'"{name}": {text}' for name, text in evidence.items())
