"""Which code takes an effect back: never a guess between two."""

from __future__ import annotations

from typing import Any

import pytest

from governance import Contract, SideEffect, undos
from governance.errors import ContractError
from governance.undos import Undos


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(undos, "_declared", {})


def made(shop: object = "shop") -> SideEffect:
    """As a function that builds a tool declares it, each time it is called."""
    return SideEffect("write", undo=lambda args, outcome: shop)


def other() -> SideEffect:
    return SideEffect("write", undo=lambda args, outcome: "other")


def test_the_same_code_declared_twice_is_one_undo() -> None:
    undos.declare("pay", made())
    undos.declare("pay", again := made())

    assert again is Undos({}).of("pay")


@pytest.mark.parametrize("second", [other(), made("another shop")], ids=["other code", "the same code on another shop"])
def test_two_undos_of_one_name_are_none(second: SideEffect) -> None:
    undos.declare("pay", made())
    undos.declare("pay", second)

    assert "different code declares an undo for pay" in str(Undos({}).of("pay"))


def test_undos_that_stand_on_what_cannot_be_compared_are_two() -> None:
    class Awkward:
        def __eq__(self, other: object) -> bool:
            raise TypeError("compare me with nothing")

    undos.declare("pay", made(Awkward()))
    undos.declare("pay", made(Awkward()))

    assert isinstance(Undos({}).of("pay"), str)


def test_a_function_around_the_undo_that_was_defined_again_is_the_same() -> None:
    def tool(port: int) -> SideEffect:
        def ask(what: str) -> str:
            return f"{port} {what}"

        return SideEffect("write", undo=lambda args, outcome: ask(outcome))

    undos.declare("pay", tool(1))
    undos.declare("pay", tool(1))
    undos.declare("mail", tool(1))
    undos.declare("mail", tool(2))

    assert [False, True] == [isinstance(Undos({}).of(name), str) for name in ("pay", "mail")]


def test_what_ran_under_this_graph_goes_before_what_others_declare() -> None:
    undos.declare("pay", mine := made())
    undos.declare("pay", other())
    known = Undos({})
    known.saw("pay", mine)

    assert mine is known.of("pay")


def test_what_a_contract_says_goes_before_everything_else() -> None:
    ruled = other()
    known = Undos({"n": Contract(tools=["pay"], effects={"pay": ruled})})
    known.saw("pay", made())

    assert ruled is known.of("pay")


def test_a_tool_that_nobody_knows_has_no_undo_and_that_is_said() -> None:
    assert "declares no undo, or the code that does was not imported here" in str(Undos({}).of("pay"))


def test_a_process_that_declares_for_each_request_does_not_grow() -> None:
    for n in range(100):
        undos.declare("pay", made(object() if n % 2 else n))

    assert 2 == len(undos._declared["pay"])


def test_code_that_makes_up_a_name_for_each_effect_does_not_grow() -> None:
    for n in range(undos.KEPT + 10):
        undos.declare(f"mail-{n}", made())

    assert undos.KEPT == len(undos._declared)
    assert isinstance(Undos({}).of(f"mail-{undos.KEPT}"), SideEffect)


@pytest.mark.parametrize("says", [{"undo_idempotent": True}, {"undone": lambda args, outcome: True}])
def test_what_is_said_of_an_undo_needs_one(says: Any) -> None:
    with pytest.raises(ContractError, match="give SideEffect"):
        SideEffect("write", **says)
