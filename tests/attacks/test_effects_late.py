"""Many at once, and those who come back after their lease."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from governance import Sidecar, SideEffect
from governance.errors import (
    EffectInDoubt,
)
from tests.attacks.answers import CONFIG
from tests.attacks.tills import MAY, Till, rewound


def test_fifty_threads_at_one_place_make_one_effect(ruled: Any, line: Any) -> None:
    till = Till(during=lambda: time.sleep(0.05))
    node = lambda s: {"out": till.pay.invoke({"amount": 5})}
    graph = ruled(line(compiled={"checkpointer": InMemorySaver(), "interrupt_before": ["n"]}, n=node), contracts=MAY)
    graph.invoke({"out": ""}, CONFIG)
    with ThreadPoolExecutor(50) as pool:
        said = list(pool.map(lambda _: graph.invoke(None, CONFIG)["out"], range(50)))

    assert {"paid 5"} == set(said)
    assert [5] == till.paid


@pytest.fixture
def stopped(sidecar: Sidecar, ruled: Any, line: Any) -> Iterator[Any]:
    """A graph whose effect another process began, did, and was stopped in for longer than its lease; that process."""
    saver, parent = InMemorySaver(), os.getpid()
    till = Till(
        SideEffect("external", reconcile=lambda args: "looked up"), lambda: os.kill(os.getpid(), signal.SIGSTOP)
    )
    node = lambda s: {"out": till.pay.invoke({"amount": 5})}
    graph = ruled(line(compiled={"checkpointer": saver, "interrupt_before": ["n"]}, n=node), contracts=MAY)
    graph.invoke({"out": ""}, CONFIG)
    sidecar.close()
    child = os.fork()
    if child == 0:
        try:
            with suppress(EffectInDoubt):
                graph.invoke(None, CONFIG)
            sidecar.close()
        finally:
            os._exit(0)
    os.waitpid(child, os.WUNTRACED)
    time.sleep(sidecar.effects.lease)
    assert parent == os.getpid()
    yield graph, child
    with suppress(ProcessLookupError, ChildProcessError):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_who_wakes_after_its_lease_overwrites_nothing(stopped: Any, sidecar: Sidecar, rows: Any) -> None:
    graph, child = stopped
    first = graph.invoke(None, CONFIG)["out"]
    os.kill(child, signal.SIGCONT)
    os.waitpid(child, 0)
    second = rewound(graph, "n")["out"]

    assert ("looked up", "looked up") == (first, second)
    assert 1 == sum(row.kind == "effect.fenced" for row in rows("effect."))


def test_a_clock_set_back_does_not_end_the_lease_of_who_is_at_work(
    sidecar: Sidecar, ruled: Any, line: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is renewed by how long it was, not by what time it is said to be."""
    back, left = SimpleNamespace(time=lambda: time.time() - 3600, monotonic=time.monotonic), []

    def renewed() -> None:
        with sidecar.control.transaction() as db:
            sidecar.effects._renew(db)

    def during() -> None:
        renewed()
        monkeypatch.setattr("governance.plane.effects.time", back)
        with sidecar.control.transaction() as db:  # as if it had begun after that
            db.execute("UPDATE effects SET lease=?", (back.time() + sidecar.effects.lease,))
        time.sleep(sidecar.effects.lease)
        renewed()
        left.extend(lease - back.time() for (lease,) in sidecar.control.rows("SELECT lease FROM effects"))

    till = Till(during=during)
    ruled(line(n=lambda s: {"out": till.pay.invoke({"amount": 5})}), contracts=MAY).invoke({"out": ""}, CONFIG)

    assert [True] == [one > 0 for one in left]
