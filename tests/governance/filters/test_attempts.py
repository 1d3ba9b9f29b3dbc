"""When a failed call is tried again, how soon, and why it is not."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, RetryPolicy, interrupt

from governance import Contract, Policy, Sidecar, SideEffect, Verdict, declares, govern
from governance.current import current_call
from governance.errors import Halted, RetriesExhausted
from governance.plane.explanation import sentence
from governance.policy_failures import RetriesPolicy
from governance.testing.models import ScriptedChatModel

READ = SideEffect("read")


class Weather(ConnectionError):
    """Passes by itself; may say when."""

    def __init__(self, after: float | None = None) -> None:
        super().__init__("weather")
        self.headers = {} if after is None else {"Retry-After": str(after)}


class Shop:
    """A tool that fails with these errors, one after the other, and then works."""

    def __init__(self, *errors: Exception, effect: SideEffect = READ) -> None:
        self.at: list[float] = []
        self.errors = errors

        def look(word: str = "") -> str:
            self.at.append(time.monotonic())
            if len(self.at) <= len(self.errors):
                raise self.errors[len(self.at) - 1]
            return "found"

        async def alook(word: str = "") -> str:
            return look(word)

        self.tool = declares(effect)(
            StructuredTool.from_function(look, coroutine=alook, name="look", description="Looks.")
        )

    @property
    def waits(self) -> list[float]:
        return [after - before for before, after in zip(self.at, self.at[1:], strict=False)]


def sync_node(shop: Shop) -> Any:
    return lambda state: {"out": shop.tool.invoke({"word": "a"})}


def async_node(shop: Shop) -> Any:
    async def node(state: Any) -> Any:
        return {"out": await shop.tool.ainvoke({"word": "a"})}

    return node


@pytest.fixture
def governed(tmp_path: Path, sidecar: Sidecar, one: Any) -> Callable[..., Any]:
    def make(node: Any, contract: Contract | None = None, options: Any = None, **values: Any) -> Any:
        path = tmp_path / "sidecar.toml"
        given = {"wait": 0.02, **values}
        path.write_text("[retries]\n" + "".join(f"{key} = {value!r}\n" for key, value in given.items()))
        contracts = {"n": contract or Contract(tools=["look"])}
        return govern(one(node, options=options), contracts=contracts, policy=path, sidecar=sidecar)

    return make


def run(graph: Any, how: str = "sync") -> Any:
    return graph.invoke({"out": ""})["out"] if how == "sync" else asyncio.run(graph.ainvoke({"out": ""}))["out"]


def pass_by(seconds: float) -> None:
    """Let time of the node pass, of which a test has no control otherwise."""
    call = current_call()
    assert call is not None
    call.node.started -= round(seconds * 1e9)


@pytest.mark.parametrize("how", ["sync", "async"])
def test_waits_grow_and_have_a_random_half(how: str, governed: Any, rows: Any) -> None:
    shop = Shop(Weather(), Weather(), Weather())
    node = sync_node(shop) if how == "sync" else async_node(shop)

    assert "found" == run(governed(node, attempts=4, wait=0.1), how)
    meant = [row.body["wait_ms"] / 1000 for row in rows("retry.scheduled")]
    for waited, wait, most in zip(shop.waits, meant, (0.1, 0.2, 0.4), strict=True):
        assert most / 2 <= wait <= most and wait - 0.001 <= waited


def test_two_clients_do_not_come_back_at_the_same_moment(governed: Any) -> None:
    shops = [Shop(Weather()) for _ in range(6)]
    for shop in shops:
        run(governed(sync_node(shop), wait=0.05))

    assert len({round(shop.waits[0], 3) for shop in shops}) > 2


@pytest.mark.parametrize("how", ["sync", "async"])
def test_a_dependency_that_says_when_is_asked_then(how: str, governed: Any) -> None:
    shop = Shop(Weather(0.3))

    assert "found" == run(governed(sync_node(shop) if how == "sync" else async_node(shop)), how)
    assert 0.3 <= shop.waits[0]


def test_a_dependency_that_wants_a_long_rest_is_not_asked_again(governed: Any, rows: Any) -> None:
    shop = Shop(Weather(120))
    with pytest.raises(Weather) as raised:
        run(governed(sync_node(shop)))

    assert 1 == len(shop.at)
    assert "it wants to be left alone for 120 s, longer than anybody waits here" == rows("retry")[0].body["reason"]
    assert any("Sidecar did not try again: it wants" in note for note in raised.value.__notes__)


def test_what_langgraph_runs_again_comes_no_sooner_than_the_dependency_wants(governed: Any) -> None:
    """LangGraph's own wait is 0 here; the call waits when it comes to it."""
    policy = RetryPolicy(initial_interval=0, jitter=False, retry_on=ConnectionError)
    shop = Shop(Weather(0.3), effect=SideEffect("read"))
    undeclared = StructuredTool.from_function(
        lambda: shop.tool.func("a"),
        name="look",
        description="Looks.",  # type: ignore[attr-defined, union-attr]
    )
    graph = governed(lambda state: {"out": undeclared.invoke({})}, options={"retry_policy": policy})

    assert "found" == run(graph)
    assert 0.3 <= shop.waits[0]


