"""Retries at every layer, around one dependency that fails: what reaches it is bounded by one number."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRetryMiddleware, ToolRetryMiddleware
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import RetryPolicy
from openai import NotFoundError
from pydantic import SecretStr

from governance import Contract, Sidecar, SideEffect, declares, effect, govern
from governance.errors import EffectInDoubt, RetriesExhausted
from governance.testing.models import ScriptedChatModel
from governance.testing.server import FaultyServer, ToolCall, cut_stream, ok, status
from tests.fixtures import calling

ALWAYS = RetryPolicy(max_attempts=3, initial_interval=0, jitter=False, retry_on=lambda error: True)
ASKED: Any = {"messages": [("user", "hello")]}


@pytest.fixture
def policy(tmp_path: Path) -> Any:
    def write(**values: Any) -> Path:
        given = {"wait": 0.001, "attempts": 3, **values}
        path = tmp_path / "sidecar.toml"
        path.write_text("[retries]\n" + "".join(f"{key} = {value!r}\n" for key, value in given.items()))
        return path

    return write


def model_at(server: FaultyServer) -> ChatOpenAI:
    return ChatOpenAI(model="m", base_url=server.base_url, api_key=SecretStr("none"))


def around(inner: Any) -> Any:
    """A graph whose only node is `inner`, and is retried."""
    builder = StateGraph(MessagesState)
    builder.add_node("n", inner, retry_policy=ALWAYS)
    builder.add_edge(START, "n")
    return builder.compile()


def layered(model: Any) -> Any:
    """A retry at every layer: the node, the node around it, a middleware, and the client by itself."""
    middleware: Any = [ModelRetryMiddleware(max_retries=2, initial_delay=0, jitter=False, on_failure="error")]
    return around(around(create_agent(model, [], middleware=middleware)))


def run(graph: Any, how: str) -> Any:
    try:
        return graph.invoke(ASKED) if how == "sync" else asyncio.run(graph.ainvoke(ASKED))
    except Exception as error:
        return error


def test_without_governance_one_request_makes_81() -> None:
    """What the others are measured against: it is today's normal."""
    with FaultyServer(always=status(500, retry_after=0.001)) as server:
        run(layered(model_at(server)), "sync")

        assert 81 == len(server.requests)


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("attempts", [1, 2, 3, 5])
def test_with_a_retry_at_every_layer_no_more_attempts_than_configured(
    attempts: int, how: str, policy: Any, sidecar: Sidecar
) -> None:
    with FaultyServer(always=status(500)) as server:
        graph = govern(
            layered(model_at(server)), contracts={"*": Contract()}, policy=policy(attempts=attempts), sidecar=sidecar
        )
        error = run(graph, how)

        assert attempts == len(server.requests)
    assert isinstance(error, RetriesExhausted) or "500" in str(error)


@pytest.mark.parametrize("how", ["sync", "async"])
def test_each_further_request_has_its_own_attempts(how: str, policy: Any, sidecar: Sidecar) -> None:
    """A cap that one request used up must not starve the next, nor the same session's next run."""
    with FaultyServer(always=status(500)) as server:
        graph = govern(layered(model_at(server)), contracts={"*": Contract()}, policy=policy(), sidecar=sidecar)
        for number in range(1, 4):
            run(graph, how)
            assert 3 * number == len(server.requests)


def test_all_requests_together_keep_within_the_budget(policy: Any, sidecar: Sidecar) -> None:
    """40 requests, whose layers want 80 retries each: a tenth of 40, and the burst."""
    with FaultyServer(always=status(500)) as server:
        rules = policy(ratio=0.1, burst=5)
        graph = govern(layered(model_at(server)), contracts={"*": Contract()}, policy=rules, sidecar=sidecar)
        for _ in range(40):
            run(graph, "sync")

        assert len(server.requests) <= 40 + 0.1 * 40 + 5


def test_a_mistake_of_the_caller_is_not_tried_again_by_any_layer(policy: Any, sidecar: Sidecar) -> None:
    """LangGraph's default retries a 400 of OpenAI's client; it cannot become right."""
    with FaultyServer(always=status(400)) as server:
        graph = govern(around(around(lambda state: model_at(server).invoke("hello"))), contracts={"*": Contract()},
                       policy=policy(), sidecar=sidecar)  # fmt: skip
        run(graph, "sync")

        assert 1 == len(server.requests)


