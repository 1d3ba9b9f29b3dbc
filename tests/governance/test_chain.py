"""The chain: one machine and four drivers, which do what a recursive reading of the filters says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.call import Proceed
from governance.chain import Chain
from tests.governance.chain_drivers import arun, astream, by_reference, outcome, run, stream
from tests.governance.chains import KINDS, NODES, Log, filter_of, raising

chains = st.lists(st.sampled_from(KINDS), max_size=6)
nodes = st.sampled_from(sorted(NODES))


@pytest.mark.parametrize("driver", [run, arun, stream, astream])
@given(kinds=chains, node=nodes)
def test_every_driver_does_what_the_recursive_reading_of_the_filters_says(
    driver: Any, kinds: list[str], node: str
) -> None:
    """Same result or error, and the same filters entered, thrown into, left and released in the same order."""
    assert outcome(by_reference, kinds, node) == outcome(driver, kinds, node)


@pytest.mark.parametrize("driver", [run, arun, stream, astream])
@pytest.mark.parametrize("node", ["interrupts", "cancelled", "stopped by the keyboard"])
@given(kinds=st.lists(st.sampled_from(["catch", "translate", "retry", "hold", "again", "pass", "plain"]), max_size=5))
def test_interrupts_and_cancellations_are_never_thrown_into_a_filter(driver: Any, node: str, kinds: list[str]) -> None:
    """They close the filters, from the inside out; an `except Exception` never sees them."""
    _, log = outcome(driver, kinds, node)

    seen = [entry for entry in log if " saw " in entry]
    assert [f"{name} saw GeneratorExit" for name in reversed("abcde"[: len(kinds)]) if f"enter {name}" in log] == seen


@pytest.mark.parametrize("driver", [run, arun, stream, astream])
def test_an_interrupt_that_a_filter_raises_is_thrown_into_no_other_filter(driver: Any) -> None:
    """An approval inside a chain is as safe from `except Exception` as one inside the node."""
    found, log = outcome(driver, ["catch", "hold", "interrupts"], "answers")

    assert ("GraphInterrupt", "()") == found
    assert ["c saw GraphInterrupt", "b saw GeneratorExit", "a saw GeneratorExit"] == [e for e in log if " saw " in e]


@given(kinds=chains, node=nodes)
def test_every_slot_taken_is_released_exactly_once(kinds: list[str], node: str) -> None:
    """However a chain ends, nothing stays held and nothing is given back twice."""
    _, log = outcome(run, kinds, node)

    taken = sorted(entry.removeprefix("take ") for entry in log if entry.startswith("take "))
    assert taken == sorted(entry.removeprefix("release ") for entry in log if entry.startswith("release "))


@given(kinds=chains, steps=st.integers(0, 8), fails=st.booleans())
def test_a_chain_closed_at_any_moment_leaves_no_filter_running(kinds: list[str], steps: int, fails: bool) -> None:
    """A driver may go away between any two effects: filters end inside out, slots come back."""
    log: Log = []
    machine = Chain([filter_of(kind, "abcdef"[n], log) for n, kind in enumerate(kinds)], "c")  # type: ignore[arg-type]
    try:
        effect = machine.start()
        for _ in range(steps):
            if effect is None:
                break
            effect = machine.throw(ValueError("x")) if fails else machine.send("v")
    except Exception:
        pass
    before = len(log)
    machine.close()

    assert sorted(e[6:] for e in log if e.startswith("enter ")) == sorted(e[6:] for e in log if e.startswith("leave "))
    assert sorted(e[5:] for e in log if e.startswith("take ")) == sorted(e[8:] for e in log if e.startswith("release "))
    left = [e.removeprefix("leave ") for e in log[before:] if e.startswith("leave ")]
    assert sorted(left, reverse=True) == left


def test_a_filter_that_fails_while_it_is_closed_keeps_no_other_from_ending() -> None:
    """What an outer filter holds comes back although an inner one raised on the way out."""
    log: Log = []

    def clumsy(call: Any) -> Any:
        try:
            return (yield Proceed(call))
        finally:
            raise RuntimeError("clumsy")

    machine = Chain([filter_of("hold", "a", log), clumsy], "c")  # type: ignore[arg-type]
    machine.start()
    with pytest.raises(RuntimeError, match="clumsy"):
        machine.close()

    assert ["enter a", "take a", "take aa", "a saw GeneratorExit", "leave a", "release aa", "release a"] == log


@pytest.mark.parametrize("kinds", [[], ["pass"], ["hold", "pass", "output"]])
def test_a_stop_iteration_of_a_node_comes_out_as_what_it_is(kinds: list[str]) -> None:
    """Generators would turn it into a RuntimeError, and LangGraph would report another error than bare."""
    log: Log = []

    with pytest.raises(StopIteration, match="node"):
        run(
            [filter_of(kind, "abc"[n], log) for n, kind in enumerate(kinds)], lambda _: raising(StopIteration("node"))()
        )
