"""Tampers with ledgers in every way there is, and asks the verifier; asks it about honest ones too.

Each trial is one ledger, one change and two verdicts. What cannot show inside of a ledger, a tail that is cut
with all that goes with it and a whole chain written anew, is looked for with an anchor kept outside; how much
is found without one is a figure of its own, and the notes say what is not.
"""

from __future__ import annotations

import random
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from benchmarks.options import options_of
from benchmarks.postgres import empty_schema, server
from benchmarks.report import Target, report
from benchmarks.tamper_victims import Victim, file_victim, server_victim, write
from benchmarks.tamper_ways import TAMPERINGS
from governance.errors import LedgerError
from governance.plane.anchors import Anchor
from governance.plane.ledger_store import Place
from governance.plane.verify import verify

TARGETS = {"missed": Target(0), "false_alarms": Target(0)}


class Trial(NamedTuple):
    """What was done, and whether it was found: with an anchor kept outside, and without one."""

    done: str
    found: bool
    found_alone: bool


def trial(victim: Victim, rng: random.Random) -> Trial:
    """One change and its verdicts; a change that the database itself refuses is tried again."""
    while True:
        tampering = rng.choice(TAMPERINGS)
        try:
            with victim.edit() as db:
                done = tampering(db, rng)
        except _refusals():
            victim.restore()
            continue
        break
    ended = Trial(done, is_found(victim, [victim.anchor]), is_found(victim, []))
    victim.restore()
    return ended


def is_found(victim: Victim, anchors: list[Anchor]) -> bool:
    """Whether the verifier says that something is wrong."""
    try:
        return bool(verify(victim.place, anchors=anchors).problems)
    except LedgerError:
        return True  # it cannot even be read as this ledger any more


def _refusals() -> tuple[type[Exception], ...]:
    with suppress(ImportError):
        import psycopg

        return sqlite3.IntegrityError, psycopg.IntegrityError
    return (sqlite3.IntegrityError,)


def honest(places: Iterator[Place], ledgers: int, rng: random.Random) -> list[str]:
    """Problems that the verifier finds in ledgers nobody has touched."""
    found: list[str] = []
    for _, place in zip(range(ledgers), places, strict=False):
        write(place, rng)
        first = verify(place)
        write(place, rng)  # and it grows on
        again = verify(place, heads=first.heads, anchors=[first.anchor] if first.anchor else [])
        found += map(str, (*first.problems, *again.problems))
    return found


def main(argv: list[str] | None = None) -> int:
    parser = options_of(
        "tamper", __doc__, quick="fewer trials; ends within 50 s", data="not used: this benchmark makes its own ledgers"
    )
    parser.add_argument("--seed", type=int, default=7, help="another seed is another set of trials")
    options = parser.parse_args(argv)
    trials, ledgers = (250, 20) if options.quick else (1000, 100)
    rng, missed = random.Random(options.seed), list[str]()
    tried, alone = Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        victims = {"SQLite": [file_victim(folder / f"victim{n}.db", rng) for n in range(5)]}
        alarms = honest((folder / f"honest{n}.db" for n in range(ledgers)), ledgers, rng)
        with suppress(ImportError):
            url = stack.enter_context(server())
            victims["PostgreSQL"] = [server_victim(url, rng, stack) for _ in range(5)]
            alarms += honest((empty_schema(url) for _ in range(ledgers)), ledgers, rng)
        for where, those in victims.items():
            for _ in range(trials):
                ended = trial(rng.choice(those), rng)
                tried[ended.done] += 1
                alone[ended.done] += ended.found_alone
                if not ended.found:
                    missed.append(f"{where}: {ended.done}")
    figures: dict[str, float | None] = {
        "trials": tried.total(),
        "found": tried.total() - len(missed),
        "missed": len(missed),
        "found_without_anchor": alone.total(),
        "untouched": ledgers * len(victims),
        "false_alarms": len(alarms),
    }
    kinds = sorted(tried.items())
    unseen = ", ".join(f"{alone[what]} of {count} {what}" for what, count in kinds if alone[what] < count)
    notes = [f"tried: {', '.join(f'{count} {what}' for what, count in kinds)}"]
    notes += [f"without an anchor all are found, but: {unseen}" if unseen else "all are found without an anchor"]
    notes += [*(f"missed: {one}" for one in missed[:20]), *(f"alarm: {one}" for one in alarms[:20])]
    return report("tamper", figures, TARGETS, notes="\n".join(notes), only_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