def test_what_passes_by_itself_is_mended_inside_the_node(policy: Any, sidecar: Sidecar, rows: Any) -> None:
    with FaultyServer(status(500), status(429, retry_after=0), ok("hello")) as server:
        graph = govern(layered(model_at(server)), contracts={"*": Contract()}, policy=policy(), sidecar=sidecar)

        assert "hello" == graph.invoke(ASKED)["messages"][-1].content
        assert 3 == len(server.requests)
    assert [("server", 1), ("rate-limited", 2)] == [(r.body["kind"], r.body["tries"]) for r in rows("retry.scheduled")]


class Shop:
    """A tool that fails as often as it is told."""

    def __init__(self, effect: SideEffect | None, fails: int, error: type[Exception] = ConnectionError) -> None:
        self.calls: list[str] = []

        @tool
        def order(item: str) -> str:
            """Order an item."""
            self.calls.append(item)
            if len(self.calls) <= fails:
                raise error("weather")
            return f"ordered {item}"

        self.tool = order if effect is None else declares(effect)(order)


READ, WRITE, HARMLESS = SideEffect("read"), SideEffect("write"), SideEffect("write", idempotent=True)


@pytest.mark.parametrize(
    ("does", "expected"), [(READ, 3), (HARMLESS, 3), (WRITE, 1), (SideEffect("external"), 1), (None, 1)]
)
def test_only_what_is_declared_harmless_is_tried_again_by_itself(
    does: SideEffect | None, expected: int, policy: Any, sidecar: Sidecar, one: Any
) -> None:
    shop = Shop(does, fails=9)
    graph = one(lambda state: {"out": shop.tool.invoke({"item": "tea"})})
    govern(graph, contracts={"n": Contract(tools=["order"])}, policy=policy(), sidecar=sidecar)
    with pytest.raises(ConnectionError):
        graph.invoke({"out": ""})

    assert expected == len(shop.calls)


@pytest.mark.parametrize("does", [WRITE, SideEffect("external", key="order:{item}")])
def test_an_effect_in_doubt_stays_in_doubt_whoever_retries(does: SideEffect, policy: Any, sidecar: Sidecar) -> None:
    """The middleware and two nodes would try it 27 times; nobody knows whether the first did it."""
    shop = Shop(does, fails=1)
    model = ScriptedChatModel([calling(("order", {"item": "tea"})), "done"] * 9)
    middleware: Any = [ToolRetryMiddleware(max_retries=2, initial_delay=0, jitter=False, on_failure="error")]
    graph = around(around(create_agent(model, [shop.tool], middleware=middleware)))
    govern(graph, contracts={"*": Contract(tools=["order"])}, policy=policy(), sidecar=sidecar)
    run(graph, "sync")

    assert ["tea"] == shop.calls


@pytest.mark.parametrize("does", [READ, HARMLESS])
def test_a_block_of_code_is_not_run_again_as_it_cannot_be(
    does: SideEffect, policy: Any, sidecar: Sidecar, one: Any
) -> None:
    """Its own error reaches the node, and LangGraph may run the whole node again."""
    tries: list[int] = []

    def node(state: Any) -> Any:
        with effect("order", {"item": "tea"}, does=does) as order:
            if order.fresh:
                tries.append(1)
                raise ConnectionError("weather")

    graph = one(node, options={"retry_policy": ALWAYS})
    govern(graph, contracts={"n": Contract(tools=["order"])}, policy=policy(), sidecar=sidecar)
    with pytest.raises(ConnectionError, match="weather"):
        graph.invoke({"out": ""})

    assert 3 == len(tries)


@pytest.mark.parametrize("does", [READ, HARMLESS, None])
@pytest.mark.parametrize("attempts", [1, 3])
def test_a_tool_that_is_retried_by_a_middleware_has_the_same_cap(
    attempts: int, does: SideEffect | None, policy: Any, sidecar: Sidecar
) -> None:
    shop = Shop(does, fails=99)
    model = ScriptedChatModel([calling(("order", {"item": "tea"})), "done"] * 9)
    middleware: Any = [ToolRetryMiddleware(max_retries=5, initial_delay=0, jitter=False, on_failure="error")]
    graph = around(create_agent(model, [shop.tool], middleware=middleware))
    govern(graph, contracts={"*": Contract(tools=["order"])}, policy=policy(attempts=attempts), sidecar=sidecar)
    run(graph, "sync")

    assert attempts == len(shop.calls)


