"""A session is recorded with one graph, and replayed with another that may have been changed since."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from governance import Contract, Policy, Sidecar, govern
from governance.policy import ApprovalPolicy, LedgerPolicy
from governance.replay import Divergence, Recording, Replayed, from_ledger, replay

MAY = {"*": Contract(tools=["look", "weigh", "pay"])}
THREAD = {"configurable": {"thread_id": "t"}}


class Stage:
    """Records and replays, under the same rules."""

    def __init__(self, folder: Path, sidecar: Sidecar) -> None:
        self.sidecar = sidecar
        self.unused = Sidecar(ledger=folder / "unused.db")
        self.contracts: Any = MAY
        self.rules: dict[str, Any] = {}
        self.policy: dict[str, Any] = {}
        self.mode: Any = None

    def govern(self, graph: Any, sidecar: Sidecar) -> Any:
        ledger = LedgerPolicy(**{"payloads": "all", **self.rules})
        policy = Policy(ledger=ledger, approvals=ApprovalPolicy(local_operators=("ann",)), **self.policy)
        return govern(graph, contracts=self.contracts, policy=policy, sidecar=sidecar, mode=self.mode)

    def recorded(self, graph: Any) -> Any:
        """The graph, governed, with its rows going into the record."""
        return self.govern(graph, self.sidecar)

    def recording(self, session: str = "t") -> Recording:
        self.sidecar.ledger.flush()
        return from_ledger(self.sidecar.ledger, session)

    def record(self, graph: Any, *given: Any, config: Any = THREAD) -> Recording:
        """One run for each input, on one thread."""
        governed = self.recorded(graph)
        for one in given:
            governed.invoke(one, config)
        return self.recording()

    def replayed(self, graph: Any, recording: Recording) -> Replayed:
        return replay(self.govern(graph, self.unused), recording)

    def seen(self, graph: Any, recording: Recording) -> tuple[str, str] | None:
        """Where a replay diverges and by what; None where it is equal."""
        found: Divergence | None = self.replayed(graph, recording).divergence
        return None if found is None else (found.path, found.what)


@pytest.fixture
def stage(tmp_path: Path, sidecar: Sidecar) -> Iterator[Stage]:
    made = Stage(tmp_path, sidecar)
    yield made
    made.unused.close()


@pytest.fixture
def once() -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """A function that does something the first time and nothing after."""

    def wrap(then: Callable[[], Any]) -> Callable[[], Any]:
        done: list[int] = []

        def first() -> Any:
            if not done:
                done.append(1)
                return then()

        return first

    return wrap
