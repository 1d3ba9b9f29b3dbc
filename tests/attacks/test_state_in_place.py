"""State changed in place: what a node does to the objects it was given is not what others see."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from contextlib import suppress
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.config import get_config
from langgraph.types import RetryPolicy

from governance import Contract, Sidecar, govern
from governance.errors import ContractViolation, Refusal
from tests.attacks.states import Ledgered, Loosely, Strictly


def log_of(given: Any) -> list[str]:
    return given["log"] if isinstance(given, dict) else given.log


class Listing(list[Any]):
    pass


CONTAINERS: dict[str, tuple[Any, Any]] = {
    "list": (["kept"], lambda bag: bag.clear()),
    "dict": ({"kept": 1}, lambda bag: bag.clear()),
    "set": ({"kept"}, lambda bag: bag.clear()),
    "deque": (deque(["kept"]), lambda bag: bag.clear()),
    "ordered": (OrderedDict(kept=1), lambda bag: bag.clear()),
    "default": (defaultdict(int, kept=1), lambda bag: bag.clear()),
    "bytes": (bytearray(b"kept"), lambda bag: bag.clear()),
    "subclass": (Listing(["kept"]), lambda bag: bag.clear()),
}


@pytest.mark.parametrize("kind", list(CONTAINERS))
def test_a_container_changed_in_place_does_not_change_the_state(kind: str, sidecar: Sidecar, line: Any) -> None:
    bag, change = CONTAINERS[kind]
    seen: list[int] = []

    def sneaky(state: Any) -> Any:
        change(state["bag"])
        return {}

    graph = line(Ledgered, n=sneaky, after=lambda s: seen.append(len(s["bag"])))
    govern(graph, contracts={"*": Contract(writes=[])}, sidecar=sidecar)

    graph.invoke({"bag": bag})

    assert [0] != seen


@pytest.mark.parametrize("state", [Ledgered, Strictly, Loosely])
def test_a_list_of_any_state_changed_in_place_does_not_change_the_state(
    state: Any, sidecar: Sidecar, line: Any
) -> None:
    seen: list[int] = []
    graph = line(state, n=lambda s: log_of(s).append("hacked"), after=lambda s: seen.append(len(log_of(s))))
    govern(graph, contracts={"*": Contract(writes=[])}, sidecar=sidecar)

    with suppress(Refusal):
        graph.invoke({"log": ["kept"]})

    assert [2] != seen


def test_what_langgraph_itself_would_read_out_is_no_handle_on_the_state(sidecar: Sidecar, line: Any) -> None:
    """`__pregel_read` in the config gives the channel's own object."""
    seen: list[list[str]] = []

    def sneaky(state: Any) -> Any:
        get_config()["configurable"]["__pregel_read"]("log").append("hacked")
        return {}

    graph = line(Ledgered, n=sneaky, after=lambda s: seen.append(s["log"]))
    govern(graph, contracts={"*": Contract(writes=[])}, sidecar=sidecar)

    with suppress(Refusal):
        graph.invoke({"log": ["kept"]})

    assert ["kept", "hacked"] not in seen


def test_a_deep_change_in_place_is_found_in_strict_mode(sidecar: Sidecar, one: Any) -> None:
    def sneaky(state: Any) -> Any:
        state["messages"][0].content = "hacked"
        return {}

    graph = govern(one(sneaky, Ledgered), contracts={"n": Contract()}, mode="strict", sidecar=sidecar)

    with pytest.raises(ContractViolation, match="in place"):
        graph.invoke({"messages": [HumanMessage("kept")]})


# ---- long lists, which are not copied each time ------------------------------------------------------------------


@pytest.mark.parametrize("state", [Ledgered, Strictly, Loosely])
@pytest.mark.parametrize("change", ["replace", "append", "remove"])
def test_a_long_list_changed_in_place_is_not_what_the_next_node_sees(
    change: str, state: Any, sidecar: Sidecar, line: Any
) -> None:
    seen: list[list[str]] = []

    def sneaky(given: Any) -> Any:
        log = log_of(given)
        if change == "replace":
            log[0] = "hacked"
        elif change == "append":
            log.append("hacked")
        else:
            log.pop()
        return {}

    kept = [f"line {n}" for n in range(1000)]
    graph = line(state, n=sneaky, after=lambda s: seen.append(list(log_of(s))))
    govern(graph, contracts={"*": Contract(writes=[])}, sidecar=sidecar)
    with suppress(Refusal):
        graph.invoke({"log": list(kept)})

    assert seen in ([], [kept])


def test_a_long_list_changed_by_a_failing_attempt_is_not_what_the_next_attempt_sees(sidecar: Sidecar, one: Any) -> None:
    seen: list[str] = []

    def sneaky(given: Any) -> Any:
        seen.append(given["log"][0])
        given["log"][0] = "hacked"
        if len(seen) == 1:
            raise ConnectionError("weather")
        return {}

    patient = RetryPolicy(max_attempts=2, initial_interval=0, jitter=False)
    graph = govern(one(sneaky, Ledgered, {"retry_policy": patient}), contracts={"n": Contract()}, sidecar=sidecar)
    with suppress(Refusal):
        graph.invoke({"log": ["kept"] * 1000})

    assert {"kept"} == set(seen)


def test_a_long_list_kept_by_a_node_is_no_handle_on_what_later_nodes_see(sidecar: Sidecar, line: Any) -> None:
    held: list[Any] = []
    seen: list[str] = []

    def later(given: Any) -> Any:
        held[0][0] = "hacked"
        seen.append(given["log"][0])

    graph = line(Ledgered, n=lambda s: held.append(s["log"]), after=later)
    govern(graph, contracts={"*": Contract()}, sidecar=sidecar)
    with suppress(Refusal):
        graph.invoke({"log": ["kept"] * 1000})

    assert ["kept"] == seen
