"""Tampers with ledgers in every way there is, and asks the verifier; asks it about honest ones too.

Each trial is one ledger, one change and one verdict. What cannot show inside of a ledger, a tail that is
cut with all that goes with it and a whole chain written anew, is looked for with an anchor kept outside.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.postgres import empty_schema, server
from benchmarks.report import Target, report
from governance.errors import LedgerError
from governance.plane.anchors import Anchor
from governance.plane.ledger import Ledger
from governance.plane.ledger_rows import closed, digest_with, event_hash, hash_sum
from governance.plane.ledger_schema import NAMES
from governance.plane.ledger_store import Place
from governance.plane.verify import verify

TARGETS = {"missed": Target(0), "false_alarms": Target(0)}
EDITED = {
    "events": ("session", "n", "g", "ts", "kind", "path", "actor", "body", "prev", "hash"),
    "heads": ("session", "n", "hash", "tokens"),
    "groups": ("g", "ts", "events", "sum", "prev", "hash"),
    "payloads": ("session", "digest", "kind", "data"),
    "salts": ("session", "salt"),
    "meta": ("value",),
}
KEYS = {
    "events": ("session", "n"), "heads": ("session",), "groups": ("g",), "payloads": ("session", "digest"),
    "salts": ("session",), "meta": ("name",),
}  # fmt: skip
WHOLE = "session, n, g, ts, kind, path, actor, body, prev, hash"


class Editor(Protocol):
    """Somebody with write access to the place a ledger is kept in."""

    def execute(self, query: str, *values: Any) -> list[tuple[Any, ...]]: ...


@dataclass(frozen=True, slots=True)
class Victim:
    """A ledger that can be changed and put back as it was."""

    place: Place
    anchor: Anchor
    edit: Callable[[], Any]
    """A context with an `Editor`; what it does is committed."""
    restore: Callable[[], None]


def write(place: Place, rng: random.Random) -> None:
    """An honest ledger of a few sessions, with payloads, in a few groups."""
    ledger = Ledger(place)
    for number in range(rng.randint(20, 60)):
        session = f"s{rng.randrange(6)}"
        payloads = {"input": {"text": rng.random()}} if rng.random() < 0.3 else None
        body = {"args": {"amount": rng.randrange(1000), "by": rng.choice(["alice", "bob"])}}
        ledger.record(session, "tool.ended", path=f"n#{number}", body=body, tokens=number, payloads=payloads)
        if rng.random() < 0.2:
            ledger.flush()
    for session in ("s0", "s1", "last"):
        ledger.record(session, "model.ended", payloads={"input": session})
    ledger.flush()
    ledger.close()


def edited(db: Editor, rng: random.Random) -> str:
    """One field of one row of one table."""
    table = rng.choices(list(EDITED), weights=[12, 3, 3, 2, 1, 1])[0]
    column = rng.choice(EDITED[table])
    keys = _pick(db, rng, table)
    (old,) = db.execute(f"SELECT {column} FROM {table} WHERE {_where(table)}", *keys)[0]
    db.execute(f"UPDATE {table} SET {column}=? WHERE {_where(table)}", _other(old, rng), *keys)
    return f"edited {table}.{column}"


def dropped(db: Editor, rng: random.Random) -> str:
    """One row of one table."""
    table = rng.choices(["events", "heads", "groups", "payloads", "salts"], weights=[6, 1, 1, 1, 1])[0]
    keys = _pick(db, rng, table)
    db.execute(f"DELETE FROM {table} WHERE {_where(table)}", *keys)
    return f"dropped a row of {table}"


def dropped_session(db: Editor, rng: random.Random) -> str:
    """A session with its head, its payloads and its salt."""
    session = rng.choice(db.execute("SELECT session FROM heads ORDER BY session"))[0]
    for table in ("events", "heads", "payloads", "salts"):
        db.execute(f"DELETE FROM {table} WHERE session=?", session)
    return "dropped a session"


def swapped(db: Editor, rng: random.Random) -> str:
    """Two rows change places, whole or in what they say."""
    one, other = rng.sample(db.execute(f"SELECT {WHOLE} FROM events ORDER BY session, n"), 2)
    if rng.random() < 0.5:
        for (session, n, *_), source in ((one, other), (other, one)):
            db.execute("UPDATE events SET body=?, ts=? WHERE session=? AND n=?", source[7], source[3], session, n)
        return "swapped what two rows say"
    for session, n, *_ in (one, other):
        db.execute("DELETE FROM events WHERE session=? AND n=?", session, n)
    for place, source in ((one, other), (other, one)):
        _insert(db, (*place[:2], *source[2:]))
    return "swapped two rows"


def duplicated(db: Editor, rng: random.Random) -> str:
    """A row once more, at the end of a session or at a number nobody has."""
    row = rng.choice(db.execute(f"SELECT {WHOLE} FROM events ORDER BY session, n"))
    n = db.execute("SELECT max(n) FROM events WHERE session=?", row[0])[0][0] + rng.choice([1, 2, 50])
    _insert(db, (row[0], n, *row[2:]))
    return "duplicated a row"


def inserted(db: Editor, rng: random.Random) -> str:
    """A row that follows its session's last by the rule, with the head moved on."""
    session, n, last = rng.choice(db.execute("SELECT session, n, hash FROM heads ORDER BY session"))
    g = rng.choice(db.execute("SELECT g FROM groups ORDER BY g"))[0]
    _chained(db, session, n + 1, g, last, '{"args":{"amount":1}}')
    return "inserted a row that fits its session"


