"""Errors, attempts, refusals and effects come again as they were."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import RetryPolicy, interrupt

from governance import Contract, SideEffect, Tool, at_most, declares
from governance.testing.models import ScriptedChatModel
from tests.fixtures import State, calling
from tests.governance.replay.conftest import THREAD, Stage

RETRIED = {"retry_policy": RetryPolicy(initial_interval=9, jitter=False, retry_on=ConnectionError)}


class Odd(Exception):
    """An error that cannot be made without what it came from."""

    def __init__(self, *, response: object, status: int) -> None:
        super().__init__(f"status {status}")
        self.response, self.status = response, status


def failing(error: Exception, *, times: int = 1) -> Any:
    left = [error] * times

    @tool
    def look(what: str) -> str:
        """Fails, then looks."""
        if left:
            raise left.pop()
        return f"{what} {id(left)}"

    return look


def never() -> Any:
    @tool
    def look(what: str) -> str:
        """Must not run."""
        raise AssertionError("a replay called a tool")

    return look


def test_an_error_of_a_tool_is_raised_again_as_it_was(stage: Stage, line: Any) -> None:
    def graph(look: Any) -> Any:
        def node(state: Any) -> Any:
            try:
                return {"out": look.invoke({"what": "a"})}
            except Odd as error:
                return {"out": f"{error} {error.status} {type(error).__module__}"}

        return line(n=node)

    recording = stage.record(graph(failing(Odd(response=object(), status=503))), {"out": ""})
    assert None is stage.seen(graph(never()), recording)


def test_an_error_that_cannot_be_made_by_hand_says_the_same(stage: Stage, line: Any) -> None:
    def graph(**given: Any) -> Any:
        @tool
        def look(what: str, many: int) -> str:
            """Looks."""
            return what * many

        def node(state: Any) -> Any:
            with pytest.raises(ValueError, match="many") as caught:
                look.invoke({"what": "a", **given})
            return {"out": str(caught.value)}

        return line(n=node)

    assert None is stage.seen(graph(many="x"), stage.record(graph(many="x"), {"out": ""}))


def test_attempts_are_made_again_and_not_waited_for(stage: Stage, line: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def graph(look: Any, end: str = "") -> Any:
        return line(n=(lambda state: {"out": look.invoke({"what": "a"}) + end}, RETRIED))

    with monkeypatch.context() as quick:
        quick.setattr("time.sleep", lambda seconds: None)
        recording = stage.record(graph(failing(ConnectionError("later"), times=2)), {"out": ""})

    found = stage.replayed(graph(never()), recording)
    assert (True, 3, 3) == (found.equal, found.nodes, found.calls), str(found)
    assert ("n#1", "update") == stage.seen(graph(never(), "!"), recording)


def test_an_error_of_a_model_is_raised_again(stage: Stage, line: Any) -> None:
    def graph(*script: Any) -> Any:
        model = ScriptedChatModel(script)

        def node(state: Any) -> Any:
            with suppress(TimeoutError):
                model.invoke("a")
            return {"out": str(model.invoke("b").content)}

        return line(n=node)

    assert None is stage.seen(graph(), stage.record(graph(TimeoutError("slow"), "so"), {"out": ""}))


def test_a_run_that_failed_and_then_went_on_is_two(stage: Stage, line: Any) -> None:
    def graph(look: Any) -> Any:
        return line(
            compiled={"checkpointer": InMemorySaver()},
            a=lambda s: {"other": "a"},
            n=lambda s: {"out": look.invoke({"what": "a"})},
        )

    governed = stage.recorded(graph(failing(ValueError("no"))))
    with pytest.raises(ValueError, match="no"):
        governed.invoke({"out": ""}, THREAD)
    governed.invoke(None, THREAD)

    found = stage.replayed(graph(never()), stage.recording())
    assert (True, 2, 3) == (found.equal, found.runs, found.nodes), str(found)


def test_a_failure_that_does_not_come_again_is_found(stage: Stage, line: Any) -> None:
    def graph(fails: bool) -> Any:
        def node(state: Any) -> Any:
            if fails:
                raise ValueError("no")
            return {"out": "x"}

        return line(n=node)

    with pytest.raises(ValueError, match="no"):
        stage.record(graph(True), {"out": ""})
    found = stage.replayed(graph(False), stage.recording()).divergence

    assert found is not None and "in the record it failed (ValueError), and now it ended well" in found.reason


def test_beside_a_node_that_fails_others_get_as_far_as_they_get(stage: Stage) -> None:
    import asyncio

    async def slow(state: Any) -> Any:
        await asyncio.sleep(0.05)
        return {"log": ["slow"]}

    async def fails(state: Any) -> Any:
        await asyncio.sleep(0.01)
        raise ValueError("no")

    builder = StateGraph(State).add_node("slow", slow).add_node("fails", fails)
    graph = lambda: builder.add_edge(START, "slow").add_edge(START, "fails").compile()
    with pytest.raises(ValueError, match="no"):
        asyncio.run(stage.recorded(graph()).ainvoke({"out": ""}, THREAD))

    assert None is stage.seen(graph(), stage.recording())


@pytest.mark.parametrize("refusals", ["raise", "answer"])
def test_a_refusal_comes_again(stage: Stage, line: Any, refusals: Any) -> None:
    @tool
    def pay(amount: int) -> str:
        """Pays."""
        return f"paid {amount}"

    def graph() -> Any:
        return line(n=lambda state: {"out": pay.invoke({"amount": 90})})

    stage.contracts = {"n": Contract(tools=[Tool("pay", where={"amount": at_most(50)}, refusals=refusals)])}
    with suppress(Exception):
        stage.record(graph(), {"out": ""})
    assert None is stage.seen(graph(), stage.recording())

    stage.contracts = {"n": Contract(tools=["pay"])}
    assert ("n#1>pay.0", "outcome") == stage.seen(graph(), stage.recording())


def test_a_stop_comes_again_at_the_call_it_hit(stage: Stage, line: Any) -> None:
    def graph() -> Any:
        return line(a=lambda s: {"other": "a"}, n=lambda s: {"out": never().invoke({"what": "a"})})

    stage.sidecar.control.stop("tool", "look", by="ann", reason="broken")
    with pytest.raises(Exception, match="broken"):
        stage.record(graph(), {"out": ""})

    assert None is stage.seen(graph(), stage.recording())


def test_a_deadline_comes_again_without_the_wait(stage: Stage, line: Any) -> None:
    import time

    def graph(seconds: float) -> Any:
        return line(n=lambda state: time.sleep(seconds) or {"out": "x"})

    stage.contracts = {"n": Contract(timeout=0.05)}
    with pytest.raises(Exception, match="longer than"):
        stage.record(graph(0.2), {"out": ""})

    assert None is stage.seen(graph(0), stage.recording())


def test_an_effect_that_a_resumed_node_found_again_is_found_again(stage: Stage, line: Any) -> None:
    paid: list[int] = []

    def graph() -> Any:
        @declares(SideEffect("write"))
        @tool
        def pay(amount: int) -> str:
            """Pays."""
            paid.append(amount)
            return f"paid {amount} {id(pay)}"

        return line(
            compiled={"checkpointer": InMemorySaver()},
            n=lambda state: {"out": pay.invoke({"amount": 5}) + interrupt("?")},
        )

    from langgraph.types import Command

    recording = stage.record(graph(), {"out": ""}, Command(resume="!"))

    assert "effect.reused" in [row.kind for row in recording.rows]
    assert None is stage.seen(graph(), recording)
    assert [5] == paid


def test_an_effect_whose_end_nobody_saw_is_not_looked_for_again(stage: Stage, line: Any) -> None:
    looked: list[Any] = []

    def graph() -> Any:
        left = [ConnectionError("lost")]

        @declares(SideEffect("write", reconcile=lambda args: looked.append(args) or "found it"))
        @tool
        def pay(amount: int) -> str:
            """Pays."""
            raise left.pop()

        return line(
            n=(
                lambda state: {"out": pay.invoke({"amount": 5})},
                {"retry_policy": RetryPolicy(initial_interval=0, jitter=False, retry_on=ConnectionError)},
            )
        )

    recording = stage.record(graph(), {"out": ""})
    assert 1 == len(looked)

    found = stage.replayed(graph(), recording)
    assert (True, 1) == (found.equal, len(looked)), str(found)


def test_tools_of_one_message_come_in_any_order_with_their_own_results(stage: Stage) -> None:
    @tool
    def look(what: str) -> str:
        """Looks."""
        if what == "bad":
            raise ValueError("bad")
        return f"{what} {id(look)}"

    def graph() -> Any:
        builder = StateGraph(State).add_node("tools", ToolNode([look], handle_tool_errors=True))
        return builder.add_edge(START, "tools").compile()

    stage.contracts = {"tools": Contract(tools=["look"])}
    asked = calling(*[("look", {"what": what}) for what in ("a", "bad", "c", "a")])
    recording = stage.record(graph(), {"messages": [asked]})

    found = stage.replayed(graph(), recording)
    assert (True, 4) == (found.equal, found.calls), str(found)
    assert isinstance(recording.value(next(r for r in recording.rows if r.kind == "tool.ended"), "result"), ToolMessage)


def test_what_filters_of_the_users_make_of_a_result_is_made_of_it_once(stage: Stage, line: Any) -> None:
    from governance import Policy, govern
    from governance.call import Proceed
    from governance.policy import LedgerPolicy
    from governance.replay import replay

    class Marked:
        at = "tool"

        def __call__(self, call: Any) -> Any:
            result = yield Proceed(call)
            return f"{result} checked"

    def graph(sidecar: Any) -> Any:
        @tool
        def look(what: str) -> str:
            """Looks."""
            return what

        made = line(n=lambda state: {"out": look.invoke({"what": "a"})})
        policy = Policy(ledger=LedgerPolicy(payloads="all"))
        return govern(
            made, contracts={"n": Contract(tools=["look"])}, policy=policy, sidecar=sidecar, filters=[Marked()]
        )

    assert "a checked" == graph(stage.sidecar).invoke({"out": ""}, THREAD)["out"]
    assert replay(graph(stage.unused), stage.recording()).equal


def test_calls_side_by_side_of_which_one_finds_no_tokens_left_end_as_they_did(stage: Stage, line: Any) -> None:
    import asyncio

    def graph(*said: str) -> Any:
        model = ScriptedChatModel(said)

        async def node(state: Any) -> Any:
            asked = (model.ainvoke(f"question {n}", max_tokens=100) for n in range(6))
            found = await asyncio.gather(*asked, return_exceptions=True)
            return {"items": [str(getattr(one, "content", "none")) for one in found]}

        return line(n=node)

    stage.contracts = {"n": Contract(tokens=350)}
    with pytest.raises(Exception, match="tokens"):
        asyncio.run(stage.recorded(graph(*"abcdef")).ainvoke({"out": ""}, THREAD))
    recording = stage.recording()

    words = [row.kind for row in recording.rows if row.kind.startswith("model")]
    assert {"model.ended", "model.refused"} == set(words)
    assert None is stage.seen(graph(), recording)
