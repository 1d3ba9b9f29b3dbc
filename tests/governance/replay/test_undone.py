"""The replay of a session that was undone undoes nothing: it runs what ran, and asks nobody."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from governance import Policy, Sidecar, govern
from governance.policy import LedgerPolicy
from governance.policy_saga import SagaPolicy
from governance.replay import from_ledger, replay
from tests.attacks.undoing import MAY, Desk, Refused, acts, fails

THREAD: Any = {"configurable": {"thread_id": "t"}}
POLICY = Policy(ledger=LedgerPolicy(payloads="all"), saga=SagaPolicy())


def test_a_session_that_was_undone_and_began_anew_is_replayed_whole(sidecar: Sidecar, line: Any) -> None:
    desk = Desk()

    def end(state: Any) -> Any:
        if state["other"] == "fails":
            fails()

    graph = line(compiled={"checkpointer": InMemorySaver()}, a=acts(desk.tool("a")), end=end)
    graph = govern(graph, contracts=MAY, policy=POLICY, sidecar=sidecar)
    with pytest.raises(Refused):
        graph.invoke({"other": "fails"}, THREAD)
    graph.invoke({"other": "passes"}, THREAD)
    sidecar.ledger.flush()
    done = list(desk.marks)
    found = replay(graph, from_ledger(sidecar.ledger, "t"))

    assert (True, 2) == (found.equal, found.runs)
    assert ["a", "undo a", "a"] == done == desk.marks
