"""Effects that wait for a person: found, settled once, by people only; and those known by a business key."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import ToolNode

from governance import Contract, Sidecar, SideEffect, canonical, declares, govern
from governance.errors import AuthorityRefused, ConfigurationError, ContractViolation, EffectInDoubt
from governance.plane import parked
from governance.plane.control import Control
from governance.plane.effects import Effects, Finished, Fresh, InDoubt, Intent, Running
from tests.fixtures import calling

MAY = {"n": Contract(tools=["refund"])}


@pytest.fixture
def effects(tmp_path: Path) -> Iterator[Effects]:
    control = Control(tmp_path / "control.db")
    yield Effects(control)
    control.close()


def intent(session: str = "s", *, digest: str = "d", execution: str = "e", business: str | None = "b") -> Intent:
    return Intent(f"{session}/p", session, "pay", digest, '{"amount":5}', execution, business)


def in_doubt(effects: Effects, digest: str = "d") -> parked.Parked:
    effects.begin(intent(digest=digest))
    effects.leave("s/p", "e")
    effects.park(intent(digest=digest), "nobody saw how it ended")
    (found,) = parked.waiting(effects.control)
    return found


def test_an_effect_that_was_cut_off_waits_without_anybody_having_run_into_it(effects: Effects) -> None:
    effects.begin(intent())
    effects.leave("s/p", "e")

    (found,) = parked.waiting(effects.control)

    assert ("s", "pay", "b", False, parked.CUT_OFF) == (
        found.session, found.tool, found.business, found.ended, found.why,
    )  # fmt: skip


def test_an_effect_somebody_is_at_work_on_does_not_wait(effects: Effects) -> None:
    effects.begin(intent())

    assert [] == parked.waiting(effects.control)


def test_what_a_person_found_to_have_happened_is_the_outcome(effects: Effects) -> None:
    parked.settle(effects.control, in_doubt(effects).id, "happened", outcome="paid")

    assert Finished("d", "paid") == effects.begin(intent(execution="later"))


def test_what_a_person_found_not_to_have_happened_is_fresh(effects: Effects) -> None:
    parked.settle(effects.control, in_doubt(effects).id, "may-happen")

    assert Fresh() == effects.begin(intent(execution="later"))


def test_other_arguments_that_a_person_took_for_the_same_find_the_outcome(effects: Effects) -> None:
    effects.begin(intent())
    effects.finish("s/p", "e", "paid")
    effects.park(intent(digest="other", execution="later"), "other arguments")
    (found,) = parked.waiting(effects.control)
    parked.settle(effects.control, found.id, "happened")

    assert Finished("other", "paid") == effects.begin(intent(digest="other", execution="later"))
    assert Finished("d", "paid") == effects.begin(intent(execution="later"))


def test_an_effect_is_settled_once(effects: Effects) -> None:
    found = in_doubt(effects)
    parked.settle(effects.control, found.id, "happened", outcome="paid")

    with pytest.raises(ConfigurationError, match=f"one waiting effect with the id '{found.id}', found none"):
        parked.settle(effects.control, found.id, "may-happen")


def test_who_is_at_work_keeps_the_lease_when_another_gives_up(effects: Effects) -> None:
    effects.begin(intent())
    effects.park(intent(digest="other", execution="later"), "other arguments")

    assert Running("d") == effects.begin(intent(execution="third"))


def test_what_another_gave_up_on_is_no_answer_to_it_once_the_effect_has_ended(effects: Effects) -> None:
    effects.begin(intent())
    effects.park(intent(digest="other", execution="later"), "other arguments")
    effects.finish("s/p", "e", "paid")

    assert [] == parked.waiting(effects.control)
    assert Finished("d", "paid") == effects.begin(intent(digest="other", execution="later"))


def test_code_of_a_node_settles_nothing(one: Any, sidecar: Sidecar) -> None:
    found = in_doubt(sidecar.effects)
    graph = one(lambda state: {"out": str(parked.settle(sidecar.control, found.id, "may-happen"))})

    with pytest.raises(AuthorityRefused, match="n tried to settle an effect"):
        govern(graph, contracts={"n": Contract()}, sidecar=sidecar).invoke({"out": ""})


def test_a_business_key_is_one_effect_over_all_sessions(effects: Effects) -> None:
    effects.begin(intent("s"))
    effects.finish("s/p", "e", "paid")

    assert Finished("d", "paid", "s") == effects.begin(intent("t", execution="f"))


def test_while_one_session_is_at_it_another_waits(effects: Effects) -> None:
    effects.begin(intent("s"))

    assert Running("d", "s") == effects.begin(intent("t", execution="f"))


def test_what_another_session_left_in_doubt_is_judged_by_who_comes_next(effects: Effects) -> None:
    effects.begin(intent("s"))
    effects.leave("s/p", "e")

    assert InDoubt("d", "s") == effects.begin(intent("t", execution="f"))
    assert Running("d", "t") == effects.begin(intent("s", execution="g"))


def test_who_was_late_does_not_overwrite_what_another_found(effects: Effects) -> None:
    """A process that stood still past its lease comes back."""
    effects.begin(intent("s"))
    effects.leave("s/p", "e")  # as if its lease had run out
    effects.begin(intent("t", execution="f"))
    effects.finish("t/p", "f", "paid by t")

    assert not effects.finish("s/p", "e", "paid by s")
    assert Finished("d", "paid by t", "t") == effects.begin(intent("s", execution="g"))


def refunding(refunds: list[str], **declared: Any) -> Any:
    @declares(SideEffect("external", key="refund:{order}", **declared))
    @tool
    def refund(order: str, amount: int = 5) -> str:
        """Refunds."""
        refunds.append(order)
        return f"refund {len(refunds)}"

    return refund


def test_fifty_sessions_on_one_order_make_one_refund(one: Any, sidecar: Sidecar) -> None:
    refunds: list[str] = []
    refund = refunding(refunds)
    graph = one(lambda state: {"out": refund.invoke({"order": "4711"})}, checkpointer=InMemorySaver())
    govern(graph, contracts=MAY, sidecar=sidecar)
    found: list[str] = []

    def session(n: int) -> None:
        found.append(graph.invoke({"out": ""}, {"configurable": {"thread_id": str(n)}})["out"])

    threads = [threading.Thread(target=session, args=(n,)) for n in range(50)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert (["4711"], ["refund 1"] * 50) == (refunds, found)


def test_another_amount_for_the_same_order_is_for_a_person(one: Any, sidecar: Sidecar) -> None:
    refunds: list[str] = []
    refund = refunding(refunds)
    graph = one(lambda state: {"out": refund.invoke({"order": "4711", "amount": int(state["out"])})})
    govern(graph, contracts=MAY, sidecar=sidecar).invoke({"out": "5"})

    with pytest.raises(EffectInDoubt, match="refund:4711 was done or begun in the session .* with other arguments"):
        graph.invoke({"out": "6"})
    assert ["4711"] == refunds


def test_a_business_key_without_all_its_parts_is_refused(one: Any, sidecar: Sidecar) -> None:
    """Unkeyed, it would be another effect for each session."""
    refunds: list[str] = []

    @declares(SideEffect("external", key="refund:{ordr}"))
    @tool
    def refund(order: str) -> None:
        """Refunds."""
        refunds.append(order)

    graph = govern(one(lambda state: refund.invoke({"order": "4711"})), contracts=MAY, sidecar=sidecar)

    with pytest.raises(ContractViolation, match="business key 'refund:{ordr}', which does not fit its arguments"):
        graph.invoke({"out": ""})
    assert [] == refunds


def test_an_outcome_found_by_looking_answers_the_tool_call_it_was_made_for(one: Any, sidecar: Sidecar) -> None:
    """`reconcile` returns what it knows; a model's provider wants a message under the id of the call."""
    refund = refunding([], reconcile=lambda args: f"found {args['order']}")
    effects = sidecar.effects
    graph = one(ToolNode([refund]), checkpointer=InMemorySaver())
    govern(graph, contracts=MAY, sidecar=sidecar)
    begun, effects.lease = effects.lease, -1.0  # whoever begins now is taken for dead at once
    business = Intent(
        "other/place",
        "other",
        "refund",
        canonical.digest(["refund", {"order": "4711", "amount": 5}]),
        "{}",
        "e",
        "refund:4711",
    )
    effects.begin(business)
    effects.let_go(business.key, "e")
    effects.lease = begun

    last = graph.invoke(
        {"messages": [calling(("refund", {"order": "4711", "amount": 5}))]}, {"configurable": {"thread_id": "t"}}
    )

    answer = last["messages"][-1]
    assert (ToolMessage, "found 4711", "c0") == (type(answer), answer.content, answer.tool_call_id)
    assert isinstance(last["messages"][0], AIMessage)