@pytest.mark.parametrize("how", ["sync", "async"])
def test_a_nodes_own_code_has_the_same_cap_over_nested_policies(how: str, policy: Any, sidecar: Sidecar) -> None:
    """Three attempts inside of three would be nine."""
    tries: list[int] = []

    def flaky(state: Any) -> Any:
        tries.append(1)
        raise ConnectionError("weather")

    graph = govern(around(around(flaky)), contracts={"*": Contract()}, policy=policy(), sidecar=sidecar)
    run(graph, how)

    assert 3 == len(tries)


@pytest.mark.parametrize("outside", ["observed", "governed by itself"])
def test_a_layer_that_enforces_nothing_asks_about_its_own_attempts(
    outside: str, policy: Any, sidecar: Sidecar, tmp_path: Path
) -> None:
    """The failure is the inner graph's; the outer node may be tried by its own policy within the cap."""
    tries: list[int] = []

    def flaky(state: Any) -> Any:
        tries.append(1)
        raise ConnectionError("weather")

    inner = around(flaky)
    graph = around(inner)
    graph.nodes["n"].retry_policy = [RetryPolicy(max_attempts=2, initial_interval=0, jitter=False)]
    if outside == "observed":
        contracts = {"n": Contract.observe(reason="a test"), "n/n": Contract()}
        govern(graph, contracts=contracts, policy=policy(attempts=9), sidecar=sidecar)
    else:
        govern(inner, contracts={"n": Contract()}, policy=policy(attempts=9), sidecar=sidecar)
        govern(graph, contracts={"n": Contract()}, sidecar=sidecar)
    run(graph, "sync")

    assert 6 == len(tries)


def test_one_error_object_that_is_raised_again_and_again_counts_each_time(policy: Any, sidecar: Sidecar) -> None:
    tries, same = list[int](), ConnectionError("weather")

    def flaky(state: Any) -> Any:
        tries.append(1)
        raise same

    graph = govern(around(around(flaky)), contracts={"*": Contract()}, policy=policy(), sidecar=sidecar)
    run(graph, "sync")

    assert 3 == len(tries)


