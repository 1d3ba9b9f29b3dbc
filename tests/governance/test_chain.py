"""The chain: one machine, four drivers, and a recursive reading of the same filters that says what is right."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.errors import GraphBubbleUp, GraphInterrupt

from governance import chain
from governance.call import Hold, Proceed, Run, Sleep, also_told
from governance.chain import Chain
from governance.errors import DeadlineExceeded

Log = list[str]


class Place:
    """A slot that notes what becomes of it; a full one refuses."""

    def __init__(self, name: str, log: Log, *, full: bool = False) -> None:
        self.name, self.log, self.full = name, log, full

    def take(self) -> None:
        if self.full:
            raise OverflowError(f"{self.name} is full")
        self.log.append(f"take {self.name}")

    def release(self) -> None:
        self.log.append(f"release {self.name}")


def raising(error: BaseException) -> Callable[[], Any]:
    def work() -> Any:
        raise error

    return work


def filter_of(kind: str, name: str, log: Log) -> Any:
    """One filter of a kind, which notes when it begins and ends, and what it was thrown."""

    def body(call: str) -> Any:
        if kind == "pass":
            return (yield Proceed(call))
        if kind == "input":
            return (yield Proceed(call + name))
        if kind == "output":
            return f"{(yield Proceed(call))}+{name}"
        if kind == "before":
            raise ValueError(f"{name} before")
        if kind == "after":
            yield Proceed(call)
            raise KeyError(f"{name} after")
        if kind == "catch":
            try:
                return (yield Proceed(call))
            except Exception as error:
                return f"{name} caught {type(error).__name__}"
        if kind == "translate":
            try:
                return (yield Proceed(call))
            except ValueError as error:
                raise LookupError(name) from error
        if kind == "sleep":
            yield Sleep(0)
            return (yield Proceed(call))
        if kind == "hold":
            yield Hold(Place(name, log))
            yield Hold(Place(name * 2, log))
            return (yield Proceed(call))
        if kind == "full":
            yield Hold(Place(name, log))
            yield Hold(Place(name * 2, log, full=True))
        if kind == "full but sure":
            try:
                yield Hold(Place(name, log, full=True))
            except OverflowError:
                yield Hold(Place(name * 2, log))
            return (yield Proceed(call))
        if kind == "run":
            return (yield Proceed(call + (yield Run(lambda: name))))
        if kind == "run fails":
            yield Run(raising(OSError(name)))
        if kind == "again":
            first = yield Proceed(call)
            yield Hold(Place(name, log))
            return f"{first}|{(yield Proceed(call + name))}"
        if kind == "retry":
            try:
                return (yield Proceed(call))
            except ValueError:
                return (yield Proceed(call + name))
        if kind == "short":
            return f"{name} answers"
        if kind == "interrupts":
            raise GraphInterrupt(())
        if kind == "nonsense":
            return (yield "please")  # type: ignore[misc]
        raise AssertionError(kind)

    def flow(call: str) -> Any:
        log.append(f"enter {name}")
        try:
            return (yield from body(call))
        except BaseException as error:
            log.append(f"{name} saw {type(error).__name__}")
            raise
        finally:
            log.append(f"leave {name}")

    def plain(call: str) -> None:
        log.append(f"plain {name}")
        if kind == "plain raises":
            raise ValueError(f"{name} plain")

    def hears(call: str, error: BaseException) -> None:
        log.append(f"{name} was told {type(error).__name__} of {call}")

    @also_told(hears)
    def look(call: str, value: Any) -> Any:
        log.append(f"{name} looks at {value} of {call}")
        if kind == "look fails":
            raise KeyError(f"{name} look")
        if kind == "look interrupts":
            raise GraphInterrupt(())
        return asks(call, value) if kind == "look asks" else f"{value}~{name}"

    def asks(call: str, value: Any) -> Any:
        yield Hold(Place(name, log))
        more = yield Run(lambda: name)
        again = yield Proceed(call + more)
        return f"{value}/{again}"

    if kind.startswith("look"):
        return lambda call: look
    return plain if kind.startswith("plain") else flow


KINDS = (
    "pass", "input", "output", "before", "after", "catch", "translate", "sleep", "hold", "full", "full but sure",
    "run", "run fails", "again", "retry", "short", "interrupts", "nonsense", "plain", "plain raises",
    "look", "look fails", "look interrupts", "look asks",
)  # fmt: skip
NODES: dict[str, Callable[[], BaseException] | None] = {
    "answers": None,
    "fails": lambda: ValueError("node"),
    "fails once": lambda: ValueError("once"),
    "interrupts": lambda: GraphInterrupt(()),
    "cancelled": asyncio.CancelledError,
    "stopped by the keyboard": KeyboardInterrupt,
}


def node_of(kind: str, log: Log) -> Callable[[str], str]:
    runs: list[str] = []

    def node(call: str) -> str:
        log.append(f"node {call}")
        runs.append(call)
        made = NODES[kind]
        if made is not None and not (kind == "fails once" and len(runs) > 1):
            raise made()
        return f"<{call}>"

    return node


def reference(filters: list[Any], call: str, node: Callable[[str], str]) -> str:
    """What a chain means, as plainly as it can be written: a filter calls the rest of the chain."""
    if not filters:
        return node(call)
    flow = filters[0](call)
    if flow is None:
        return reference(filters[1:], call, node)
    held: list[Any] = []
    if callable(flow):
        try:
            value = reference(filters[1:], call, node)
        except BaseException as error:
            flow.failed(call, error)  # type: ignore[attr-defined]
            raise
        value = flow(call, value)
        if isinstance(value, str):
            return value
        flow = value

    def perform(effect: Any) -> Any:
        if isinstance(effect, Proceed):
            return reference(filters[1:], effect.call, node)  # type: ignore[arg-type]
        if isinstance(effect, Hold):
            effect.slot.take()
            return held.append(effect.slot)
        if isinstance(effect, Run):
            return effect.work()
        if isinstance(effect, Sleep):
            return None
        raise TypeError(f"a filter yielded {effect!r}; expected Proceed, Sleep, Hold or Run")

    try:
        effect = next(flow)
        while True:
            try:
                value = perform(effect)
            except GraphBubbleUp:
                flow.close()
                raise
            except Exception as error:
                effect = flow.throw(error)
            except BaseException:
                flow.close()
                raise
            else:
                effect = flow.send(value)
    except StopIteration as done:
        return done.value
    finally:
        for slot in reversed(held):
            slot.release()


def run(filters: list[Any], node: Callable[[str], str]) -> Any:
    return chain.run(filters, "c", node)  # type: ignore[arg-type]


def arun(filters: list[Any], node: Callable[[str], str]) -> Any:
    async def anode(call: str) -> str:
        await asyncio.sleep(0)
        return node(call)

    return _driven(chain.arun(filters, "c", anode))  # type: ignore[arg-type]


def stream(filters: list[Any], node: Callable[[str], str]) -> Any:
    made = Chain(filters, "c")  # type: ignore[arg-type]
    for _ in chain.stream(made, lambda call: iter((node(call),)), "".join):
        pass
    return made.result


def astream(filters: list[Any], node: Callable[[str], str]) -> Any:
    made = Chain(filters, "c")  # type: ignore[arg-type]

    async def produce(call: str) -> AsyncIterator[str]:
        yield node(call)

    async def drain() -> Any:
        async for _ in chain.astream(made, produce, "".join):
            pass
        return made.result

    return _driven(drain())


def _driven(work: Any) -> Any:
    """Runs a coroutine without a loop's own handling of cancellation and the keyboard."""
    loop = _LOOP
    task = loop.create_task(_outcome(work))
    found = loop.run_until_complete(task)
    if isinstance(found, tuple):
        raise found[0]
    return found[0]


