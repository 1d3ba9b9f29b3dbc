"""Who may act now: stops, the latch of an earlier refusal, and the tools with their arguments."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from langchain_core.messages import ToolMessage

from governance.call import Call, Effect, Flow, ModelCall, NodeCall, Proceed, Run, ToolCall
from governance.contracts import Tool
from governance.errors import Abandoned, ApprovalDenied, AuthorityRefused, Halted, Refusal
from governance.filters.cards import overruled
from governance.hosted import hosted
from governance.tenants import tenant_of

if TYPE_CHECKING:
    from governance.plane.control import Control


def node_authority(call: NodeCall) -> Flow | None:
    """Refuses a stopped node before it runs; the seam refuses one whose code swallowed a refusal."""
    control = call.governance.control
    if call.parent is not None:
        check_latch(call)
        if stale(call):
            return _when_ready(call)
    if not (control.is_fresh() and call.governance.ledger.ready):
        return _when_ready(call)
    if control.stops or call.parent is not None:
        check_stops(call)
    return None


def _when_ready(call: NodeCall) -> Flow:
    ledger = call.governance.ledger
    yield from refreshed(call)
    if not ledger.ready:
        yield Run(ledger.flush, ledger.aflush)  # it begins only once this process has written to the record
    check_stops(call)
    return (yield Proceed(call))


def stale(call: Call) -> list[Control]:
    """The control files of this call and of those it runs in that somebody has written to since they were read."""
    old: list[Control] = []
    part: Call | None = call
    while part is not None:
        control = part.governance.control
        if part.governance.enforcing and not control.is_fresh() and control not in old:
            old.append(control)
        part = part.parent
    return old


def refreshed(call: Call) -> Generator[Effect, Any, None]:
    """Read them anew, so that a stop is in force at the first call after it."""
    for control in stale(call):
        yield Run(control.refresh)


class InnerAuthority:
    """Refuses a model or tool call before anything is spent; a refusal latches on the node."""

    def __call__(self, call: ModelCall | ToolCall) -> Flow:
        node = call.node
        yield from refreshed(call)
        check_latch(node)
        try:
            check_stops(call)
            if isinstance(call, ToolCall):
                check_tool(call)
            else:
                check_hosted(call)
        except Refusal as refusal:
            yield from overruled(call, refusal)
            return refused(call, refusal, answerable=AuthorityRefused)
        try:
            return (yield Proceed(call))
        except Refusal as refusal:
            yield from overruled(call, refusal)
            return refused(call, refusal, answerable=ApprovalDenied)


def refused(call: ModelCall | ToolCall, refusal: Refusal, *, answerable: type[Refusal]) -> Any:
    """Answer with the reason where the tool's rule says so; else latch the refusal on the node, and raise it."""
    rule = call.contract.tool(call.name) if isinstance(call, ToolCall) else None
    if isinstance(refusal, answerable) and rule is not None and rule.refusals == "answer":
        record_answer(call, refusal)
        return answer(call, refusal)
    raise call.node.refuse(refusal) from None


def check_latch(node: NodeCall) -> None:
    """After a refusal, or after the end of an execution, nothing more starts in it or beneath it."""
    above: NodeCall | None = node
    scheduled = False
    while above is not None:
        if above.refusal is not None:
            raise node.refuse(above.refusal)
        if above.state == "over" and not scheduled:
            raise node.refuse(
                Abandoned(f"{above.path} is over; a thread or task it left behind may not act", path=above.path)
            )
        # LangGraph runs a task to its end also when the node that scheduled it was interrupted meanwhile.
        scheduled = above.scheduled
        above = above.parent.node if above.parent is not None else None


def check_stops(call: Call) -> None:
    """Raise `Halted` where an operator stopped this call, or anything it is a part of."""
    part: Call | None = call
    while part is not None:
        stops = part.governance.control.stops
        for place in names(part) if stops else ():
            order = stops.get(place)
            if order is not None:
                raise Halted(
                    f"stopped by {order.by}: {order.reason} (`sidecar resume {order.scope} {order.name}` lifts it)",
                    scope=order.scope,
                    name=order.name,
                )
        part = part.parent


def names(call: Call) -> list[tuple[str, str]]:
    """What an operator may call this very call when stopping it."""
    found = [("all", "*"), ("session", call.session.id), ("agent", call.node.place), ("agent", call.node.name)]
    if call.contract.role:
        found.append(("agent", call.contract.role))
    if isinstance(call, ToolCall):
        found.append(("tool", call.name))
    tenant = tenant_of(call)
    if tenant:
        found.append(("tenant", tenant))
    return found


def check_tool(call: ToolCall) -> None:
    """The tool must be in the contract, and every constrained argument must hold."""
    rule = call.contract.tool(call.name)
    if rule is None:
        allowed = ", ".join(sorted(call.contract.tools)) or "none"
        raise AuthorityRefused(
            f"{call.node.place} may not call {call.name}; its contract allows: {allowed}",
            tool=call.name,
            args=dict(call.args),
        )
    problem = broken_constraint(rule, call)
    if problem is not None:
        raise AuthorityRefused(
            f"{call.node.place} may not call {call.name} like this: {problem}",
            tool=call.name,
            args=dict(call.args),
        )


def check_hosted(call: ModelCall) -> None:
    """Tools that the provider runs pass nobody on their way: the contract must name them, without conditions."""
    for known_as in hosted(call):
        rules = [rule for rule in map(call.contract.tool, known_as) if rule is not None]
        if not rules:
            raise AuthorityRefused(
                f"{call.node.place} may not let {call.name} run the provider's {known_as[0]}; "
                f"its contract allows: {', '.join(sorted(call.contract.tools)) or 'none'}",
                tool=known_as[0],
            )
        if any(rule.where or rule.approval is not None for rule in rules):
            raise AuthorityRefused(
                f"{call.node.place} may not let {call.name} run the provider's {known_as[0]}: its rule has conditions, "
                "and nobody sees the calls of a tool that the provider runs",
                tool=known_as[0],
            )


def broken_constraint(rule: Tool, call: ToolCall) -> str | None:
    for argument, constraint in rule.where.items():
        try:
            problem = constraint(call.args.get(argument), call)
        except Exception as error:  # a constraint that cannot judge does not allow
            problem = f"the constraint failed ({error})"
        if problem is not None:
            return f"{argument} {problem}"
    return None


def record_answer(call: Call, refusal: Refusal) -> None:
    if call.governance.halts is not None:
        call.governance.halts.failed(call, refusal)
    call.governance.ledger.record(
        call.session.id,
        "tool.answered",
        path=call.path,
        actor=call.name,
        body={
            "code": refusal.code,
            "reason": refusal.reason,
            "facts": refusal.facts,
            "execution": call.execution,
        },
    )


def answer(call: Call, refusal: Refusal) -> Any:
    """The refusal as a tool result, in the form the caller of the tool expects."""
    assert isinstance(call, ToolCall)
    text = f"Refused: {refusal.reason}"
    if call.call_id is None:
        return text
    return ToolMessage(text, tool_call_id=call.call_id, name=call.name, status="error")
