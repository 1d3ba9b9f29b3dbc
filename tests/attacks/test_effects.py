"""Effects: on record whatever the tool does and is given, and done once however often the node runs."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.tools import BaseTool, tool
from langgraph.types import RetryPolicy

from governance import Contract, Sidecar, SideEffect, declares, govern
from governance.errors import EffectInDoubt
from tests.fixtures import calling

PATIENT = RetryPolicy(max_attempts=3, initial_interval=0, jitter=False)


def wiping() -> BaseTool:
    @tool
    def wipe(path: str) -> str:
        """Wipe."""
        raise OSError("wiped half of it")

    return wipe


def test_a_tool_that_raises_after_its_effect_is_on_record_with_its_arguments(
    sidecar: Sidecar, one: Any, rows: Any
) -> None:
    wipe = wiping()
    graph = govern(
        one(lambda s: {"out": wipe.invoke({"path": "/x"})}), contracts={"n": Contract(tools=["wipe"])}, sidecar=sidecar
    )

    with pytest.raises(OSError):
        graph.invoke({"out": ""})

    (failed,) = [row for row in rows() if row.kind == "tool.failed"]
    assert {"path": "/x"} == failed.body["args"]


def test_a_declared_effect_that_raises_leaves_its_intent_on_disk(sidecar: Sidecar, one: Any, rows: Any) -> None:
    wipe = declares(SideEffect("write"))(wiping())
    graph = govern(
        one(lambda s: {"out": wipe.invoke({"path": "/x"})}), contracts={"n": Contract(tools=["wipe"])}, sidecar=sidecar
    )

    with pytest.raises(OSError):
        graph.invoke({"out": ""})

    assert [{"path": "/x"}] == [row.body["args"] for row in rows() if row.kind == "effect.intent"]


class Opaque:
    pass


ENDLESS: dict[str, Any] = {}
ENDLESS["again"] = ENDLESS


@pytest.mark.parametrize(
    "value",
    [Opaque(), object, {1, 2}, b"\xff", "\ud800", 2**80, float("nan"), {Opaque(): 1}, lambda: 1, ENDLESS],
    ids=["object", "class", "set", "bytes", "surrogate", "huge", "nan", "odd key", "function", "itself"],
)
def test_arguments_that_are_no_json_are_on_record_all_the_same(
    value: Any, sidecar: Sidecar, one: Any, rows: Any
) -> None:
    """A log that raises on them after the tool ran records nothing of what happened."""
    done: list[int] = []

    @tool
    def anything(value: Any) -> str:
        """Take anything."""
        done.append(1)
        return "ok"

    graph = govern(
        one(lambda s: {"out": anything.invoke({"value": value})}),
        contracts={"n": Contract(tools=["anything"])},
        sidecar=sidecar,
    )

    graph.invoke({"out": ""})

    assert 1 == sum(row.kind == "tool.ended" for row in rows())
    assert [1] == done


def test_the_record_shows_the_arguments_as_they_were_when_the_tool_ran(sidecar: Sidecar, one: Any, rows: Any) -> None:
    """Changing them afterwards, before the record is written, changes nothing."""

    @tool
    def order(items: Any) -> str:
        """Order."""
        items[:] = ["a pencil"]
        return "ordered"

    graph = govern(
        one(lambda s: {"out": order.invoke({"items": ["a yacht"]})}),
        contracts={"n": Contract(tools=["order"])},
        sidecar=sidecar,
    )

    graph.invoke({"out": ""})

    assert [{"items": ["a yacht"]}] == [row.body["args"] for row in rows() if row.kind == "tool.ended"]


def test_an_effect_happens_once_when_the_node_runs_again(sidecar: Sidecar, till: Any, one: Any) -> None:
    tries: list[int] = []

    def node(state: Any) -> Any:
        till.refund.invoke({"amount": 5})
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("weather")

    graph = govern(
        one(node, options={"retry_policy": PATIENT}), contracts={"n": Contract(tools=["refund"])}, sidecar=sidecar
    )

    graph.invoke({"out": ""})

    assert 3 == len(tries)
    assert [5] == till.ran("refund")


def test_a_resampled_argument_at_a_finished_place_is_for_a_person(sidecar: Sidecar, till: Any, one: Any) -> None:
    """With the arguments in the key, a model that words it differently refunds twice."""
    amounts = iter([5, 6])

    def node(state: Any) -> Any:
        till.refund.invoke({"amount": next(amounts)})
        raise ConnectionError("weather")

    graph = govern(
        one(node, options={"retry_policy": PATIENT}), contracts={"n": Contract(tools=["refund"])}, sidecar=sidecar
    )

    with pytest.raises(EffectInDoubt):
        graph.invoke({"out": ""})

    assert [5] == till.ran("refund")


def test_a_tool_call_id_used_again_does_not_repeat_the_effect(sidecar: Sidecar, till: Any, one: Any) -> None:
    asked = calling(("refund", {"amount": 5}))

    def node(state: Any) -> Any:
        return {"messages": [till.refund.invoke(asked.tool_calls[0]) for _ in range(3)]}

    graph = govern(one(node), contracts={"n": Contract(tools=["refund"])}, sidecar=sidecar)

    graph.invoke({"messages": [asked]})

    assert [5] == till.ran("refund")


def test_declared_effects_are_marked_on_the_tool_itself(till: Any) -> None:
    assert till.refund is declares(SideEffect("write"))(till.refund)