async def _outcome(work: Any) -> Any:
    try:
        return [await work]
    except BaseException as error:
        return (error,)


_LOOP = asyncio.new_event_loop()


def outcome(driver: Callable[..., Any], kinds: list[str], node: str) -> tuple[Any, Log]:
    """The result or the error of a chain, and everything that happened on the way."""
    log: Log = []
    filters = [filter_of(kind, "abcdef"[n], log) for n, kind in enumerate(kinds)]
    try:
        return driver(filters, node_of(node, log)), log
    except BaseException as error:
        return (type(error).__name__, str(error)), log


def by_reference(filters: list[Any], node: Callable[[str], str]) -> str:
    return reference(filters, "c", node)


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


class Pieces:
    """A producer of three pieces that notes when it is closed."""

    def __init__(self, log: Log) -> None:
        self.log = log

    def __call__(self, call: Any) -> Iterator[str]:
        try:
            yield from "xyz"
        finally:
            self.log.append("produced")

    async def aiter(self, call: Any) -> AsyncIterator[str]:
        try:
            for piece in "xyz":
                yield piece
        finally:
            self.log.append("produced")


def test_pieces_pass_as_they_come_and_the_filters_see_their_sum() -> None:
    log: Log = []
    seen: list[Any] = []

    def watching(call: Any) -> Any:
        seen.append((yield Proceed(call)))
        return seen[-1]

    pieces = list(chain.stream(Chain([watching], "c"), Pieces(log), "".join))  # type: ignore[arg-type]

    assert ["x", "y", "z"] == pieces
    assert ["xyz"] == seen


def test_a_chain_that_answers_without_proceeding_streams_its_answer() -> None:
    """A recorded or substituted answer reaches a streaming caller too, in one piece."""
    made = Chain([filter_of("short", "a", [])], "c")  # type: ignore[arg-type]

    assert ["a answers"] == list(chain.stream(made, Pieces([]), "".join))