def foreign(db: Editor, rng: random.Random) -> str:
    """A row of another session under this one's name."""
    rows = db.execute(f"SELECT {WHOLE} FROM events ORDER BY session, n")
    row, other = rng.choice(rows), rng.choice(rows)
    while other[0] == row[0]:
        other = rng.choice(rows)
    db.execute("DELETE FROM events WHERE session=? AND n=?", *row[:2])
    _insert(db, (*row[:2], *other[2:]))
    return "put a foreign row in"


def cut_tail(db: Editor, rng: random.Random) -> str:
    """The newest groups with all their rows; heads and payloads as they were then: only an anchor tells."""
    newest = db.execute("SELECT max(g) FROM groups")[0][0]
    keep = newest - rng.randint(1, min(3, newest - 1))
    db.execute("DELETE FROM events WHERE g>?", keep)
    db.execute("DELETE FROM groups WHERE g>?", keep)
    _heads_again(db)
    return "cut the tail with all that goes with it"


def cut_session(db: Editor, rng: random.Random) -> str:
    """The newest rows of one session, its head moved back."""
    session, n = rng.choice(db.execute("SELECT session, n FROM heads ORDER BY session"))
    db.execute("DELETE FROM events WHERE session=? AND n>?", session, rng.randrange(n))
    _heads_again(db)
    return "cut the tail of a session"


def second_chain(db: Editor, rng: random.Random) -> str:
    """A session written anew by the rule, with its head; its groups too, in half of the trials."""
    (session,) = rng.choice(db.execute("SELECT session FROM heads ORDER BY session"))
    rows = db.execute("SELECT n, g FROM events WHERE session=? ORDER BY n", session)
    db.execute("DELETE FROM events WHERE session=?", session)
    last = ""
    for number, g in rows:
        last = _chained(db, session, number, g, last, f'{{"args":{{"amount":{rng.randrange(10**6)}}}}}')
    _heads_again(db)
    if rng.random() < 0.5:
        return "wrote a second chain of a session"
    _groups_again(db)
    return "wrote a second chain of all sessions"


TAMPERINGS: tuple[Callable[[Editor, random.Random], str], ...] = (
    edited, edited, edited, dropped, dropped_session, swapped, duplicated, inserted, foreign, cut_tail, cut_session,
    second_chain,
)  # fmt: skip


def _pick(db: Editor, rng: random.Random, table: str) -> tuple[Any, ...]:
    keys = ", ".join(KEYS[table])
    return rng.choice(db.execute(f"SELECT {keys} FROM {table} ORDER BY {keys}"))


def _where(table: str) -> str:
    return " AND ".join(f"{key}=?" for key in KEYS[table])


def _other(old: Any, rng: random.Random) -> Any:
    """A value that is not the old one."""
    if isinstance(old, int):
        return old + rng.choice([-1, 1, 7, 10**6])
    if isinstance(old, (bytes, memoryview)):
        data = bytearray(bytes(old) or b"x")
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(7)
        return bytes(data)
    place = rng.randrange(len(old) + 1)
    return rng.choice([old[:place] + "x" + old[place:], old + " ", old[:-1] if old else "y"])


def _insert(db: Editor, row: tuple[Any, ...]) -> None:
    db.execute(f"INSERT INTO events({WHOLE}) VALUES({','.join('?' * len(row))})", *row)


def _chained(db: Editor, session: str, n: int, g: int, prev: str, body: str) -> str:
    hashed = event_hash(prev, session, n, g, 1, "tool.ended", "n#1", "pay", body)
    _insert(db, (session, n, g, 1, "tool.ended", "n#1", "pay", body, prev, hashed))
    tokens = db.execute("SELECT tokens FROM heads WHERE session=?", session)[0][0]
    db.execute("UPDATE heads SET n=?, hash=?, tokens=? WHERE session=?", n, hashed, tokens, session)
    return hashed


