"""What is kept of what was said: nothing, calls, or everything; under which rules; and whose run it was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from governance import Contract, Policy, Sidecar, govern
from governance.plane.retention import sessions_of
from governance.plane.verify import verify
from governance.policy import LedgerPolicy
from tests.fixtures import read_rows


@tool
def look(what: str) -> str:
    """Looks."""
    return f"seen: {what}"


def model() -> FakeMessagesListChatModel:
    return FakeMessagesListChatModel(responses=[AIMessage("the answer")])


def works(state: Any) -> Any:
    model().invoke([HumanMessage("the question")])
    return {"out": look.invoke({"what": "it"})}


@pytest.fixture
def run(line: Any, sidecar: Sidecar, rows: Any) -> Callable[..., list[Any]]:
    """The rows of one run under a policy for the ledger."""

    def start(given: dict[str, Any], config: Any = None, node: Any = works, **rules: Any) -> list[Any]:
        graph = line(compiled={"checkpointer": InMemorySaver()} if config else None, n=node)
        policy = Policy(ledger=LedgerPolicy(**rules))
        govern(graph, contracts={"n": Contract(tools=["look"])}, policy=policy, sidecar=sidecar).invoke(given, config)
        found: list[Any] = rows()
        return found

    return start


def kept(sidecar: Sidecar, found: list[Any]) -> dict[str, Any]:
    """By kind and name what the payloads of rows hold."""
    return {
        f"{row.kind}.{name}": sidecar.ledger.payload(row.session, value["sha256"])
        for row in found
        for name, value in row.body.items()
        if isinstance(value, dict) and value.keys() == {"sha256", "bytes"}
    }


def test_by_default_nothing_is_kept(run: Any, sidecar: Sidecar) -> None:
    assert {} == kept(sidecar, run({"out": "before"}))


@pytest.mark.parametrize("config", [None, {"configurable": {"thread_id": "t"}}], ids=["no thread", "thread"])
def test_calls_are_prompts_answers_results_and_what_the_run_was_given(run: Any, sidecar: Sidecar, config: Any) -> None:
    found = kept(sidecar, run({"out": "before"}, config, payloads="calls"))

    assert {"model.ended.prompt", "model.ended.answer", "tool.ended.result", "run.input.input"} == found.keys()
    assert (["the question"], ["the answer"]) == tuple(
        [message.content for message in found[f"model.ended.{name}"]] for name in ("prompt", "answer")
    )
    assert ("seen: it", "before") == (found["tool.ended.result"], found["run.input.input"]["out"])
    assert verify(sidecar.ledger.path).ok


def test_all_adds_what_each_node_was_given_and_what_it_returned(run: Any, sidecar: Sidecar) -> None:
    found = kept(sidecar, run({"out": "before"}, payloads="all"))

    assert ("before", {"out": "seen: it"}) == (found["node.begun.input"]["out"], found["node.ended.update"])


def test_a_node_is_on_record_with_no_more_than_it_may_read(line: Any, sidecar: Sidecar, rows: Any) -> None:
    graph = line(n=lambda state: {"out": "x"})
    policy = Policy(ledger=LedgerPolicy(payloads="all"))
    govern(graph, contracts={"n": Contract(reads=["out"])}, policy=policy, sidecar=sidecar)
    graph.invoke({"out": "before", "secret": "s3cr3t"})

    assert {"out": "before"} == kept(sidecar, rows("node"))["node.begun.input"]


def test_a_prompt_is_kept_as_it_was_when_it_was_sent(run: Any, sidecar: Sidecar) -> None:
    def changes(state: Any) -> Any:
        messages = [HumanMessage("the question")]
        model().invoke(messages)
        messages[0].content = "another"

    found = kept(sidecar, run({"out": ""}, node=changes, payloads="calls"))

    assert "the question" == found["model.ended.prompt"][0].content


def test_a_call_that_fails_keeps_what_was_asked(run: Any, sidecar: Sidecar) -> None:
    def fails(state: Any) -> Any:
        with pytest.raises(IndexError):
            FakeMessagesListChatModel(responses=[]).invoke([HumanMessage("the question")])

    found = run({"out": ""}, node=fails, payloads="calls")

    assert {"model.failed.prompt", "model.failed.raised"} == {n for n in kept(sidecar, found) if n.startswith("model")}


def test_an_error_is_kept_with_what_it_held(run: Any, sidecar: Sidecar) -> None:
    class Odd(Exception):
        def __init__(self) -> None:
            super().__init__("odd")
            self.status, self.response = 503, object()

    def fails(state: Any) -> Any:
        raise Odd

    with pytest.raises(Odd):
        run({"out": ""}, node=fails, payloads="all")
    sidecar.ledger.flush()
    [row] = [row for row in read_rows(sidecar.ledger.path) if row.kind == "node.failed"]
    raised = kept(sidecar, [row])["node.failed.raised"]
    assert ("odd", {"status": 503}) == (raised["text"], raised["state"])
    assert raised["type"].endswith("Odd")


def test_a_question_is_kept_and_so_is_its_answer(line: Any, sidecar: Sidecar, rows: Any, thread: Any) -> None:
    graph = line(compiled={"checkpointer": InMemorySaver()}, n=lambda state: {"out": interrupt("why?")})
    govern(graph, contracts={"n": Contract()}, policy=Policy(ledger=LedgerPolicy(payloads="all")), sidecar=sidecar)
    graph.invoke({"out": ""}, thread)
    graph.invoke(Command(resume="because"), thread)

    found = kept(sidecar, rows())
    assert "why?" == found["node.interrupted.asked"][0]["value"]
    assert "because" == found["run.resumed.resume"]


@pytest.mark.parametrize("threaded", [True, False])
def test_a_run_is_on_record_from_its_input_to_where_it_came_to_rest(
    line: Any, sidecar: Sidecar, rows: Any, thread: Any, threaded: bool
) -> None:
    graph = line(n=lambda state: {"out": state["out"] + "!"})
    govern(graph, contracts={"n": Contract()}, policy=Policy(ledger=LedgerPolicy(payloads="all")), sidecar=sidecar)
    graph.invoke({"out": "before"}, thread if threaded else None)

    found = rows()
    assert ["run.input", "node.begun", "node.ended", "run.rested"] == [row.kind for row in found]
    assert 1 == len({row.session for row in found})
    values = kept(sidecar, found)
    assert ({"out": "before"}, "before!") == (values["run.input.input"], values["run.rested.state"]["out"])
    assert ("done", False) == (found[-1].body["end"], found[0].body["async"])


def test_a_call_names_the_execution_of_the_node_it_was_made_in(run: Any) -> None:
    found = run({"out": ""})

    [node] = [row.body["execution"] for row in found if row.kind == "node.begun"]
    assert {node} == {row.body["of"] for row in found if row.kind in ("model.ended", "tool.ended")}


def test_options_of_a_model_are_kept_without_those_that_open_doors(run: Any, sidecar: Sidecar) -> None:
    def asks(state: Any) -> Any:
        model().invoke([HumanMessage("the question")], max_tokens=5, api_key="s3cr3t", extra_headers={"a": "s3cr3t"})

    found = kept(sidecar, run({"out": ""}, node=asks, payloads="calls"))

    assert {"max_tokens": 5} == found["model.ended.options"]


def test_async_calls_are_kept_too(line: Any, sidecar: Sidecar, rows: Any) -> None:
    async def asks(state: Any) -> Any:
        await model().ainvoke([HumanMessage("the question")])
        return {"out": await look.ainvoke({"what": "it"})}

    graph = line(n=asks)
    policy = Policy(ledger=LedgerPolicy(payloads="all"))
    govern(graph, contracts={"n": Contract(tools=["look"])}, policy=policy, sidecar=sidecar)
    asyncio.run(graph.ainvoke({"out": ""}))

    assert {"model.ended.answer", "tool.ended.result", "node.ended.update"} <= kept(sidecar, rows()).keys()


def test_a_rule_takes_out_of_everything_what_it_finds(run: Any, sidecar: Sidecar) -> None:
    found = run({"out": "it"}, payloads="all", redact=("seen", "question", r"\bit\b"))

    assert "seen" not in repr(kept(sidecar, found))
    assert [{"what": "[redacted]"}] == [row.body["args"] for row in found if row.kind == "tool.ended"]
    assert ["the [redacted]"] == [m.content for m in kept(sidecar, found)["model.ended.prompt"]]


@pytest.mark.parametrize("payloads", ["none", "calls"])
def test_a_call_names_the_contract_and_the_policy_it_was_made_under(run: Any, payloads: str) -> None:
    found = [row for row in run({"out": ""}, payloads=payloads) if row.kind in ("model.ended", "tool.ended")]

    policy = Policy(ledger=LedgerPolicy(payloads=payloads))
    assert {(Contract(tools=["look"]).digest, policy.digest)} == {(r.body["contract"], r.body["policy"]) for r in found}


@pytest.mark.parametrize("payloads", ["none", "calls", "all"])
def test_whose_run_it_is_is_told_once_and_not_in_the_clear(run: Any, sidecar: Sidecar, payloads: str) -> None:
    config = {"configurable": {"thread_id": "t", "user_id": "ann@example.org"}}
    found = run({"out": ""}, config, person="user_id", payloads=payloads)

    told = [row for row in found if row.kind == "session.person"]
    assert 1 == len(told)
    assert "ann" not in repr(told)
    assert ["t"] == sessions_of(sidecar.ledger, "ann@example.org")


def test_a_node_that_hands_over_names_to_whom(line: Any, sidecar: Sidecar, rows: Any) -> None:
    graph = line(n=lambda state: Command(update={"out": "x"}, goto="m"), m=lambda state: {})
    govern(graph, contracts={"n": Contract(routes=["m"]), "m": Contract()}, sidecar=sidecar).invoke({"out": ""})

    assert ["m"] == next(row.body for row in rows("node.ended") if row.actor == "n")["to"]
