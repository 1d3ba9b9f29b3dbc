"""A change since the session is found at the step where it first shows, and nothing else is."""

from __future__ import annotations

import operator
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph

from governance.replay import replay
from governance.testing.models import ScriptedChatModel
from tests.governance.replay.conftest import Stage


def tools(*, works: bool = True) -> Any:
    """Tools whose results nobody can guess, or that must not be reached."""
    made: list[int] = []

    @tool
    def look(what: str) -> str:
        """Looks."""
        assert works, "a replay called a tool"
        made.append(1)
        return f"{what} seen {len(made)} times: {id(made)}"

    @tool
    def weigh(what: str) -> str:
        """Weighs."""
        assert works, "a replay called a tool"
        return f"{what} weighs {id(made)}"

    return look, weigh


def model(*answers: Any) -> Any:
    return ScriptedChatModel(answers)


def test_a_session_replays_without_any_model_or_tool(stage: Stage, line: Any) -> None:
    def graph(asked: Any, looks: Any) -> Any:
        return line(
            ask=lambda state: {"messages": [asked.invoke([HumanMessage("?")])]},
            look=lambda state: {"out": looks.invoke({"what": state["messages"][-1].content})},
        )

    recording = stage.record(graph(model("the sky"), tools()[0]), {"out": ""})

    found = stage.replayed(graph(model(), tools(works=False)[0]), recording)
    assert (True, 1, 2, 2) == (found.equal, found.runs, found.nodes, found.calls)


def test_the_record_is_only_read(stage: Stage, line: Any, rows: Any) -> None:
    recording = stage.record(line(n=lambda state: {"out": "x"}), {"out": ""})
    before = rows()

    stage.seen(line(n=lambda state: {"out": "y"}), recording)
    assert before == rows()
    assert not stage.unused.ledger.path.exists()


