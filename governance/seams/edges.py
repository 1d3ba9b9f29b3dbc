"""Seam 3, routes: what a conditional edge decided goes on record; an edge that decides nothing costs nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from langgraph.graph._branch import BranchSpec
from langgraph.types import Send

from governance.call import NodeCall
from governance.current import current_call
from governance.likeness import like
from governance.plane.ledger import encoded

WANTED: list[tuple[Any, tuple[str, ...]]] = [(BranchSpec, ("_finish", "ends"))]


def _decided(original: Callable[..., Any]) -> Callable[..., Any]:
    @like(original)
    def _finish(self: BranchSpec, writer: Any, input: Any, result: Any, config: Any) -> Any:
        done = original(self, writer, input, result, config)  # raises where the contract has no such route
        call = current_call()
        if isinstance(call, NodeCall) and call.state == "sending":
            _note(call, self.ends, result)
        return done

    return _finish


def _note(call: NodeCall, ends: Any, result: Any) -> None:
    """One event from this node, to those that its edge chose; `Send`s are counted, as each is a message."""
    ledger = call.governance.ledger
    if ledger.behind and not call.governance.enforcing:
        ledger.drop()
        return
    chosen = result if isinstance(result, (list, tuple)) else (result,)
    to = tuple(str(ends[one] if ends else one) for one in chosen if not isinstance(one, Send))
    sent = tuple(one.node for one in chosen if isinstance(one, Send))
    ledger.note(call.session.id, "route.taken", call.path, call.name, (_told, call.execution, to, sent))


def _told(execution: str, to: tuple[str, ...], sent: tuple[str, ...]) -> str:
    body: dict[str, Any] = {"execution": execution}
    if to or not sent:
        body["to"] = to
    if sent:
        body["sent"] = dict(Counter(sent))
    return encoded(body)


def install() -> None:
    """Listen to where conditional edges lead, of every graph."""
    BranchSpec._finish = _decided(BranchSpec._finish)  # type: ignore[method-assign]  # that is what a seam does
