"""Long sessions out of recorded ones: runs of one domain one after the other, as messages and with their tools."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

DOMAINS = ("airline", "retail", "telecom", "telecom-solo")


@dataclass(frozen=True, slots=True)
class Session:
    """Several runs that follow each other; `starts` are the numbers of their first messages."""

    domain: str
    messages: list[BaseMessage]
    starts: list[int]

    def run_of(self, number: int) -> int:
        """The first message of the run that a message belongs to."""
        return max(start for start in self.starts if start <= number)


@dataclass(frozen=True, slots=True)
class Desk:
    """What every prompt of a domain begins with."""

    policy: str
    tools: list[dict[str, Any]]


def desk(data: Path, domain: str) -> Desk:
    """The policy and the tools of a domain, from the environment that lies beside the halves of the data."""
    env, name = data.parent / "env" / "chatbot", domain.partition("-")[0]
    tables = json.loads((env / "tools-data.json").read_text(encoding="utf-8"))
    policy = "\n".join(file.read_text(encoding="utf-8") for file in sorted((env / name).glob("*.md")))
    return Desk(policy, [_schema(tool) for tool in tables[name]["tools"]])


def _schema(tool: dict[str, Any]) -> dict[str, Any]:
    given = tool["parameters"]
    shown = {one["name"]: {"type": one["type"], "description": one["description"]} for one in given}
    wanted = [one["name"] for one in given if one["required"]]
    parameters = {"type": "object", "properties": shown, "required": wanted}
    return {
        "type": "function",
        "function": {"name": tool["name"], "description": tool["description"], "parameters": parameters},
    }


def sessions(data: Path, domain: str, calls: int) -> Iterator[Session]:
    """The recorded runs of a domain, chained until a session has so many model calls; the last may have fewer."""
    messages, starts = list[BaseMessage](), list[int]()
    for run in runs(data, domain):
        starts.append(len(messages))
        messages += run
        if sum(isinstance(one, AIMessage) for one in messages) >= calls:
            yield Session(domain, messages, starts)
            messages, starts = [], []
    if messages:
        yield Session(domain, messages, starts)


def runs(data: Path, domain: str) -> Iterator[list[BaseMessage]]:
    for file in sorted((data / "chatbot" / "trajectories").glob(f"{domain}__*.jsonl.gz")):
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield list(_messages(json.loads(line)["messages"]))


def _messages(recorded: Sequence[dict[str, Any]]) -> Iterator[BaseMessage]:
    """What the agent saw and said; what a user did with tools of their own, it did not see."""
    names = dict[str, str]()
    for number, one in enumerate(recorded):
        content = one.get("content") or ""
        if one["role"] == "user":
            if content:
                yield HumanMessage(content)
        elif one["role"] == "assistant":
            calls = [_call(call, f"{number}-{n}") for n, call in enumerate(one.get("tool_calls") or ())]
            names |= {call["id"]: call["name"] for call in calls}
            yield AIMessage(content, tool_calls=calls)
        elif one.get("requestor") != "user":
            call_id = str(one.get("tool_call_id"))
            yield ToolMessage(content, tool_call_id=call_id, name=names.get(call_id))


def _call(call: dict[str, Any], otherwise: str) -> dict[str, Any]:
    given = call["arguments"]
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            given = {"text": given}
    args = given if isinstance(given, dict) else {"value": given}
    return {"name": call["name"], "args": args, "id": call.get("id") or otherwise, "type": "tool_call"}
