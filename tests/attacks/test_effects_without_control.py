"""A control file that goes away under an effect, and threads that call tools by themselves."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from governance import Sidecar, govern
from governance.errors import (
    EffectInDoubt,
    GovernanceError,
    LedgerError,
)
from tests.attacks.answers import CONFIG
from tests.attacks.tills import MAY, Till


def spoiled(sidecar: Sidecar, how: str) -> None:
    if how == "deleted":
        for path in sidecar.control.path.parent.glob(f"{sidecar.control.path.name}*"):
            path.unlink()
        return
    with sidecar.control._lock:
        pragma = {"read-only": "query_only=ON", "full": "max_page_count=1"}[how]
        sidecar.control._connect().execute(f"PRAGMA {pragma}")


LONG = "x" * 100_000
"""Arguments for which a full file has no room when their row is written again."""


def paying_on(sidecar: Sidecar, till: Till, line: Any, saver: Any) -> Any:
    sidecar.effects.lease = 0.3
    node = lambda s: {"out": till.pay.invoke({"amount": 5, "order": LONG})}
    return govern(line(compiled={"checkpointer": saver, "name": "jobs"}, n=node), contracts=MAY, sidecar=sidecar)


@pytest.mark.parametrize("how", ["deleted", "read-only", "full"])
def test_an_outcome_that_cannot_be_stored_ends_the_run(how: str, sidecar: Sidecar, line: Any) -> None:
    till = Till(during=lambda: spoiled(sidecar, how))
    with pytest.raises(LedgerError, match="control file"):
        paying_on(sidecar, till, line, InMemorySaver()).invoke({"out": ""}, CONFIG)

    assert [5] == till.paid


def test_no_effect_begins_where_its_intent_cannot_be_stored(sidecar: Sidecar, ruled: Any, line: Any) -> None:
    till = Till()

    def node(state: Any) -> Any:
        spoiled(sidecar, "read-only")
        return {"out": till.pay.invoke({"amount": 5})}

    with pytest.raises(LedgerError, match="control file"):
        ruled(line(n=node), contracts=MAY).invoke({"out": ""}, CONFIG)

    assert [] == till.paid


def test_threads_that_call_a_tool_in_any_order_never_pay_twice(ruled: Any, line: Any) -> None:
    """Which of them is first differs; then it is for a person."""
    till, delays = Till(), iter([(0, 0.1), (0.1, 0)])

    def node(state: Any) -> Any:
        def one(given: tuple[int, float]) -> Any:
            time.sleep(given[1])
            return till.pay.invoke({"amount": given[0]})

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(one, enumerate(next(delays))))
        interrupt("?")

    graph = ruled(line(compiled={"checkpointer": InMemorySaver()}, n=node), contracts=MAY)
    graph.invoke({"out": ""}, CONFIG)
    with pytest.raises(EffectInDoubt):
        graph.invoke(Command(resume="."), CONFIG)

    assert [0, 1] == sorted(till.paid)


def test_what_a_thread_of_an_ended_node_wants_to_do_is_refused(ruled: Any, line: Any) -> None:
    till, over, ended = Till(), threading.Event(), []

    def late() -> None:
        over.wait(5)
        try:
            till.pay.invoke({"amount": 5})
        except GovernanceError as error:
            ended.append(error)

    threads = []

    def node(state: Any) -> Any:
        threads.append(threading.Thread(target=late))
        threads[0].start()
        return {"out": "x"}

    ruled(line(n=node), contracts=MAY).invoke({"out": ""}, CONFIG)
    over.set()
    threads[0].join()

    assert ([], 1) == (till.paid, len(ended))
