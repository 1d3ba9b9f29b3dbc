"""Time that is passed down: nobody works for a caller that has left, and what was cut off is not built upon."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ToolRetryMiddleware
from langchain_core.tools import BaseTool, StructuredTool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import SecretStr

from governance import Contract, Sidecar, SideEffect, declares, effect, govern
from governance.current import current_call
from governance.errors import DeadlineExceeded, EffectInDoubt, Shed
from governance.testing.models import ScriptedChatModel
from governance.testing.server import FaultyServer, ok, status, timeout
from tests.fixtures import calling

READ, WRITE = SideEffect("read"), SideEffect("write")
SHORT = "[timeout]\nseconds = 0.1\n"
AGAIN = "[retries]\nattempts = 50\nburst = 50\nwait = 0.001\n"
"""Enough for a machine that stands still for a while: then more tries than one are late."""


@pytest.fixture
def by(tmp_path: Path, sidecar: Sidecar, one: Any) -> Callable[..., Any]:
    """Governs a graph of one node by these rules."""

    def make(node: Any, rules: str = "", contract: Contract | None = None, **options: Any) -> Any:
        path = tmp_path / "sidecar.toml"
        path.write_text(rules)
        contracts = {"n": contract or Contract(tools=["look", "order"])}
        return govern(one(node, **options), contracts=contracts, policy=path, sidecar=sidecar)

    return make


class Held:
    """A tool whose first calls are held until they are let go."""

    def __init__(self, effect: SideEffect | None, name: str = "look", holds: int = 1) -> None:
        self.calls = 0
        self.done: list[int] = []
        self.free = threading.Event()
        self.inside: Callable[[], Any] = lambda: None
        """What it does when it is let go."""

        def run(item: str = "tea") -> str:
            self.calls += 1
            mine = self.calls
            if mine <= holds:
                self.free.wait(20)
                self.inside()
            self.done.append(mine)
            return f"{item} {mine}"

        async def arun(item: str = "tea") -> str:
            self.calls += 1
            mine = self.calls
            if mine <= holds:
                while not self.free.is_set():  # noqa: ASYNC110  # a thread sets it
                    await asyncio.sleep(0.01)
                self.inside()
            self.done.append(mine)
            return f"{item} {mine}"

        made = StructuredTool.from_function(run, coroutine=arun, name=name, description="Asks.")
        self.tool: BaseTool = made if effect is None else declares(effect)(made)


def ask(tool: BaseTool, how: str) -> Any:
    async def anode(state: Any) -> Any:
        return {"out": str(await tool.ainvoke({"item": "tea"}))}

    return anode if how == "async" else lambda state: {"out": str(tool.invoke({"item": "tea"}))}


def run(graph: Any, how: str, config: Any = None) -> Any:
    if how == "async":
        return asyncio.run(graph.ainvoke({"out": ""}, config))["out"]
    return graph.invoke({"out": ""}, config)["out"]


def until(true: Callable[[], Any]) -> None:
    """Wait for what another thread is about to do."""
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def pass_by(seconds: float) -> None:
    """Let time of the node pass."""
    call = current_call()
    assert call is not None
    call.node.started -= round(seconds * 1e9)


def model_at(server: FaultyServer, **options: Any) -> ChatOpenAI:
    return ChatOpenAI(model="m", base_url=server.base_url, api_key=SecretStr("none"), **options)


# ---- a dependency's own timeout ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["sync", "async"])
def test_a_try_that_takes_too_long_has_failed_and_the_next_one_is_made(how: str, by: Any, rows: Any) -> None:
    """The first is still at it, and nobody waits for it."""
    held = Held(READ)

    assert run(by(ask(held.tool, how), SHORT + AGAIN), how) not in ("", "tea 1")
    assert {"timeout"} == {row.body["kind"] for row in rows("retry.scheduled")}
    held.free.set()


@pytest.mark.parametrize("how", ["sync", "async"])
def test_a_breaker_hears_of_it(how: str, by: Any, rows: Any) -> None:
    held = Held(READ, holds=9)
    graph = by(ask(held.tool, how), SHORT + "[breaker]\nminimum = 2\n")
    for _ in range(2):
        with pytest.raises(TimeoutError, match=r"look did not answer within 0.1 s, which its \[timeout\] allows"):
            run(graph, how)

    assert "TimeoutError, timeout" in rows("breaker.opened")[0].body["reason"]
    held.free.set()


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("asks", ["a tool", "a block", "a model"])
def test_what_a_try_left_behind_can_start_nothing(asks: str, how: str, by: Any) -> None:
    """Nor does it spoil the node that has gone on without it."""
    held, order, model = Held(READ), Held(WRITE, "order", holds=0), ScriptedChatModel(["hello"])
    errors: list[Exception] = []

    def block() -> None:
        with effect("order") as made:
            if made.fresh:
                order.calls += 1

    wants = {"a tool": lambda: order.tool.invoke({}), "a block": block, "a model": lambda: model.invoke("hi")}[asks]

    def inside() -> None:
        try:
            wants()
        except Exception as error:
            errors.append(error)

    held.inside = inside

    async def anode(state: Any) -> Any:
        first = await held.tool.ainvoke({})
        held.free.set()
        await asyncio.sleep(0.1)
        return {"out": first}

    def node(state: Any) -> Any:
        first = held.tool.invoke({})
        held.free.set()
        until(lambda: errors)
        return {"out": first}

    graph = by(anode if how == "async" else node, SHORT + AGAIN)

    assert run(graph, how) not in ("", "tea 1")
    assert 0 == order.calls
    assert [] == model.calls
    if how == "sync":  # the task of an async tool was cancelled before it could want anything
        assert isinstance(errors[0], TimeoutError)


def test_what_cannot_be_interrupted_keeps_its_place(by: Any, sidecar: Sidecar) -> None:
    """Or else a dependency that hangs would be given more and more threads."""
    held = Held(READ, holds=9)
    graph = by(ask(held.tool, "sync"), SHORT + "[bulkhead]\nconcurrent = 2\nqueue = 1\npatience = 0.01\n")
    told: list[str] = []
    for _ in range(4):
        try:
            run(graph, "sync")
        except (TimeoutError, Shed) as error:
            told.append(type(error).__name__)

    assert ["TimeoutError", "TimeoutError", "Shed", "Shed"] == told
    held.free.set()
    until(lambda: len(held.done) == 2)
    until(lambda: not any(one.bulkhead.inside for one in sidecar.dependencies.all() if one.bulkhead))


def test_a_cancelled_try_gives_its_place_back(by: Any) -> None:
    held = Held(READ, holds=2)
    graph = by(ask(held.tool, "async"), SHORT + AGAIN + "[bulkhead]\nconcurrent = 1\nqueue = 1\n")

    assert run(graph, "async") not in ("", "tea 1", "tea 2")


@pytest.mark.parametrize("how", ["sync", "async"])
def test_one_dependency_has_another_timeout(how: str, by: Any) -> None:
    held = Held(READ)
    rules = '[timeout]\nseconds = 60\n[dependency."look"]\ntimeout = { seconds = 0.1 }\n'
    with pytest.raises(TimeoutError):
        run(by(ask(held.tool, how), rules), how)
    held.free.set()


def test_a_block_of_code_is_not_cut_off(by: Any) -> None:
    """Nobody could go on without it: it stands in the node."""

    def node(state: Any) -> Any:
        with effect("order") as order:
            if order.fresh:
                time.sleep(0.2)
                order.outcome = "done"
        return {"out": order.outcome}

    assert "done" == run(by(node, SHORT), "sync")


# ---- effects that were cut off -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["sync", "async"])
def test_an_effect_that_was_cut_off_is_not_done_again(how: str, by: Any, ruled: Any) -> None:
    """Whoever retries: the node comes to the same effect, and finds that nobody knows."""
    held = Held(WRITE, "order", holds=9)
    graph = by(ask(held.tool, how), SHORT + "[retries]\nwait = 0.001\n", checkpointer=InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "t"}}
    with pytest.raises(TimeoutError):
        run(graph, how, thread)
    if how == "sync":
        held.inside = lambda: (_ for _ in ()).throw(ValueError("it broke"))
        held.free.set()
    with pytest.raises(EffectInDoubt, match="began earlier and nobody saw how it ended"):
        asyncio.run(graph.ainvoke(None, thread)) if how == "async" else graph.invoke(None, thread)

    assert 1 == held.calls


def test_whoever_comes_to_it_waits_for_what_goes_on_and_finds_its_outcome(by: Any) -> None:
    """The first call was cut off by the clock, not by anything that happened to it."""
    held = Held(WRITE, "order")
    graph = by(ask(held.tool, "sync"), SHORT, checkpointer=InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "t"}}
    with pytest.raises(TimeoutError):
        run(graph, "sync", thread)
    threading.Timer(0.3, held.free.set).start()

    assert "tea 1" == graph.invoke(None, thread)["out"]
    assert 1 == held.calls


def test_reconcile_is_not_asked_while_the_effect_may_yet_happen(by: Any, rows: Any) -> None:
    """It would find nothing, and the effect would be done beside the one that is still under way."""
    books: list[str] = []
    held = Held(SideEffect("write", reconcile=lambda args: books[0] if books else None), "order")
    held.inside = lambda: books.append("tea 1")
    graph = by(ask(held.tool, "sync"), SHORT, checkpointer=InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "t"}}
    with pytest.raises(TimeoutError):
        run(graph, "sync", thread)
    threading.Timer(0.3, held.free.set).start()

    assert "tea 1" == graph.invoke(None, thread)["out"]
    assert ["tea 1"] == books
    assert [True] == [row.body["late"] for row in rows("effect.finished")]


def test_a_middleware_that_tries_again_meets_the_same_effect(by: Any, sidecar: Sidecar, tmp_path: Path) -> None:
    held = Held(WRITE, "order")
    model = ScriptedChatModel([calling(("order", {"item": "tea"})), "done"])
    middleware: Any = [ToolRetryMiddleware(max_retries=1, initial_delay=0, jitter=False, on_failure="error")]
    (tmp_path / "sidecar.toml").write_text(SHORT)
    graph = govern(
        create_agent(model, [held.tool], middleware=middleware), contracts={"*": Contract(tools=["order"])},
        policy=tmp_path / "sidecar.toml", sidecar=sidecar,
    )  # fmt: skip
    threading.Timer(0.5, held.free.set).start()

    said = graph.invoke({"messages": [("user", "hello")]})["messages"]

    assert ["tea 1"] == [message.content for message in said if message.type == "tool"]
    assert 1 == held.calls


# ---- the node's deadline -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("asks", ["a tool", "a model"])
def test_a_node_whose_time_is_up_asks_nobody(asks: str, how: str, by: Any) -> None:
    """Its thread may not have been told yet; the clock says so."""
    look, model = Held(READ, holds=0), ScriptedChatModel(["hello"])

    async def anode(state: Any) -> Any:
        pass_by(61)
        await (look.tool.ainvoke({}) if asks == "a tool" else model.ainvoke("hi"))

    def node(state: Any) -> Any:
        pass_by(61)
        look.tool.invoke({}) if asks == "a tool" else model.invoke("hi")

    graph = by(anode if how == "async" else node, "", Contract(tools=["look"], timeout=60))
    with pytest.raises(DeadlineExceeded, match="is not asked any more: n has had its 60 s"):
        run(graph, how)

    assert 0 == look.calls


def test_who_waited_in_line_until_the_time_was_up_asks_nobody(by: Any, sidecar: Sidecar) -> None:
    """The place came free; whoever wanted it has left."""
    held, other = Held(READ), threading.Event()
    rules = "[bulkhead]\nconcurrent = 1\nqueue = 5\npatience = 20\n"
    first = by(ask(held.tool, "sync"), rules)

    def node(state: Any) -> Any:
        call = current_call()
        assert call is not None

        def late() -> None:
            until(lambda: [one for one in sidecar.dependencies.all() if one.bulkhead and one.bulkhead.waiting])
            call.node.started -= round(61e9)
            held.free.set()

        threading.Thread(target=late).start()
        return {"out": held.tool.invoke({})}

    second = by(node, rules, Contract(tools=["look"], timeout=60))
    holder = threading.Thread(target=lambda: (run(first, "sync"), other.set()))
    holder.start()
    until(lambda: held.calls)
    with pytest.raises(DeadlineExceeded):
        run(second, "sync")
    holder.join()

    assert 1 == held.calls


@pytest.mark.parametrize("how", ["sync", "async"])
def test_what_the_node_had_no_time_for_is_no_failure_of_the_dependency(how: str, by: Any, rows: Any) -> None:
    """Its breaker stays closed, and nothing is tried again."""
    with FaultyServer(always=timeout()) as server:
        model = model_at(server, max_retries=0)

        async def anode(state: Any) -> Any:
            pass_by(59.7)
            await model.ainvoke("hi")

        def node(state: Any) -> Any:
            pass_by(59.7)
            model.invoke("hi")

        graph = by(anode if how == "async" else node, "[retries]\n[breaker]\nminimum = 1\n", Contract(timeout=60))
        with pytest.raises(DeadlineExceeded):
            run(graph, how)

        assert len(server.requests) <= 1
    assert [] == rows("breaker") + rows("retry")


# ---- the clients of models ---------------------------------------------------------------------------------------


def given_up_after(server: FaultyServer) -> list[float]:
    """What the client says it will wait, 0 where it waits for ever."""
    return [float(request.headers.get("x-stainless-read-timeout", 0)) for request in server.requests]


WAYS = ["invoke", "stream", "ainvoke", "astream"]


def asking(model: ChatOpenAI, way: str, before: Callable[[], None] = lambda: None, **options: Any) -> Any:
    async def anode(state: Any) -> Any:
        before()
        if way == "ainvoke":
            return {"out": str((await model.ainvoke("hi", **options)).content)}
        return {"out": "".join([str(piece.content) async for piece in model.astream("hi", **options)])}

    def node(state: Any) -> Any:
        before()
        if way == "invoke":
            return {"out": str(model.invoke("hi", **options).content)}
        return {"out": "".join([str(piece.content) for piece in model.stream("hi", **options)])}

    return anode if way.startswith("a") else node


def kind(way: str) -> str:
    return "async" if way.startswith("a") else "sync"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sets", ["nothing", "a long time", "phases", "for the call"])
def test_a_client_waits_no_longer_than_its_node(sets: str, way: str, by: Any) -> None:
    import httpx

    settings: dict[str, Any] = {"a long time": {"timeout": 500}, "phases": {"timeout": httpx.Timeout(500)}}
    with FaultyServer(always=ok("hello")) as server:
        model = model_at(server, **settings.get(sets, {}))
        options = {"timeout": 500} if sets == "for the call" else {}
        graph = by(asking(model, way, lambda: pass_by(40), **options), "", Contract(timeout=60))

        assert "hello" == run(graph, kind(way))
        assert 0 < given_up_after(server)[0] <= 20


@pytest.mark.parametrize("way", WAYS)
def test_a_time_of_its_own_that_is_shorter_stays(way: str, by: Any) -> None:
    with FaultyServer(always=ok("hello")) as server:
        graph = by(asking(model_at(server, timeout=7), way), "", Contract(timeout=600))
        run(graph, kind(way))
        run(by(asking(model_at(server), way, timeout=8), "", Contract(timeout=600)), kind(way))

        assert [7, 8] == given_up_after(server)


@pytest.mark.parametrize("way", WAYS)
def test_without_a_deadline_a_client_waits_as_its_author_says(way: str, by: Any) -> None:
    with FaultyServer(always=ok("hello")) as server:
        run(by(asking(model_at(server, timeout=7), way)), kind(way))
        run(by(asking(model_at(server), way)), kind(way))

        assert [7, 0] == given_up_after(server)


def test_the_same_model_outside_is_as_it_was(by: Any) -> None:
    """Nothing was changed in it: not even while it is asked inside."""
    with FaultyServer(always=ok("hello")) as server:
        model = model_at(server, timeout=500)
        seen: list[Any] = []

        def node(state: Any) -> Any:
            asked = {"out": str(model.invoke("hi").content)}
            other = threading.Thread(target=lambda: seen.append(model.root_client.timeout))
            other.start()
            other.join()
            return asked

        run(by(node, "[retries]\n", Contract(timeout=60)), "sync")
        model.invoke("hi")

        assert [500] == seen
        assert 500 == given_up_after(server)[1]
        assert (500, 2) == (model.root_client.timeout, model.root_client.max_retries)


@pytest.mark.parametrize("way", WAYS)
def test_a_model_that_does_not_answer_in_time_is_asked_again(way: str, by: Any) -> None:
    with FaultyServer(timeout(), always=ok("hello")) as server:
        assert "hello" == run(by(asking(model_at(server), way), "[timeout]\nseconds = 0.3\n" + AGAIN), kind(way))
        assert 2 <= len(server.requests)


@pytest.mark.parametrize("way", WAYS)
def test_a_model_of_any_other_class_is_bounded_too(way: str, by: Any) -> None:
    """Of a stream in sync code only what it says is seen: a silent one is late when it speaks."""
    free = threading.Event()

    class Slow(ScriptedChatModel):
        def _answer(self, *args: Any, **kwargs: Any) -> Any:
            free.wait(1)
            return super()._answer(*args, **kwargs)

    model: Any = Slow(["hello"])
    with pytest.raises(TimeoutError):
        run(by(asking(model, way), SHORT), kind(way))
    free.set()


# ---- the clients' own retries ------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("sets", "expected"), [({}, 3), ({"max_retries": 4}, 5), ({"max_retries": 0}, 1)])
def test_without_a_rule_about_retries_a_client_tries_as_its_author_says(
    sets: dict[str, int], expected: int, way: str, by: Any
) -> None:
    """A governed graph is no less reliable than the bare one."""
    with FaultyServer(always=status(500, retry_after=0.001)) as server:
        graph = by(asking(model_at(server, **sets), way), "[breaker]\n")
        with pytest.raises(Exception, match="500"):
            run(graph, kind(way))

        assert expected == len(server.requests)


@pytest.mark.parametrize("way", WAYS)
def test_where_retries_are_governed_the_client_makes_none(way: str, by: Any) -> None:
    with FaultyServer(always=status(500, retry_after=0.001)) as server:
        model = model_at(server, max_retries=9)
        graph = by(asking(model, way), "[retries]\nattempts = 2\nwait = 0.001\n")
        with pytest.raises(Exception, match="500"):
            run(graph, kind(way))

        assert 2 == len(server.requests)
        assert 9 == model.root_client.max_retries


def test_two_graphs_that_share_a_model_have_each_its_own_rule(by: Any) -> None:
    """At the same time: the one is retried by us, the other by its client."""
    with FaultyServer(always=status(500, retry_after=0.001)) as server:
        model = model_at(server, max_retries=4)
        ruled = by(asking(model, "invoke"), "[retries]\nattempts = 2\nwait = 0.001\n")
        free = by(asking(model, "invoke"))
        threads = [threading.Thread(target=failing, args=(graph,)) for graph in (ruled, free) * 4]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert 4 * 2 + 4 * 5 == len(server.requests)


def failing(graph: Any) -> None:
    with pytest.raises(Exception, match="500"):
        run(graph, "sync")


def test_observed_graphs_keep_everything(one: Any, sidecar: Sidecar) -> None:
    with FaultyServer(always=status(500, retry_after=0.001)) as server:
        graph = govern(one(asking(model_at(server), "invoke")), sidecar=sidecar)
        failing(graph)

        assert 3 == len(server.requests)


# ---- sync tools of async graphs, which run in a thread that no cancellation ends -------------------------------------


class Booked:
    """A tool without async code that books late; its books say what happened."""

    def __init__(self, by: str) -> None:
        self.began, self.free = threading.Event(), threading.Event()
        self.calls = 0
        self.books: list[str] = []

        def order() -> str:
            self.calls += 1
            self.began.set()
            self.free.wait(20)
            self.books.append("tea")
            return "tea"

        async def threaded() -> str:
            return await asyncio.to_thread(order)

        effect = SideEffect("write", reconcile=lambda args: self.books[0] if self.books else None)
        made = StructuredTool.from_function(
            order if by == "LangChain" else None, coroutine=None if by == "LangChain" else threaded, name="order",
            description="Orders.",
        )  # fmt: skip
        self.tool: BaseTool = declares(effect)(made)

    async def node(self, state: Any) -> Any:
        return {"out": str(await self.tool.ainvoke({}))}


THREADED = pytest.mark.parametrize("threaded", ["LangChain", "to_thread"])


@THREADED
def test_an_effect_whose_node_was_cancelled_is_not_judged_while_its_thread_is_at_it(
    threaded: str, by: Any, sidecar: Sidecar
) -> None:
    """Its lease would run out first, and its books would say that nothing happened."""
    sidecar.effects.lease = 0.3
    booked, thread = Booked(threaded), {"configurable": {"thread_id": "t"}}
    graph = by(booked.node, checkpointer=InMemorySaver())

    async def work() -> Any:
        run = asyncio.create_task(graph.ainvoke({"out": ""}, thread))
        while not booked.began.is_set():  # noqa: ASYNC110  # a thread sets it
            await asyncio.sleep(0.01)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        asyncio.get_running_loop().call_later(1.5, booked.free.set)
        return await graph.ainvoke(None, thread)

    assert "tea" == asyncio.run(work())["out"]
    assert (["tea"], 1) == (booked.books, booked.calls)


@THREADED
def test_an_effect_that_was_too_slow_is_not_judged_either(threaded: str, by: Any, sidecar: Sidecar) -> None:
    sidecar.effects.lease = 0.3
    booked, thread = Booked(threaded), {"configurable": {"thread_id": "t"}}
    graph = by(booked.node, SHORT, checkpointer=InMemorySaver())

    async def work() -> Any:
        with pytest.raises(TimeoutError):
            await graph.ainvoke({"out": ""}, thread)
        asyncio.get_running_loop().call_later(1.5, booked.free.set)
        return await graph.ainvoke(None, thread)

    assert "tea" == asyncio.run(work())["out"]
    assert (["tea"], 1) == (booked.books, booked.calls)


@THREADED
def test_a_thread_of_a_cancelled_call_keeps_its_place(threaded: str, by: Any, sidecar: Sidecar) -> None:
    booked = Booked(threaded)
    graph = by(booked.node, "[bulkhead]\nconcurrent = 1\nqueue = 1\n")

    def inside() -> int:
        return sum(one.bulkhead.inside for one in sidecar.dependencies.all() if one.bulkhead)

    async def work() -> None:
        run = asyncio.create_task(graph.ainvoke({"out": ""}))
        while not booked.began.is_set():  # noqa: ASYNC110  # a thread sets it
            await asyncio.sleep(0.01)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert 1 == inside()
        booked.free.set()

    asyncio.run(work())
    until(lambda: not inside())