def test_no_retry_that_cannot_end_in_time(governed: Any, rows: Any) -> None:
    shop = Shop(Weather(20), Weather())

    def node(state: Any) -> Any:
        pass_by(85)
        return {"out": shop.tool.invoke({"word": "a"})}

    with pytest.raises(Weather):
        run(governed(node, Contract(tools=["look"], timeout=100)))

    assert 1 == len(shop.at)
    assert re.fullmatch(r"it could not end within the 1\d\.\d s that are left", rows("retry")[0].body["reason"])


def test_the_deadline_of_a_node_further_out_counts(governed: Any, sidecar: Sidecar, one: Any, tmp_path: Path) -> None:
    shop = Shop(Weather(20))
    inner = one(sync_node(shop))
    path = tmp_path / "sidecar.toml"
    path.write_text("[retries]\nwait = 0.02\n")
    contracts = {"n": Contract(timeout=100), "n/*": Contract(tools=["look"])}

    def outer(state: Any) -> Any:
        pass_by(85)
        return inner.invoke(state)

    graph = govern(one(outer), contracts=contracts, policy=path, sidecar=sidecar)
    with pytest.raises(Weather):
        run(graph)

    assert 1 == len(shop.at)


def test_whoever_runs_a_node_again_begins_its_time_anew(governed: Any) -> None:
    """The try inside could not end in time; the node's next attempt has all of its time."""
    shop = Shop(Weather(1.6))

    def node(state: Any) -> Any:
        if not shop.at:
            pass_by(8.5)
        return {"out": shop.tool.invoke({"word": "a"})}

    policy = RetryPolicy(initial_interval=0, jitter=False)
    graph = governed(node, Contract(tools=["look"], timeout=10), {"retry_policy": policy})

    assert "found" == run(graph)


def test_the_usual_time_of_an_answer_is_part_of_what_is_left(governed: Any, sidecar: Sidecar) -> None:
    """The wait alone would fit; an answer takes 0.25 s here."""
    shop = Shop()
    original = shop.tool.func  # type: ignore[attr-defined]

    def slow(word: str = "") -> str:
        time.sleep(0.25)
        pass_by(9.4)  # 0.35 s are left, at most
        return str(original(word))

    shop.tool.func = slow  # type: ignore[attr-defined]
    contract = Contract(tools=["look"], timeout=10)
    graph = governed(sync_node(shop), contract, wait=0.2)
    run(graph)
    shop.errors = (Weather(), Weather(), Weather())
    with pytest.raises(Weather):
        run(graph)

    assert 2 == len(shop.at)


@pytest.mark.parametrize("how", ["sync", "async"])
def test_a_stop_is_in_force_after_the_wait(how: str, governed: Any, sidecar: Sidecar) -> None:
    shop = Shop(Weather())
    graph = governed(sync_node(shop) if how == "sync" else async_node(shop), wait=4.0)

    def stop() -> None:
        while not shop.at:
            time.sleep(0.01)
        sidecar.control.stop("tool", "look", reason="enough", by="ann")

    person = threading.Thread(target=stop)
    person.start()
    with pytest.raises(Halted):
        run(graph, how)
    person.join()

    assert 1 == len(shop.at)


def test_the_last_error_is_the_dependencys_own(governed: Any, rows: Any) -> None:
    shop = Shop(*[Weather() for _ in range(9)])
    with pytest.raises(Weather):
        run(governed(sync_node(shop)))

    assert 3 == len(shop.at)
    assert [1, 2, 3] == [row.body["tries"] for row in rows("retry")]
    told = [sentence(row._asdict(), lambda session, digest: None) for row in rows("retry")]
    assert told[0].startswith("tool:look failed by Weather (connection) for the first time, and was to be tried again")
    assert "tool:look was not tried again, because: this request has tried it 3 times, as often as it may." == told[2]


def test_a_question_is_no_failure(one: Any, sidecar: Sidecar) -> None:
    """LangGraph ends a node that asks by an exception; nothing has failed."""
    calls: list[Any] = []

    def watch(call: Any) -> None:
        calls.append(call)

    graph = one(lambda state: {"out": interrupt("name?")}, checkpointer=InMemorySaver())
    policy = Policy(retries=RetriesPolicy(attempts=1))
    govern(graph, contracts={"n": Contract()}, policy=policy, sidecar=sidecar, filters=[watch])
    thread: Any = {"configurable": {"thread_id": "t"}}
    graph.invoke({"out": ""}, thread)

    assert "ann" == graph.invoke(Command(resume="ann"), thread)["out"]
    assert [None, None] == [call.request for call in calls]


def test_a_mistake_is_not_tried_again_and_makes_no_noise(governed: Any, rows: Any) -> None:
    shop = Shop(ValueError("mine"))
    with pytest.raises(ValueError, match="mine") as raised:
        run(governed(sync_node(shop)))

    assert 1 == len(shop.at)
    assert [] == rows("retry")
    assert not any("Sidecar" in note for note in raised.value.__notes__)


