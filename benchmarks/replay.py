"""Records sessions of every shape and replays each; plants changes, and asks where the replay sees them.

A session is recorded by really running its graph, and replayed by a graph built anew whose models have nothing to
say: an answer can only come from the record. A change counts as found where the replay names the very step that
follows from the plant.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks import replay_flows, replay_people
from benchmarks.replay_kills import Kill, RunOn
from benchmarks.replay_shapes import PLANTS, SHAPES, Words
from benchmarks.report import Target, report
from governance import Policy, Sidecar, govern
from governance.policy import ApprovalPolicy, LedgerPolicy
from governance.replay import Recording, Replayed, from_ledger, replay

FAMILIES = (replay_flows, replay_people)
"""Where the shapes are, which come to `SHAPES` by themselves."""
RULES = Policy(ledger=LedgerPolicy(payloads="all"), approvals=ApprovalPolicy(local_operators=("ann",)))
SESSIONS, PLANTED = 100, 20
KILLED = ("parallel", "asking", "approvals", "streaming", "agent")
"""Shapes with a checkpointer and contracts, so that they can be run on: a third of their sessions is killed."""
TARGETS = {
    "sessions": Target(SESSIONS, "at least"),
    "divergences": Target(0),
    "planted": Target(PLANTED, "at least"),
    "planted_found": Target(PLANTED, "at least"),
}


def record(name: str, seed: int, sidecar: Sidecar, *, kill: Kill | None = None) -> tuple[Recording, int]:
    """One session of a shape, as it was recorded, and how often it was killed on its way."""
    built = SHAPES[name](Words(seed), "")
    filters = [kill] if kill is not None else []
    govern(built.graph, contracts=built.contracts, policy=RULES, sidecar=sidecar, filters=filters)
    graph, session = RunOn(built.graph), f"{name}-{seed}"
    built.drive(graph, sidecar, {"configurable": {"thread_id": session}})
    sidecar.ledger.flush()
    return from_ledger(sidecar.ledger, session), graph.kills


def again(name: str, seed: int, recording: Recording, sidecar: Sidecar, plant: str = "") -> Replayed:
    """The same graph built anew, perhaps with something planted in it, against the record."""
    built = SHAPES[name](Words(seed, silent=True), plant)
    graph = govern(built.graph, contracts=built.contracts, policy=RULES, sidecar=sidecar)
    return replay(graph, recording)


def planted(wanted: int) -> Iterator[tuple[str, str]]:
    """Shapes with what is planted in them: each kind of change in turn, each time in another shape if there is one."""
    by_kind: dict[str, list[tuple[str, str]]] = {}
    for name, plant in PLANTS:
        by_kind.setdefault(plant.partition("_")[0], []).append((name, plant))
    kinds = [_other_shapes_first(those) for those in by_kind.values()]
    chosen = [those[n] for n in range(len(PLANTS)) for those in kinds if n < len(those)]
    yield from chosen[:wanted]


def _other_shapes_first(those: list[tuple[str, str]]) -> list[tuple[str, str]]:
    first = {name: (name, plant) for name, plant in reversed(those)}
    return sorted(those, key=lambda one: first[one[0]] != one)


def replayed(folder: Path, sessions: int) -> tuple[Counter[str], list[str], dict[str, float]]:
    """How many sessions of each shape were replayed, which of them diverged, and what it took."""
    done, diverged, seconds = Counter[str](), list[str](), {"recorded": 0.0, "replayed": 0.0}
    sidecar, other = Sidecar(ledger=folder / "recorded.db"), Sidecar(ledger=folder / "unused.db")
    names = list(SHAPES)
    for number in range(sessions):
        name = names[number % len(names)]
        begin = time.perf_counter()
        kill = (
            Kill(1 + number // len(names) % 4, after=bool(number % 2))
            if name in KILLED and number // len(names) % 3 == 0
            else None
        )
        recording, killed = record(name, number, sidecar, kill=kill)
        between = time.perf_counter()
        found = again(name, number, recording, other)
        seconds["recorded"] += between - begin
        seconds["replayed"] += time.perf_counter() - between
        done[name] += 1
        done["killed and run on"] += killed
        if not found.equal:
            diverged.append(str(found))
    sidecar.close()
    other.close()
    return done, diverged, seconds


def found(folder: Path, changes: int) -> tuple[Counter[str], list[str]]:
    """How many changes of each kind were planted, and which of them were not found where they are."""
    tried, missed = Counter[str](), list[str]()
    sidecar, other = Sidecar(ledger=folder / "planted.db"), Sidecar(ledger=folder / "unused.db")
    for number, (name, plant) in enumerate(planted(changes)):
        recording, _ = record(name, 1000 + number, sidecar)
        result = again(name, 1000 + number, recording, other, plant)
        tried[plant.partition("_")[0]] += 1
        seen = (result.divergence.path, result.divergence.what) if result.divergence else None
        if seen != PLANTS[name, plant]:
            missed.append(f"{plant} in {name}: expected {PLANTS[name, plant]}, got {result}")
    sidecar.close()
    other.close()
    return tried, missed


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="ends within 50 s")
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    parser.add_argument("--data", help="not used: this benchmark makes its own sessions")
    options = parser.parse_args(argv)
    logging.getLogger("langgraph").setLevel(logging.ERROR)  # nodes that fail by plan are told by warnings
    changes = PLANTED if options.quick else len(PLANTS)
    with tempfile.TemporaryDirectory() as name:
        done, diverged, seconds = replayed(Path(name), SESSIONS)
        tried, missed = found(Path(name), changes)
    figures: dict[str, float | None] = {
        "sessions": SESSIONS,
        "killed": done.pop("killed and run on"),
        "divergences": len(diverged),
        "planted": sum(tried.values()),
        "planted_found": sum(tried.values()) - len(missed),
        "record_ms": 1000 * seconds["recorded"] / SESSIONS,
        "replay_ms": 1000 * seconds["replayed"] / SESSIONS,
    }
    targets = {**TARGETS, "planted_found": Target(sum(tried.values()), "at least")}
    notes = [f"sessions: {_counted(done)}", f"planted: {_counted(tried)}", *diverged[:20], *missed[:40]]
    return report("replay", figures, targets, notes="\n".join(notes), only_json=options.json)


def _counted(those: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(those.items()))


if __name__ == "__main__":
    sys.exit(main())