def test_a_consumer_that_breaks_off_a_stream_ends_producer_and_filters() -> None:
    log: Log = []
    pieces = chain.stream(Chain([filter_of("hold", "a", log)], "c"), Pieces(log), "".join)  # type: ignore[arg-type]
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]

    assert ["produced", "a saw GeneratorExit", "leave a", "release aa", "release a"] == log[3:]


def test_an_async_consumer_that_breaks_off_a_stream_ends_producer_and_filters() -> None:
    """The connection of a model is closed before what was reserved for it is settled."""
    log: Log = []

    async def work() -> None:
        made = Chain([filter_of("hold", "a", log)], "c")  # type: ignore[arg-type]
        pieces = chain.astream(made, Pieces(log).aiter, "".join)
        await anext(pieces)
        await pieces.aclose()  # type: ignore[attr-defined]

    asyncio.run(work())

    assert ["produced", "a saw GeneratorExit", "leave a", "release aa", "release a"] == log[3:]


@pytest.mark.parametrize("error", [ValueError("half way"), GraphInterrupt(())])
def test_a_stream_that_fails_half_way_settles_what_was_held(error: Exception) -> None:
    log: Log = []

    def produce(call: Any) -> Iterator[str]:
        yield "x"
        raise error

    made = Chain([filter_of("hold", "a", log)], "c")  # type: ignore[arg-type]
    with pytest.raises(type(error)):
        list(chain.stream(made, produce, "".join))

    assert ["release aa", "release a"] == log[-2:]


class _Node:
    """As much of a node call as a deadline asks for."""

    name = place = path = "n"

    def __init__(self) -> None:
        self.refused: list[Exception] = []
        self.node = self

    def refuse(self, refusal: Any) -> Any:
        self.refused.append(refusal)
        return refusal


def bounded(call: Any) -> Any:
    return (yield Proceed(call, 0.05))


def test_a_deadline_abandons_sync_code_and_latches_the_refusal() -> None:
    """The thread cannot be killed, so the node it works for is refused whatever it starts from then on."""
    node, free, ended = _Node(), threading.Event(), threading.Event()

    def slow(call: Any) -> None:
        free.wait()
        ended.set()

    with pytest.raises(DeadlineExceeded, match=r"n took longer than 0.05 s"):
        chain.run([bounded], node, slow)  # type: ignore[arg-type]
    free.set()

    assert ended.wait(5)
    assert ["deadline"] == [r.code for r in node.refused]  # type: ignore[attr-defined]


def test_a_deadline_cancels_async_code_and_does_not_wait_for_one_that_swallows_it() -> None:
    node, seen = _Node(), []

    async def slow(call: Any) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            await asyncio.sleep(0)

    async def work() -> None:
        with pytest.raises(DeadlineExceeded):
            await chain.arun([bounded], node, slow)  # type: ignore[arg-type]
        await asyncio.sleep(0.01)

    asyncio.run(work())

    assert ["cancelled"] == seen


@pytest.mark.parametrize("error", [ValueError("x"), GraphInterrupt(()), StopIteration("x")])
def test_what_bounded_code_raises_in_time_comes_out_unchanged(error: Exception) -> None:
    with pytest.raises(type(error)):
        chain.run([bounded], _Node(), lambda call: raising(error)())  # type: ignore[arg-type]


def test_a_cancelled_run_cancels_the_bounded_code_inside_it() -> None:
    seen: Log = []

    async def slow(call: Any) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    def long(call: Any) -> Any:
        return (yield Proceed(call, 60))

    async def work() -> None:
        task = asyncio.create_task(chain.arun([long], _Node(), slow))  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.01)

    asyncio.run(work())

    assert ["cancelled"] == seen


def test_blocking_work_runs_off_the_event_loop() -> None:
    """A filter's `Run` never blocks the loop, and an async form of it is preferred where there is one."""
    threads: list[int] = []

    def works(call: Any) -> Any:
        yield Run(lambda: threads.append(threading.get_ident()))
        return (yield Proceed(call))

    async def node(call: Any) -> str:
        return "done"

    assert "done" == asyncio.run(chain.arun([works], "c", node))  # type: ignore[arg-type]
    assert threading.get_ident() not in threads


def test_async_work_is_awaited_where_a_filter_offers_it() -> None:
    ran: Log = []

    async def awork() -> str:
        ran.append("async")
        return "a"

    def works(call: Any) -> Any:
        return (yield Run(lambda: ran.append("sync"), awork))

    async def node(call: Any) -> str:
        return "never"

    assert "a" == asyncio.run(chain.arun([works], "c", node))  # type: ignore[arg-type]
    assert ["async"] == ran
