"""Filters of every kind, nodes of every kind, and a log of what happens to them, for the tests of the chain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from langgraph.errors import GraphInterrupt

from governance.call import Hold, Proceed, Run, Sleep, also_told

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