def test_a_node_that_catches_it_and_asks_again_is_told_that_it_may_not(governed: Any) -> None:
    shop = Shop(*[Weather() for _ in range(9)])
    told: list[str] = []

    def node(state: Any) -> Any:
        for _ in range(3):
            try:
                shop.tool.invoke({"word": "a"})
            except (Weather, RetriesExhausted) as error:
                told.append(type(error).__name__)
        return {"out": "without"}

    assert "without" == run(governed(node))
    assert ["Weather", "RetriesExhausted", "RetriesExhausted"] == told
    assert 3 == len(shop.at)


def test_another_question_has_attempts_of_its_own(governed: Any) -> None:
    shop = Shop(*[Weather() for _ in range(3)])

    def node(state: Any) -> Any:
        try:
            shop.tool.invoke({"word": "a"})
        except Weather:
            return {"out": shop.tool.invoke({"word": "b"})}

    assert "found" == run(governed(node))


def test_all_graphs_pay_from_one_budget(governed: Any) -> None:
    """Ten graphs with a burst of five: local budgets would allow fifty."""
    shop = Shop(*[Weather() for _ in range(999)])
    graphs = [governed(sync_node(shop), ratio=0.1, burst=5, wait=0.001) for _ in range(10)]
    for graph in graphs * 4:
        with pytest.raises(Weather):
            run(graph)

    assert 40 < len(shop.at) <= 40 + 4 + 5


def test_a_first_try_is_never_refused_for_want_of_a_budget(governed: Any) -> None:
    shop = Shop(*[Weather() for _ in range(30)])
    graph = governed(sync_node(shop), ratio=0.01, burst=1, wait=0.001)
    for _ in range(28):
        with pytest.raises(Weather):
            run(graph)
    shop.errors = ()

    assert "found" == run(graph)


def test_a_revision_for_quality_is_no_retry(governed: Any) -> None:
    """A gate that sends a node back pays nothing, and finds nothing refused."""
    model = ScriptedChatModel(["bad", "bad", "bad", "good"])

    def judge(call: Any, update: Any) -> Verdict:
        return Verdict.passed() if update["out"] == "good" else Verdict.revise("do better")

    contract = Contract(gates=[judge], attempts=4)
    graph = governed(lambda state: {"out": model.invoke("hello").content}, contract, attempts=1, burst=1)

    assert "good" == run(graph)


def test_the_retries_of_a_nodes_own_code_pay_from_a_budget_too(governed: Any) -> None:
    """Its first attempts count: a tenth of them may be made again, and the burst."""
    tries: list[int] = []

    def node(state: Any) -> Any:
        tries.append(1)
        raise ConnectionError("weather")

    policy = RetryPolicy(initial_interval=0, jitter=False, max_attempts=3)
    graph = governed(node, Contract(), {"retry_policy": policy}, ratio=0.1, burst=3)
    for _ in range(40):
        with pytest.raises(ConnectionError):
            run(graph)

    assert 40 + 3 <= len(tries) <= 40 + 4 + 3


def test_what_langgraph_does_not_run_again_is_not_paid_for(governed: Any, rows: Any) -> None:
    """It asks its policy first, and counts the attempts afterwards."""
    tries: list[int] = []

    def node(state: Any) -> Any:
        tries.append(1)
        raise ConnectionError("weather")

    policy = RetryPolicy(initial_interval=0, jitter=False, max_attempts=2)
    graph = governed(node, Contract(), {"retry_policy": policy}, attempts=9)
    with pytest.raises(ConnectionError):
        run(graph)

    assert 2 == len(tries)
    assert ["retry.scheduled"] == [row.kind for row in rows("retry")]


def test_a_run_does_not_inherit_the_failures_of_an_earlier_one(governed: Any) -> None:
    """The same session comes to the same place again; what failed then was another request."""
    tries: list[int] = []

    def node(state: Any) -> Any:
        tries.append(1)
        if len(tries) in (1, 4):
            raise ConnectionError("weather")
        return {"out": "bad" if len(tries) == 3 else "good"}

    def judge(call: Any, update: Any) -> Verdict:
        return Verdict.passed() if update["out"] == "good" else Verdict.revise("do better")

    policy = RetryPolicy(initial_interval=0, jitter=False, max_attempts=9)
    graph = governed(node, Contract(gates=[judge], attempts=9), {"retry_policy": policy}, attempts=2)
    thread: Any = {"configurable": {"thread_id": "t"}}
    for _ in range(2):  # a failure, and its second try; then a revision, a failure, and its second try
        assert "good" == graph.invoke({"out": ""}, thread)["out"]

    assert 5 == len(tries)


def test_where_retries_are_not_governed_langgraph_does_as_it_is_told(one: Any, sidecar: Sidecar) -> None:
    tries: list[int] = []

    def node(state: Any) -> Any:
        tries.append(1)
        raise ConnectionError("weather")

    policy = RetryPolicy(initial_interval=0, jitter=False, max_attempts=7)
    graph = govern(one(node, options={"retry_policy": policy}), contracts={"n": Contract()}, sidecar=sidecar)
    with pytest.raises(ConnectionError):
        run(graph)

    assert 7 == len(tries)
