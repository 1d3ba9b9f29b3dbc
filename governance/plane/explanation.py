"""Why something happened, put together from the rows of a session: in words, each with the row that says it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from governance import canonical

Row = Mapping[str, Any]
Payload = Callable[[str, str], str | None]
"""Session and digest to the text of a payload; None where it is not kept any more."""
SHOWN = 600
END = "__end__"
"""LangGraph's name for the end of a graph."""
OUTCOMES = ("answer", "result", "update")
"""Payloads that are told last: what came of the others."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One sentence and the row it stands on."""

    n: int
    ts: int
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that is on record about one execution of a node."""

    session: str
    node: str
    path: str
    facts: tuple[Fact, ...]


def explanations(rows: Sequence[Row], paths: Iterable[str], payload: Payload) -> list[Explanation]:
    """One for each path of a node, of the rows of its session."""
    decided: dict[str, list[Row]] = {}
    for row in rows:
        if _is_decision(row):
            decided.setdefault(row["body"].get("card"), []).append(row)
    return [_explained(rows, path, decided, payload) for path in paths]


def node_of(path: str) -> str:
    """The path of the node that a model or tool call at a path happened in."""
    return path.partition(">")[0]


def _is_decision(row: Row) -> bool:
    return row["kind"] == "approval.decided" and isinstance(row["body"], dict)


def _explained(rows: Sequence[Row], path: str, decided: Mapping[str, list[Row]], payload: Payload) -> Explanation:
    own = [row for row in rows if isinstance(row["body"], dict) and node_of(row["path"]) == path]
    cards = {row["body"]["card"] for row in own if "card" in row["body"]}
    more = [row for card in cards for row in decided.get(card, ()) if row not in own]
    found = sorted([*own, *more], key=lambda row: row["n"])
    session = found[0]["session"] if found else ""
    node = next((row["actor"] for row in found if row["kind"] == "node.begun"), path.rpartition("/")[2])
    facts = tuple(Fact(row["n"], row["ts"], row["kind"], sentence(row, payload)) for row in found)
    return Explanation(session, node, path, facts)


def sentence(row: Row, payload: Payload) -> str:
    """One row in plain words."""
    body = row["body"] if isinstance(row["body"], dict) else {"text": row["body"]}
    boundary, _, word = row["kind"].partition(".")
    tell = _TOLD.get(row["kind"]) or _TOLD.get(boundary) or _other
    return tell(row, body, word) + _kept(row["session"], body, payload)


def _node_begun(row: Row, body: Mapping[str, Any], word: str) -> str:
    again = f", attempt {body['attempt']}" if body.get("attempt", 1) != 1 else ""
    policy = f" and the policy {body['policy']}" if body.get("policy") else ""
    return f"Node {row['actor']} began{again}, under the contract {body.get('contract')}{policy}."


def _node(row: Row, body: Mapping[str, Any], word: str) -> str:
    if word == "ended":
        to = f" It handed over to {', '.join(body['to'])}." if body.get("to") else ""
        wrote = body.get("wrote")
        what = ", ".join(wrote) if isinstance(wrote, list) else str(wrote)
        return f"Node {row['actor']} ended after {_span(body)} and wrote {what or 'nothing'}.{to}"
    return f"Node {row['actor']} was {word}{_why(body)}."


def _model(row: Row, body: Mapping[str, Any], word: str) -> str:
    rules = f" (policy {body['policy']})" if body.get("policy") else ""
    if word == "reused":
        return f"The model {row['actor']} was not asked again: what it had said here before was taken."
    if word == "ended":
        return f"The model {row['actor']} was asked{rules}: {body.get('tokens', 0)} tokens, {_span(body)}."
    return f"Asking the model {row['actor']} {_ended(word)}{_why(body)}{rules}."


def _tool(row: Row, body: Mapping[str, Any], word: str) -> str:
    rules = f", under the contract {body['contract']} and the policy {body['policy']}" if body.get("policy") else ""
    if word == "answered":
        return f"The refusal of {row['actor']} was given to its caller as an answer{_why(body)}."
    if word == "reused":
        return f"The tool {row['actor']} was not called again: what it had answered here before was taken."
    ended = f"was called with {_json(body.get('args'))}"
    if word == "ended":
        return f"The tool {row['actor']} {ended}{rules}; it took {_span(body)}."
    return f"The tool {row['actor']} {ended} and {_ended(word)}{_why(body)}{rules}."


def _gate(row: Row, body: Mapping[str, Any], word: str) -> str:
    said = {"pass": "let it pass", "revise": "sent it back", "escalate": "asked for a person", "halt": "stopped it"}
    evidence = f" Evidence: {_json(body['evidence'])}." if body.get("evidence") else ""
    return f"The gate {row['actor']} {said.get(word, word)}{_because(body.get('reason'))}.{evidence}"


def _approval(row: Row, body: Mapping[str, Any], word: str) -> str:
    card, what = str(body.get("card", ""))[:8], _json(body.get("what"))
    if word == "asked":
        return f"{row['actor']} asked for an approval ({card}) of {what}{_because(body.get('reason'))}."
    state = body.get("state", word)
    return f"{row['actor']}: {state} ({card}), at {_at(row['ts'])}{_because(body.get('reason'))}. It was about {what}."


def _intent(row: Row, body: Mapping[str, Any], word: str) -> str:
    key = f", known as {body['business']}" if body.get("business") else ""
    return f"The effect {row['actor']} was about to happen with {_json(body.get('args'))}{key}; on disk before it did."


def _effect(row: Row, body: Mapping[str, Any], word: str) -> str:
    said = {
        "finished": "happened",
        "declined": "did not happen: the tool itself declined, or its own code did not begin",
        "unsettled": "ended by an error that does not say whether it happened",
        "reused": "had happened before, and was not repeated: its outcome was found again",
        "reconciled": "was found to have happened in a run that was cut off",
        "repeated": "was done again, which the tool declares to be harmless or has looked up",
        "parked": "was set aside for a person to look into",
        "fenced": "ended too late: its lease had run out, and another run had judged it meanwhile",
    }
    late = ", after a deadline had cut it off" if body.get("late") else ""
    return f"The effect {row['actor']} {said.get(word, word)}{late}{_because(body.get('reason'))}."


def _settled(row: Row, body: Mapping[str, Any], word: str) -> str:
    what = f"the effect {body.get('tool')} ({str(body.get('effect', ''))[:8]})"
    return f"{row['actor']} settled {what}: {body.get('finding')}{_because(body.get('reason'))}."


def _saga(row: Row, body: Mapping[str, Any], word: str) -> str:
    if word == "began":
        said = {"failed": "it failed", "denied": "a person said no", "stopped": "it was stopped"}
        why = said.get(str(body.get("cause")), f"{row['actor']} asked for it")
        return f"{body.get('effects')} effects were to be undone, as {why}{_because(body.get('reason'))}."
    if word == "ended":
        waits = f"; {body['parked']} wait for a person" if body.get("parked") else ""
        return f"The session was undone: {body.get('undone')} effects are not in force any more{waits}."
    if word == "settled":
        what = f"the undo of {body.get('tool')} ({str(body.get('effect', ''))[:8]})"
        return f"{row['actor']} settled {what}: {body.get('finding')}{_because(body.get('reason'))}."
    said = {
        "undoing": "was about to be taken back; on disk before it was",
        "undone": "is not in force any more: it was taken back",
        "parked": "could not be taken back, and waits for a person",
        "held": "was not taken back yet",
        "fenced": "was not settled by this run, which came too late",
    }
    return f"The effect {row['actor']} {said.get(word, word)}{_because(body.get('reason'))}."


def _budget(row: Row, body: Mapping[str, Any], word: str) -> str:
    left = [
        f"{one['of']} has {one['left']} of {one['total']} {'(money) ' if one.get('money') else ''}left"
        + (f" in {one['in']}" if "in" in one else "")
        for one in body.get("left") or ()
    ]
    used = "all count, as nobody said how many were used" if body.get("unsettled") else f"{body.get('used')} were used"
    cost = f", which cost {body['cost']}" if "cost" in body else ""
    rest = f"{cost}; {', '.join(left)}" if left else cost
    return f"For asking {row['actor']}, {body.get('reserved')} tokens were set aside and {used}{rest}."


def _context(row: Row, body: Mapping[str, Any], word: str) -> str:
    if word == "compacted":
        what = f"{body.get('left_out')} messages ({body.get('tokens')} tokens) of its history are left out by now"
        return f"For asking {row['actor']}, {what}{_because(body.get('reason'))}; {body.get('shown')} tokens are shown."
    did = {
        "mended": "messages were mended",
        "shortened": "large results were shown in part",
        "skipped": "turns were left out",
    }
    done = [f"{body[name]} {words}" for name, words in did.items() if body.get(name)]
    return f"For asking {row['actor']}, {', '.join(done)}, so that the prompt is accepted and fits."


def _route(row: Row, body: Mapping[str, Any], word: str) -> str:
    said = [f"went on to {name}" if name != END else "ended here" for name in body.get("to") or ()]
    said += [f"sent {count} message{'s' * (count != 1)} to {name}" for name, count in (body.get("sent") or {}).items()]
    return f"After {row['actor']}, the conditional edge {' and '.join(said) or 'went nowhere'}."


def _retry(row: Row, body: Mapping[str, Any], word: str) -> str:
    if word == "scheduled":
        tries = f"failed by {body.get('error')} ({body.get('kind')}) for the {_ordinal(body.get('tries', 1))} time"
        return (
            f"{body.get('dependency')} {tries}, and was to be tried again after {body.get('wait_ms', 0) / 1000:.2f} s."
        )
    return f"{body.get('dependency')} was not tried again{_because(body.get('reason'))}."


def _breaker(row: Row, body: Mapping[str, Any], word: str) -> str:
    said = {
        "opened": "opened: nobody asks it for a while",
        "half_open": "is half open: a few calls try whether it works again",
        "closed": "closed: it is asked as usual",
    }
    return f"The circuit of {row['actor']} {said.get(word, word)}{_because(body.get('reason'))}."


def _bulkhead(row: Row, body: Mapping[str, Any], word: str) -> str:
    return f"The call of {row['actor']} was not let in{_because(body.get('reason'))}."


def _fallback(row: Row, body: Mapping[str, Any], word: str) -> str:
    if word == "used":
        return f"In place of {body.get('from')}, {body.get('to')} answered{_because(body.get('reason'))}."
    return f"{body.get('to')} did not stand in for {body.get('from')}{_because(body.get('reason'))}."


def _isolated(row: Row, body: Mapping[str, Any], word: str) -> str:
    tries = body.get("attempts", 1)
    often = f" after {tries} attempts" if tries != 1 else ""
    left = [f"{one['tool']} is {one['state']}" for one in body.get("effects") or ()]
    had = f" Of its effects, {', '.join(left)}." if left else ""
    to = {None: "along its edges", END: "to its end"}.get(body.get("to"), f"to {body.get('to')}")
    return (
        f"The failure of {row['actor']} ({body.get('error')}, {body.get('kind')}){often} was isolated: "
        f"no other node was stopped, and control went {to}.{had}"
    )


def _halt(row: Row, body: Mapping[str, Any], word: str) -> str:
    name = "everything" if body.get("scope") == "all" else f"the {body.get('scope')} {body.get('name')}"
    return f"A rule of the policy stopped {name}{_because(body.get('reason'))}."


def _policy(row: Row, body: Mapping[str, Any], word: str) -> str:
    if word == "rejected":
        return f"The policy file {body.get('file')} was not taken up{_because(body.get('reason'))}."
    changed = [f"{key} from {_json(old)} to {_json(new)}" for key, (old, new) in (body.get("changes") or {}).items()]
    return f"The policy file {body.get('file')} changed: {', '.join(changed)}."


def _other(row: Row, body: Mapping[str, Any], word: str) -> str:
    rest = {k: v for k, v in body.items() if k != "execution" and not _is_payload(v)}
    who = f" by {row['actor']}" if row["actor"] else ""
    return f"{row['kind']}{who}{': ' + _json(rest) if rest else ''}."


_TOLD: dict[str, Callable[[Row, Mapping[str, Any], str], str]] = {
    "node.begun": _node_begun,
    "node": _node,
    "model": _model,
    "tool": _tool,
    "gate": _gate,
    "approval": _approval,
    "effect.intent": _intent,
    "effect.settled": _settled,
    "effect": _effect,
    "saga": _saga,
    "budget": _budget,
    "context": _context,
    "route": _route,
    "retry": _retry,
    "breaker": _breaker,
    "bulkhead": _bulkhead,
    "fallback": _fallback,
    "failure.isolated": _isolated,
    "halt": _halt,
    "policy": _policy,
}


def _kept(session: str, body: Mapping[str, Any], payload: Payload) -> str:
    told = []
    for name, value in sorted(body.items(), key=lambda one: one[0] in OUTCOMES):
        if _is_payload(value):
            text = payload(session, value["sha256"])
            told.append(f" Its {name} was {_cut(text)}" if text is not None else f" Its {name} is not kept any more.")
    return "".join(told)


def _is_payload(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"sha256", "bytes"}


def _ended(word: str) -> str:
    return word if word == "failed" else f"was {word}"


def _why(body: Mapping[str, Any]) -> str:
    code = f" ({body['code']})" if body.get("code") else f" ({body['error']})" if body.get("error") else ""
    return f"{code}{_because(body.get('reason'))}"


def _because(reason: Any) -> str:
    return f", because: {reason}" if reason else ""


def _ordinal(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")


def _span(body: Mapping[str, Any]) -> str:
    us = body.get("us")
    return f"{us / 1000:.1f} ms" if isinstance(us, (int, float)) else "an unknown time"


def _at(ts: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ts / 1e9))


def _json(value: Any) -> str:
    return _cut(canonical.text(value))


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text)} characters)"