def _heads_again(db: Editor) -> None:
    """Heads, payloads and salts as the rows that are left would have them."""
    ends = dict(db.execute("SELECT session, max(n) FROM events GROUP BY session"))
    for (session,) in db.execute("SELECT session FROM heads ORDER BY session"):
        rows = db.execute("SELECT body, hash FROM events WHERE session=? ORDER BY n", session)
        bodies = [body for body, _ in rows]
        for (digest,) in db.execute("SELECT digest FROM payloads WHERE session=?", session):
            if not any(digest in body for body in bodies):
                db.execute("DELETE FROM payloads WHERE session=? AND digest=?", session, digest)
        if session not in ends:
            db.execute("DELETE FROM heads WHERE session=?", session)
            db.execute("DELETE FROM salts WHERE session=?", session)
            continue
        tokens = sum(int(part.partition(",")[0].rstrip("}")) for body in bodies for part in body.split('"tokens":')[1:])
        end, last = ends[session], rows[-1][1]
        db.execute("UPDATE heads SET n=?, hash=?, tokens=? WHERE session=?", end, last, tokens, session)


def _groups_again(db: Editor) -> None:
    prev = ""
    for g, ts in db.execute("SELECT g, ts FROM groups ORDER BY g"):
        hashes = [hashed for (hashed,) in db.execute("SELECT hash FROM events WHERE g=?", g)]
        group = closed(g, prev, ts, len(hashes), int(hash_sum(hashes), 16), digest_with(None))
        db.execute("UPDATE groups SET events=?, sum=?, prev=?, hash=? WHERE g=?", *group[2:], g)
        prev = group.hash


def trial(victim: Victim, rng: random.Random) -> tuple[str, bool]:
    """What was done, and whether it was found; a change that the database itself refuses is tried again."""
    while True:
        tampering = rng.choice(TAMPERINGS)
        try:
            with victim.edit() as db:
                done = tampering(db, rng)
        except _refusals():
            victim.restore()
            continue
        break
    try:
        found = bool(verify(victim.place, anchors=[victim.anchor]).problems)
    except LedgerError:
        found = True  # it cannot even be read as this ledger any more
    victim.restore()
    return done, found


def _refusals() -> tuple[type[Exception], ...]:
    with suppress(ImportError):
        import psycopg

        return sqlite3.IntegrityError, psycopg.IntegrityError
    return (sqlite3.IntegrityError,)


class FileEditor:
    """Edits a file of SQLite."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def execute(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._db.execute(query, values).fetchall()


class ServerEditor:
    """Edits the tables of a server."""

    def __init__(self, db: Any) -> None:
        self._db = db

    def execute(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        cursor = self._db.execute(query.replace("?", "%s"), values)
        return cursor.fetchall() if cursor.description else []


def file_victim(path: Path, rng: random.Random) -> Victim:
    write(path, rng)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    kept, anchor = path.read_bytes(), verify(path).anchor
    assert anchor is not None

    @contextmanager
    def edit() -> Iterator[Editor]:
        with closing(sqlite3.connect(path)) as db, db:
            yield FileEditor(db)

    def restore() -> None:
        for file in path.parent.glob(f"{path.name}-*"):
            file.unlink()
        path.write_bytes(kept)

    return Victim(path, anchor, edit, restore)


def server_victim(url: str, rng: random.Random, stack: ExitStack) -> Victim:
    import psycopg

    place = empty_schema(url)
    write(place, rng)
    anchor = verify(place).anchor
    assert anchor is not None
    db = stack.enter_context(psycopg.connect(place, autocommit=True))
    for name in NAMES:
        db.execute(f"CREATE TABLE kept_{name} AS SELECT * FROM {name}")  # type: ignore[arg-type]  # a name of ours

    @contextmanager
    def edit() -> Iterator[Editor]:
        with db.transaction():
            yield ServerEditor(db)

    def restore() -> None:
        with db.transaction():
            for name in NAMES:
                db.execute(f"DELETE FROM {name}")  # type: ignore[arg-type]
                db.execute(f"INSERT INTO {name} SELECT * FROM kept_{name}")  # type: ignore[arg-type]

    return Victim(place, anchor, edit, restore)


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
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tamper", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer trials; ends within 50 s")
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    parser.add_argument("--seed", type=int, default=7, help="another seed is another set of trials")
    parser.add_argument("--data", help="not used: this benchmark makes its own ledgers")
    options = parser.parse_args(argv)
    trials, ledgers = (250, 20) if options.quick else (1000, 100)
    rng, missed, tried = random.Random(options.seed), list[str](), Counter[str]()
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
                done, found = trial(rng.choice(those), rng)
                tried[where] += 1
                tried[done] += 1
                if not found:
                    missed.append(f"{where}: {done}")
    figures: dict[str, float | None] = {
        "trials": sum(tried[where] for where in victims),
        "found": sum(tried[where] for where in victims) - len(missed),
        "missed": len(missed),
        "untouched": ledgers * len(victims),
        "false_alarms": len(alarms),
    }
    kinds = ", ".join(f"{count} {what}" for what, count in sorted(tried.items()))
    notes = [f"tried: {kinds}", *(f"missed: {one}" for one in missed[:20]), *(f"alarm: {one}" for one in alarms[:20])]
    return report("tamper", figures, TARGETS, notes="\n".join(notes), only_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
