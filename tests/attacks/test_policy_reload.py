"""While the policy changes all the time, no call fails and none sees a part of one policy and a part of another."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from governance import Contract, Sidecar, govern, load_policy
from governance.call import Call, Flow, Proceed
from governance.plane import control

TOGETHER = """
[budget]
session_tokens = {n}
[loops]
repeats = {n}
visits = {n}
[approvals]
local_operators = ["{n}"]
[retries]
attempts = {n}
[dependency.pay.bulkhead]
concurrent = {n}
"""
"""Everything in it says the same number."""


class Writer:
    """Somebody who rewrites the policy file over and over; every version is as old as a whole one."""

    def __init__(self, path: Path) -> None:
        self.path, self.version = path, 1_000
        self.write()

    def write(self) -> None:
        self.version += 1
        beside = self.path.with_suffix(".new")
        beside.write_text(TOGETHER.format(n=self.version))
        then = time.time_ns() - 3600 * 10**9 + self.version * 10**6
        os.utime(beside, ns=(then, then))
        os.replace(beside, self.path)


class Witness:
    """A filter that looks at everything a call goes by, before and after what it stands around."""

    def __init__(self, at: str) -> None:
        self.at = at
        self.mixtures: list[Any] = []
        self.seen: set[int] = set()

    def __call__(self, call: Call) -> Flow:
        before = self.numbers(call)
        result = yield Proceed(call)
        if len({*before, *self.numbers(call)}) > 1:
            self.mixtures.append((before, self.numbers(call)))
        self.seen.update(before)
        return result

    def numbers(self, call: Call) -> list[int]:
        policy, directory = call.governance.policy, call.governance.directory
        found = [policy.budget.session_tokens, policy.loops.repeats, policy.loops.visits]
        found += [int(policy.approvals.local_operators[0]), directory._general.retries.attempts]
        if call.boundary == "tool":
            found.append(directory.of(call).rules.bulkhead.concurrent)
        return found


@pytest.mark.parametrize(("mode", "reloads"), [("sync", 200), ("async", 50)])
def test_no_call_sees_a_mixture_and_none_fails(
    mode: str,
    reloads: int,
    sidecar: Sidecar,
    one: Any,
    till: Any,
    tmp_path: Path,
    rows: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(control, "REFRESH", 0.001)
    writer = Writer(tmp_path / "sidecar.toml")
    witnesses = [Witness("node"), Witness("tool")]
    graph = govern(
        one(lambda s: {"out": till.pay.invoke({"amount": 1})}),
        contracts={"n": Contract(tools=["pay"])},
        policy=writer.path,
        sidecar=sidecar,
        filters=witnesses,
    )
    over = threading.Event()
    digests = {load_policy(writer.path).digest}

    def work(thread: int) -> int:
        done = 0
        while not over.is_set() or not done:
            config: Any = {"configurable": {"thread_id": f"{thread}.{done}"}}
            graph.invoke({"out": ""}, config) if mode == "sync" else asyncio.run(graph.ainvoke({"out": ""}, config))
            done += 1
        return done

    def rewrite() -> None:
        for number in range(reloads):
            before = [len(witness.seen) for witness in witnesses]
            writer.write()
            digests.add(load_policy(writer.path).digest)
            while number % 20 == 0 and any(len(w.seen) == n for w, n in zip(witnesses, before, strict=True)):
                time.sleep(0.001)

    with ThreadPoolExecutor(50) as pool:
        working = [pool.submit(work, number) for number in range(50)]
        try:
            rewrite()
        finally:
            over.set()
        done = [one.result() for one in working]

    assert all(done)
    assert [[], []] == [witness.mixtures for witness in witnesses]
    assert all(len(witness.seen) >= reloads // 20 for witness in witnesses)
    assert {row.body["policy"] for row in rows() if "policy" in row.body} <= digests
    assert [] == rows("policy.rejected")
