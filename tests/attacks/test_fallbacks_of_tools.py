"""A tool that cannot answer is answered for only where that is true, and only with what is the asker's own."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.tools import BaseTool, StructuredTool

from governance import Cached, Contract, Plain, SideEffect, declares, effect
from governance.errors import CircuitOpen

AWAY = ConnectionError("nobody there")


class Shop:
    """A tool that finds something once, and then nobody is there."""

    def __init__(self, effect: SideEffect, found: Any = "found") -> None:
        self.asked = 0

        def look(word: str = "a") -> Any:
            self.asked += 1
            if self.asked > 1:
                raise AWAY
            return found

        self.tool: BaseTool = declares(effect)(StructuredTool.from_function(look, name="look", description="Looks."))


READ = SideEffect("read")


def looking(shop: Shop, words: list[str], found: list[Any]) -> Any:
    return lambda state: found.append(shop.tool.invoke({"word": words.pop(0)}))


def test_a_read_finds_what_it_found_before(put: Any, thread: Any) -> None:
    found: list[Any] = []
    graph = put(looking(Shop(READ), ["a", "a", "b"], found), Contract(tools=["look"], fallbacks={"look": Cached(60)}))
    for _ in range(2):
        graph.invoke({"out": ""}, thread)
    with pytest.raises(ConnectionError):
        graph.invoke({"out": ""}, thread)  # another question

    assert ["found", "found"] == found


def test_an_answer_is_not_given_to_another_session(put: Any) -> None:
    found: list[Any] = []
    graph = put(looking(Shop(READ), ["a", "a"], found), Contract(tools=["look"], fallbacks={"look": Cached(60)}))
    graph.invoke({"out": ""}, {"configurable": {"thread_id": "1"}})

    with pytest.raises(ConnectionError):
        graph.invoke({"out": ""}, {"configurable": {"thread_id": "2"}})


def test_a_shared_answer_stays_within_its_tenant(put: Any) -> None:
    found: list[Any] = []
    contract = Contract(tools=["look"], fallbacks={"look": Cached(60, shared=True)})
    graph = put(looking(Shop(READ), ["a"] * 3, found), contract, '[tenants]\nkey = "tenant"\n')

    def ask(thread: str, tenant: str) -> None:
        graph.invoke({"out": ""}, {"configurable": {"thread_id": thread, "tenant": tenant}})

    ask("1", "acme")
    ask("2", "acme")
    with pytest.raises(ConnectionError):
        ask("3", "other")

    assert ["found", "found"] == found


def test_nobody_changes_what_another_is_given(put: Any, thread: Any) -> None:
    found: list[Any] = []

    def node(state: Any) -> Any:
        found.append(list(got := shop.tool.invoke({"word": "a"})))
        got.append("changed")

    shop = Shop(READ, ["found"])
    graph = put(node, Contract(tools=["look"], fallbacks={"look": Cached(60)}))
    for _ in range(3):
        graph.invoke({"out": ""}, thread)

    assert [["found"]] * 3 == found


@pytest.mark.parametrize("effect", ["write", "undeclared"])
def test_only_a_declared_read_is_answered_from_memory(effect: str, put: Any, thread: Any) -> None:
    shop = Shop(SideEffect("write", idempotent=True))
    if effect == "undeclared":
        del vars(shop.tool)["__sidecar_effect__"]
    graph = put(looking(shop, ["a", "a"], []), Contract(tools=["look"], fallbacks={"look": Cached(60)}))
    graph.invoke({"out": ""}, thread)

    with pytest.raises(ConnectionError):
        graph.invoke({"out": ""}, thread)


def test_an_effect_that_may_have_happened_is_not_refused_plainly(put: Any) -> None:
    """Whoever reads the refusal would take it that nothing happened."""
    shop = Shop(SideEffect("write"))
    shop.asked = 1
    graph = put(looking(shop, ["a"], []), Contract(tools=["look"], fallbacks={"look": Plain("closed")}))

    with pytest.raises(ConnectionError):
        graph.invoke({"out": ""})


def test_an_effect_that_never_began_is_refused_plainly(put: Any, rows: Any) -> None:
    shop = Shop(SideEffect("write"))
    shop.asked = 1
    found: list[Any] = []
    rules = "[breaker]\nminimum = 1\nopen = 1000\n"
    contract = Contract(tools=["look"], fallbacks={"look": Plain("closed")})
    graph = put(looking(shop, ["a", "b"], found), contract, rules)
    with pytest.raises(ConnectionError):
        graph.invoke({"out": ""})
    graph.invoke({"out": ""})

    assert ["closed"] == found
    assert [] == rows("effect.finished")


def test_what_operators_set_comes_last(put: Any, thread: Any) -> None:
    found: list[Any] = []
    rules = '[dependency."look"]\ncached = 60\nrefusal = "closed"\n'
    graph = put(looking(Shop(READ), ["a", "a", "b"], found), Contract(tools=["look"]), rules)
    for _ in range(3):
        graph.invoke({"out": ""}, thread)

    assert ["found", "found", "closed"] == found


def test_a_tool_call_of_a_model_is_answered_with_a_tool_message(put: Any) -> None:
    shop = Shop(READ)
    shop.asked = 1
    found: list[Any] = []
    call = {"type": "tool_call", "name": "look", "args": {"word": "a"}, "id": "c0"}
    contract = Contract(tools=["look"], fallbacks={"look": Plain("closed")})
    put(lambda state: found.append(shop.tool.invoke(call)), contract).invoke({"out": ""})

    assert [("closed", "c0", "error")] == [(one.content, one.tool_call_id, one.status) for one in found]


def test_a_block_of_code_is_answered_by_nobody(put: Any) -> None:
    """Its caller wants it done; a text would pass for that."""

    def node(state: Any) -> Any:
        with effect("look", does=SideEffect("write")):
            raise AWAY

    rules = "[breaker]\nminimum = 1\nopen = 1000\n"
    graph = put(node, Contract(tools=["look"], fallbacks={"look": Plain("closed")}), rules)
    with pytest.raises(ConnectionError):
        graph.invoke({"out": ""})
    with pytest.raises(CircuitOpen):
        graph.invoke({"out": ""})