def test_files_that_the_environment_names_are_not_touched(
    stage: Stage, line: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = stage.record(line(n=lambda state: {"out": "x"}), {"out": ""})
    monkeypatch.setenv("SIDECAR_LEDGER", str(tmp_path / "named" / "ledger.db"))
    monkeypatch.setenv("SIDECAR_CONTROL", str(tmp_path / "named" / "control.db"))
    graph = stage.govern(line(n=lambda state: {"out": "x"}), stage.unused)

    assert replay(graph, recording).equal
    assert not (tmp_path / "named").exists()


@pytest.mark.parametrize("words", ["Think.", "Think!"])
def test_another_prompt_is_found_at_the_call_of_the_model(stage: Stage, line: Any, words: str) -> None:
    def graph(asks: str) -> Any:
        return line(a=lambda state: {"out": "x"}, n=lambda state: {"out": str(model("so").invoke(asks).content)})

    recording = stage.record(graph("Think."), {"out": ""})

    assert (None if words == "Think." else ("n#2>model.0", "prompt")) == stage.seen(graph(words), recording)


def test_the_place_within_a_value_is_named(stage: Stage, line: Any) -> None:
    recording = stage.record(line(n=lambda state: {"items": ["a", "b"]}), {"out": ""})
    found = stage.replayed(line(n=lambda state: {"items": ["a", "c"]}), recording).divergence

    assert found is not None
    assert ("items[1]", "b", "c", 3) == (found.where, found.recorded, found.came, found.n)
    assert "n#1 (row 3): the node returned another update" in str(found)


def test_another_option_of_a_model_is_found(stage: Stage, line: Any) -> None:
    def graph(temperature: float) -> Any:
        return line(n=lambda state: {"out": str(model("so").invoke("?", temperature=temperature).content)})

    assert ("n#1>model.0", "options") == stage.seen(graph(1.0), stage.record(graph(0.0), {"out": ""}))


def test_other_arguments_are_found_at_the_call_of_the_tool(stage: Stage, line: Any) -> None:
    def graph(what: str, **works: bool) -> Any:
        return line(n=lambda state: {"out": tools(**works)[0].invoke({"what": what})})

    assert ("n#1>look.0", "arguments") == stage.seen(graph("b", works=False), stage.record(graph("a"), {"out": ""}))


def test_a_result_that_is_used_otherwise_is_found_in_the_update(stage: Stage, line: Any) -> None:
    def graph(use: Callable[[str], str]) -> Any:
        return line(n=lambda state: {"out": use(tools()[0].invoke({"what": "a"}))})

    assert ("n#1", "update") == stage.seen(graph(str.upper), stage.record(graph(str), {"out": ""}))


def route(to: str) -> Any:
    builder = StateGraph(dict).add_node("a", lambda s: s).add_node("b", lambda s: s).add_node("n", lambda s: s)
    builder.add_edge(START, "n").add_conditional_edges("n", lambda state: to, ["a", "b", "__end__"])
    return builder.compile()


def test_another_route_is_found_at_the_node_it_leads_to(stage: Stage) -> None:
    recording = stage.record(route("a"), {"x": 1})

    assert ("b#2", "unrecorded") == stage.seen(route("b"), recording)


def test_a_route_that_ends_early_is_found_at_the_node_that_is_missing(stage: Stage) -> None:
    assert ("a#2", "missing") == stage.seen(route("__end__"), stage.record(route("a"), {"x": 1}))


def reduced(reducer: Any, *more: str) -> Any:
    keys = {"log": Annotated[list[str], reducer]}
    builder = StateGraph(TypedDict("Log", keys)).add_node("n", lambda state: {"log": ["b"]}).add_edge(START, "n")  # type: ignore[operator]
    before = "n"
    for name in more:
        builder.add_node(name, lambda state: {}).add_edge(before, name)
        before = name
    return builder.compile()


def test_another_reducer_is_found_where_its_state_is_read(stage: Stage) -> None:
    recording = stage.record(reduced(operator.add, "m"), {"log": ["a"]})

    assert ("m#2", "input") == stage.seen(reduced(lambda old, new: new + old, "m"), recording)


def test_another_reducer_is_found_also_where_nobody_reads_its_state(stage: Stage) -> None:
    recording = stage.record(reduced(operator.add), {"log": ["a"]})

    assert ("n#1", "state") == stage.seen(reduced(lambda old, new: new + old), recording)


def test_calls_in_the_opposite_order_are_found_at_the_one_that_comes_too_early(stage: Stage, line: Any) -> None:
    def graph(turned: bool) -> Any:
        def node(state: Any) -> Any:
            return {"items": sorted(one.invoke({"what": "a"}) for one in (tools()[::-1] if turned else tools()))}

        return line(n=node)

    assert ("n#1>weigh.0", "order") == stage.seen(graph(True), stage.record(graph(False), {"out": ""}))


def test_a_call_that_is_no_longer_made_is_missing(stage: Stage, line: Any) -> None:
    def graph(looks: bool) -> Any:
        return line(n=lambda state: {"out": "x"} if not looks or tools()[0].invoke({"what": "a"}) else {})

    assert ("n#1>look.0", "missing") == stage.seen(graph(False), stage.record(graph(True), {"out": ""}))


def test_a_call_that_nobody_made_is_unrecorded(stage: Stage, line: Any) -> None:
    def graph(looks: bool) -> Any:
        return line(n=lambda state: {"out": "x"} if not looks or tools()[0].invoke({"what": "a"}) else {})

    assert ("n#1>look.0", "unrecorded") == stage.seen(graph(True), stage.record(graph(False), {"out": ""}))


@pytest.mark.parametrize("swallows", [True, False])
def test_a_connection_is_refused_and_named_whatever_the_node_makes_of_it(
    stage: Stage, line: Any, swallows: bool
) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(0.2)

    def node(state: Any) -> Any:
        with suppress(Exception if swallows else ()):
            socket.create_connection(listening.getsockname()).close()
        return {"out": "x"}

    stage.contracts = None
    recording = stage.record(line(n=node), {"out": ""})
    listening.accept()[0].close()

    assert ("n#1", "connection") == stage.seen(line(n=node), recording)
    with pytest.raises(TimeoutError):
        listening.accept()
    listening.close()


def test_a_value_that_is_new_each_time_is_found(stage: Stage, line: Any) -> None:
    numbers = iter(range(9))
    graph = line(n=lambda state: {"amount": next(numbers)})

    assert ("n#1", "update") == stage.seen(graph, stage.record(graph, {"out": ""}))


def test_a_divergence_that_the_node_swallows_is_told_all_the_same(stage: Stage, line: Any) -> None:
    def graph(asks: str) -> Any:
        def node(state: Any) -> Any:
            with suppress(Exception):
                model("so").invoke(asks)
            return {"out": "x"}

        return line(n=node)

    assert ("n#1>model.0", "prompt") == stage.seen(graph("b"), stage.record(graph("a"), {"out": ""}))


def test_a_node_that_fails_now_and_did_not_is_found(stage: Stage, line: Any) -> None:
    def fails(state: Any) -> Any:
        raise ValueError("broken")

    recording = stage.record(line(n=lambda state: {"out": "x"}), {"out": ""})

    found = stage.replayed(line(n=fails), recording).divergence
    assert (
        found is not None and "in the record it ended well, and now it is failed (ValueError: broken)" in found.reason
    )


def test_an_answer_is_given_in_the_form_in_which_it_came(stage: Stage, line: Any) -> None:
    def graph(*said: str) -> Any:
        asked = model(*said)

        def node(state: Any) -> Any:
            pieces = [str(piece.content) for piece in asked.stream("a")]
            many = [str(one.content) for one in asked.batch(["b", "c"])]
            return {"out": "".join(pieces), "items": many, "messages": [asked.invoke("d")]}

        return line(n=node)

    recording = stage.record(
        graph("one two three", "b", "c", "d"), {"out": ""}, config=None or {"configurable": {"thread_id": "t"}}
    )
    assert None is stage.seen(graph(), recording)
    assert isinstance(
        recording.value(next(r for r in recording.rows if r.kind == "model.ended"), "answer")[0], AIMessage
    )


def test_the_graph_itself_goes_on_as_it_was(stage: Stage, line: Any, rows: Any) -> None:
    graph = stage.recorded(
        line(compiled={"checkpointer": InMemorySaver()}, n=lambda state: {"out": state["out"] + "x"})
    )
    config: Any = {"configurable": {"thread_id": "t"}}
    graph.invoke({"out": ""}, config)
    assert replay(graph, stage.recording()).equal
    assert "yx" == graph.invoke({"out": "y"}, config)["out"]
    assert 4 == len(rows("node"))