class Sealed(ConnectionError):
    """Nobody may write on it, and reading it fails."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "__traceback__":  # which Python's own context managers set
            raise RuntimeError("sealed")
        super().__setattr__(name, value)

    @property
    def response(self) -> Any:
        raise RuntimeError("sealed")

    @property
    def headers(self) -> Any:
        raise RuntimeError("sealed")


def test_an_error_that_cannot_be_marked_stays_what_it_is(policy: Any, sidecar: Sidecar, one: Any) -> None:
    shop = Shop(READ, fails=9, error=Sealed)
    graph = one(lambda state: {"out": shop.tool.invoke({"item": "tea"})})
    govern(graph, contracts={"n": Contract(tools=["order"])}, policy=policy(), sidecar=sidecar)
    with pytest.raises(Exception, match="weather|sealed"):  # LangGraph itself writes on every error
        graph.invoke({"out": ""})

    assert 3 == len(shop.calls)


def test_an_error_that_is_wrapped_still_tells_of_its_failure(policy: Any, sidecar: Sidecar) -> None:
    class Wrapped(Exception):
        pass

    with FaultyServer(always=status(503)) as server:
        model = model_at(server)

        def node(state: Any) -> Any:
            try:
                return {"messages": [model.invoke("hello")]}
            except Exception as error:
                raise Wrapped("no answer") from error

        graph = govern(around(around(node)), contracts={"*": Contract()}, policy=policy(), sidecar=sidecar)
        run(graph, "sync")

        assert 3 == len(server.requests)


def test_a_loop_in_the_nodes_own_code_has_the_same_cap(policy: Any, sidecar: Sidecar) -> None:
    with FaultyServer(always=status(503)) as server:
        model = model_at(server)

        def node(state: Any) -> Any:
            for _ in range(20):
                try:
                    return {"messages": [model.invoke("hello")]}
                except Exception:
                    continue
            return {"messages": ["no answer"]}

        graph = govern(around(node), contracts={"*": Contract()}, policy=policy(), sidecar=sidecar)

        assert "no answer" == graph.invoke(ASKED)["messages"][-1].content
        assert 3 == len(server.requests)


def test_a_long_agent_is_not_stopped_by_failures_far_apart(policy: Any, sidecar: Sidecar, one: Any) -> None:
    """Every second call fails once; each is another question, so none has failed often."""
    answers = [behaviour for number in range(12) for behaviour in (status(500), ok(f"{number}"))]
    with FaultyServer(*answers) as server:
        model = model_at(server)

        def node(state: Any) -> Any:
            return {"out": "".join(str(model.invoke(f"question {number}").content) for number in range(12))}

        graph = govern(one(node), contracts={"*": Contract()}, policy=policy(burst=20), sidecar=sidecar)

        assert "01234567891011" == graph.invoke({"out": ""})["out"]
        assert 24 == len(server.requests)


def test_a_poll_that_fails_now_and_then_goes_on(policy: Any, sidecar: Sidecar, one: Any) -> None:
    """The same question again and again, with an answer in between."""
    with FaultyServer(*[behaviour for _ in range(8) for behaviour in (status(500), ok("x"))]) as server:
        model = model_at(server)

        def node(state: Any) -> Any:
            return {"out": "".join(str(model.invoke("ready?").content) for _ in range(8))}

        graph = govern(one(node), contracts={"*": Contract()}, policy=policy(burst=20), sidecar=sidecar)

        assert "xxxxxxxx" == graph.invoke({"out": ""})["out"]


def test_a_poll_for_what_is_not_there_yet_may_ask_as_often_as_it_likes(policy: Any, sidecar: Sidecar, one: Any) -> None:
    """The dependency works: it says that there is nothing yet."""
    with FaultyServer(*[status(404)] * 9, ok("there")) as server:
        model = model_at(server)

        def node(state: Any) -> Any:
            while True:
                try:
                    return {"out": str(model.invoke("ready?").content)}
                except NotFoundError:
                    continue

        graph = govern(one(node), contracts={"*": Contract()}, policy=policy(burst=1), sidecar=sidecar)

        assert "there" == graph.invoke({"out": ""})["out"]


def test_an_effect_that_was_answered_with_no_is_not_done_again_either(policy: Any, sidecar: Sidecar, one: Any) -> None:
    """An error of a tool that has begun says nothing about what it did before it was told no."""
    request = httpx.Request("POST", "http://shop")

    class Refused(httpx.HTTPStatusError):
        def __init__(self, message: str) -> None:
            super().__init__(message, request=request, response=httpx.Response(409, request=request))

    shop = Shop(WRITE, fails=9, error=Refused)

    def node(state: Any) -> Any:
        for _ in range(5):
            try:
                return {"out": shop.tool.invoke({"item": "tea"})}
            except Refused:
                continue

    graph = govern(one(node), contracts={"n": Contract(tools=["order"])}, policy=policy(), sidecar=sidecar)
    with pytest.raises(EffectInDoubt):
        graph.invoke({"out": ""})

    assert ["tea"] == shop.calls


def test_a_stream_is_not_tried_again_once_pieces_of_it_have_left(policy: Any, sidecar: Sidecar, one: Any) -> None:
    with FaultyServer(cut_stream("one two three", after=3), ok("four")) as server:
        model = model_at(server)
        pieces: list[str] = []

        def node(state: Any) -> Any:
            for piece in model.stream("hello"):
                pieces.append(str(piece.content))
            return {"out": "".join(pieces)}

        graph = govern(one(node), contracts={"*": Contract()}, policy=policy(), sidecar=sidecar)
        with pytest.raises(Exception, match="a part of the answer has left already"):
            graph.invoke({"out": ""})

        assert 1 == len(server.requests)
        assert "four" not in pieces


def test_a_stream_that_never_began_is_tried_again(policy: Any, sidecar: Sidecar, one: Any) -> None:
    with FaultyServer(status(503), ok("four")) as server:
        model = model_at(server)
        graph = one(lambda state: {"out": "".join(str(piece.content) for piece in model.stream("hello"))})
        govern(graph, contracts={"*": Contract()}, policy=policy(), sidecar=sidecar)

        assert "four" == graph.invoke({"out": ""})["out"]


def test_a_tool_call_in_the_answer_passes_as_it_is(policy: Any, sidecar: Sidecar) -> None:
    shop = Shop(READ, fails=0)
    order = ToolCall("order", {"item": "tea"})
    with FaultyServer(status(500), ok(tool_calls=[order]), status(500), ok("done")) as server:
        graph = create_agent(model_at(server), [shop.tool])
        govern(graph, contracts={"*": Contract(tools=["order"])}, policy=policy(), sidecar=sidecar)

        assert "done" == graph.invoke(ASKED)["messages"][-1].content
    assert ["tea"] == shop.calls
