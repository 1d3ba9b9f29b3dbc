"""No form of state, and no way to look at one, hides anything from a contract."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from governance import Contract, Sidecar, govern
from governance.errors import ContractViolation, Refusal
from tests.attacks.node_shapes import Classed, Modelled, Typed


@pytest.mark.parametrize("state", [Typed, Modelled, Classed])
def test_no_form_of_state_hides_what_a_node_writes(state: Any, sidecar: Sidecar, one: Callable[..., Any]) -> None:
    """A layer that only knows dictionaries sees an empty state in models and dataclasses."""
    graph = govern(one(lambda s: {"secret": "x"}, state), contracts={"n": Contract(writes=["out"])}, sidecar=sidecar)

    with pytest.raises(ContractViolation, match="secret"):
        graph.invoke({"out": "a"})


@pytest.mark.parametrize("state", [Modelled, Classed])
def test_an_object_returned_as_an_update_is_judged_by_the_keys_it_sets(
    state: Any, sidecar: Sidecar, one: Callable[..., Any]
) -> None:
    graph = govern(
        one(lambda s: state(out="a", secret="x"), state), contracts={"n": Contract(writes=["out"])}, sidecar=sidecar
    )

    with pytest.raises(ContractViolation, match="secret"):
        graph.invoke({"out": "a"})


@pytest.mark.parametrize("state", [Typed, Modelled, Classed])
def test_no_form_of_state_hides_what_a_node_reads(state: Any, sidecar: Sidecar, one: Callable[..., Any]) -> None:
    seen: list[Any] = []

    def node(given: Any) -> Any:
        seen.append(given["secret"] if isinstance(given, dict) else given.secret)
        return {"out": "b"}

    graph = govern(one(node, state), contracts={"n": Contract(reads=["out"])}, sidecar=sidecar)

    with pytest.raises((ContractViolation, KeyError)):
        graph.invoke({"out": "a", "secret": "hidden"})

    assert [] == seen


LOOKS: dict[str, Callable[[Any], Any]] = {
    "model_dump": lambda s: s.model_dump() if hasattr(s, "model_dump") else None,
    "model_dump_json": lambda s: s.model_dump_json() if hasattr(s, "model_dump_json") else None,
    "dict": lambda s: dict(s) if hasattr(s, "model_dump") else None,
    "vars": lambda s: dict(vars(s)),
    "repr": repr,
    "members": lambda s: inspect.getmembers(s),
    "model_copy": lambda s: vars(s.model_copy()) if hasattr(s, "model_copy") else None,
    "reduce": lambda s: s.__reduce_ex__(4),
    "getstate": lambda s: s.__getstate__(),
    "getattribute": lambda s: object.__getattribute__(s, "secret"),
}


@pytest.mark.parametrize("state", [Modelled, Classed])
@pytest.mark.parametrize("look", list(LOOKS))
def test_a_view_of_an_object_gives_a_hidden_field_to_no_way_of_looking(
    look: str, state: Any, sidecar: Sidecar, one: Callable[..., Any]
) -> None:
    """What the contract does not let a node read is not in the object it is given."""
    seen: list[str] = []

    def node(given: Any) -> Any:
        try:
            seen.append(str(LOOKS[look](given)))
        except Exception as error:
            seen.append(str(error))
        return {}

    graph = govern(one(node, state), contracts={"n": Contract(reads=["out"])}, sidecar=sidecar)
    try:
        graph.invoke({"out": "a", "secret": "hunter2"})
    except Refusal:
        pass

    assert "hunter2" not in "".join(seen)
