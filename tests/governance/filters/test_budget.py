"""Tokens: reserved before a model is asked, settled with what it used, never more than there are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.messages.ai import UsageMetadata

from governance import Contract, Policy, Sidecar, govern
from governance.errors import BudgetExceeded
from governance.policy import BudgetPolicy
from governance.testing.models import ScriptedChatModel


def used(total: int, text: str = "answer") -> AIMessage:
    return AIMessage(text, usage_metadata=UsageMetadata(input_tokens=1, output_tokens=total - 1, total_tokens=total))


def asking(model: Any, times: int = 1, **options: Any) -> Callable[[Any], Any]:
    def node(state: Any) -> Any:
        for _ in range(times):
            answer = model.invoke([HumanMessage("hi")], **options)
        return {"out": str(answer.content)}

    return node


def limited(session: int | None, answer: int = 100) -> Policy:
    return Policy(budget=BudgetPolicy(session_tokens=session, answer_tokens=answer))


def test_a_call_that_may_not_fit_is_refused_before_the_model_is_asked(line: Any, sidecar: Sidecar) -> None:
    model = ScriptedChatModel([used(10)])
    graph = govern(line(n=asking(model)), contracts={"n": Contract(tokens=50)}, policy=limited(None), sidecar=sidecar)

    with pytest.raises(BudgetExceeded, match=r"this call may need 1\d\d tokens; n has 50 of 50 left"):
        graph.invoke({"out": ""})
    assert [] == model.calls


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_limit_of_the_call_is_what_its_answer_may_need(name: str, line: Any, sidecar: Sidecar) -> None:
    model = ScriptedChatModel([used(10)])
    node = asking(model, **{name: 20})

    govern(line(n=node), contracts={"n": Contract(tokens=50)}, policy=limited(None), sidecar=sidecar).invoke(
        {"out": ""}
    )
    assert 1 == len(model.calls)


def test_what_was_not_used_comes_back(line: Any, sidecar: Sidecar) -> None:
    """Three calls fit one after the other, though three reservations would not."""
    model = ScriptedChatModel([used(10)] * 3)
    contracts = {"n": Contract(tokens=140)}

    govern(line(n=asking(model, 3)), contracts=contracts, policy=limited(None), sidecar=sidecar).invoke({"out": ""})
    assert 3 == len(model.calls)


def test_the_allowance_of_a_node_is_per_execution_and_that_of_a_session_is_not(
    line: Any, sidecar: Sidecar, thread: Any
) -> None:
    model = ScriptedChatModel([used(90)] * 3)
    contracts = {"n": Contract(tokens=150)}
    graph = govern(line(n=asking(model)), contracts=contracts, policy=limited(250), sidecar=sidecar)
    graph.invoke({"out": ""}, thread)
    graph.invoke({"out": ""}, thread)

    with pytest.raises(BudgetExceeded, match=r"the session has 70 of 250 left"):
        graph.invoke({"out": ""}, thread)


def test_another_session_has_a_budget_of_its_own(line: Any, sidecar: Sidecar) -> None:
    model = ScriptedChatModel([used(200)] * 2)
    graph = govern(line(n=asking(model)), contracts={"n": Contract()}, policy=limited(250), sidecar=sidecar)

    for name in ("a", "b"):
        graph.invoke({"out": ""}, {"configurable": {"thread_id": name}})


def test_a_session_that_has_used_everything_runs_no_node(line: Any, sidecar: Sidecar, thread: Any) -> None:
    model = ScriptedChatModel([used(300)])
    graph = govern(line(n=asking(model)), contracts={"n": Contract()}, policy=limited(250), sidecar=sidecar)
    graph.invoke({"out": ""}, thread)

    with pytest.raises(BudgetExceeded, match="session t has used 300 of 250 tokens"):
        graph.invoke({"out": ""}, thread)


def test_a_new_process_knows_what_the_session_has_spent(line: Any, sidecar: Sidecar, thread: Any) -> None:
    contracts = {"n": Contract()}
    first = govern(
        line(n=asking(ScriptedChatModel([used(200)]))), contracts=contracts, policy=limited(250), sidecar=sidecar
    )
    first.invoke({"out": ""}, thread)
    sidecar.close()
    later = Sidecar(ledger=sidecar.ledger.path)
    graph = govern(
        line(n=asking(ScriptedChatModel([used(200)]))), contracts=contracts, policy=limited(250), sidecar=later
    )

    with pytest.raises(BudgetExceeded, match="the session has 50 of 250 left"):
        graph.invoke({"out": ""}, thread)
    later.close()


def test_a_call_that_fails_counts_what_was_reserved(line: Any, sidecar: Sidecar, thread: Any, rows: Any) -> None:
    """Nobody said what it cost, and it may have been paid."""
    model = ScriptedChatModel([ConnectionError("gone")])
    graph = govern(line(n=asking(model)), contracts={"n": Contract()}, policy=limited(1000), sidecar=sidecar)
    with pytest.raises(ConnectionError):
        graph.invoke({"out": ""}, thread)

    [row] = rows("model")
    assert ("model.failed", sidecar.sessions.get("t").tokens) == (row.kind, row.body["tokens"])
    assert 100 < row.body["tokens"] < 120


def test_what_moved_is_on_record_with_what_is_left(line: Any, sidecar: Sidecar, thread: Any, rows: Any) -> None:
    """One event a call: set aside, used, and left of each limit that holds for it."""
    model = ScriptedChatModel([used(30), used(20)])
    graph = govern(
        line(n=asking(model, 2)), contracts={"n": Contract(tokens=200)}, policy=limited(250), sidecar=sidecar
    )
    graph.invoke({"out": ""}, thread)

    found = [row.body for row in rows("budget")]
    assert [(30, 220, 170), (20, 200, 150)] == [
        (body["used"], *(limit["left"] for limit in body["left"])) for body in found
    ]
    assert [("session", 250), ("n", 200)] == [(limit["of"], limit["total"]) for limit in found[0]["left"]]
    assert all(body["reserved"] > 100 and "unsettled" not in body for body in found)


def test_a_call_that_fails_or_is_refused_says_what_became_of_its_tokens(
    line: Any, sidecar: Sidecar, thread: Any, rows: Any
) -> None:
    """What may have been paid counts; what was never asked for moved nothing, and its refusal is on record anyway."""
    failing = ScriptedChatModel([ConnectionError("gone")])
    graph = govern(line(n=asking(failing)), contracts={"n": Contract()}, policy=limited(200), sidecar=sidecar)
    with pytest.raises(ConnectionError):
        graph.invoke({"out": ""}, thread)
    with pytest.raises(BudgetExceeded):
        graph.invoke({"out": ""}, thread)

    [row] = rows("budget")
    assert (True, row.body["reserved"]) == (row.body["unsettled"], row.body["used"])
    assert 200 - row.body["used"] == row.body["left"][0]["left"]


def test_without_a_budget_nothing_is_told_of_one(line: Any, sidecar: Sidecar, rows: Any) -> None:
    graph = line(n=asking(ScriptedChatModel([used(30)])))
    govern(graph, contracts={"n": Contract()}, policy=limited(None), sidecar=sidecar).invoke({"out": ""})

    assert [] == rows("budget")


def test_the_node_above_is_told_of_too(line: Any, sidecar: Sidecar, rows: Any) -> None:
    inner = line(leaf=asking(ScriptedChatModel([used(30)])))
    graph = govern(
        line(team=inner), contracts={"team": Contract(tokens=300), "team/*": Contract()}, policy=limited(None), sidecar=sidecar
    )  # fmt: skip
    graph.invoke({"out": ""})

    [row] = rows("budget")
    assert [{"of": "team", "left": 270, "total": 300}] == row.body["left"]


def test_calls_side_by_side_never_overspend(line: Any, sidecar: Sidecar, thread: Any) -> None:
    model = ScriptedChatModel([used(100)] * 10)
    refused: list[Exception] = []

    async def node(state: Any) -> Any:
        calls = [model.ainvoke([HumanMessage("hi")]) for _ in range(10)]
        found = await asyncio.gather(*calls, return_exceptions=True)
        refused.extend(one for one in found if isinstance(one, Exception))
        return {}

    graph = govern(line(n=node), contracts={"n": Contract()}, policy=limited(350), sidecar=sidecar)
    with pytest.raises(BudgetExceeded):
        asyncio.run(graph.ainvoke({"out": ""}, thread))

    assert sidecar.sessions.get("t").tokens <= 350
    assert 10 == len(model.calls) + len(refused)


def test_a_streamed_answer_is_charged_like_any_other(line: Any, sidecar: Sidecar, thread: Any, rows: Any) -> None:
    model = ScriptedChatModel([used(40, "some words")])
    graph = line(n=lambda state: {"out": "".join(str(piece.content) for piece in model.stream("hi"))})
    govern(graph, contracts={"n": Contract()}, policy=limited(1000), sidecar=sidecar).invoke({"out": ""}, thread)

    assert [40] == [row.body["tokens"] for row in rows("model.ended")]


def test_a_stream_broken_off_counts_what_was_reserved_and_is_on_record(
    line: Any, sidecar: Sidecar, thread: Any, rows: Any
) -> None:
    model = ScriptedChatModel([used(40, "some more words")])

    def node(state: Any) -> Any:
        for piece in model.stream("hi"):
            return {"out": str(piece.content)}

    govern(line(n=node), contracts={"n": Contract()}, policy=limited(1000), sidecar=sidecar).invoke({"out": ""}, thread)

    [row] = rows("model")
    assert ("model.interrupted", True) == (row.kind, row.body["tokens"] > 100)
    assert sidecar.sessions.get("t").tokens == row.body["tokens"]


def test_observe_mode_counts_and_never_refuses(line: Any, sidecar: Sidecar, thread: Any) -> None:
    model = ScriptedChatModel([used(500)])
    graph = govern(line(n=asking(model)), policy=limited(10), sidecar=sidecar)

    assert "answer" == graph.invoke({"out": ""}, thread)["out"]
