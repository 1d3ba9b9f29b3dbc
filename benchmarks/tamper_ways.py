"""The ways to tamper with a ledger, each done by somebody who may write to it and knows every rule but no key."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from benchmarks.tamper_victims import Editor
from governance.plane.archives import MARK, Contents, Part
from governance.plane.ledger_rows import UNKEYED, closed, event_hash, hash_sum

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


def cut_beginning(db: Editor, rng: random.Random) -> str:
    """The oldest groups with all their rows; what is left is called an archive, sealed as one in half of the trials."""
    newest = db.execute("SELECT max(g) FROM groups")[0][0]
    db.execute("DELETE FROM events WHERE g<?", rng.randint(2, newest) if newest > 1 else 2)
    db.execute("DELETE FROM groups")
    _heads_again(db)
    contents, sealed = Contents(), rng.random() < 0.5
    for session, end, last in db.execute("SELECT session, n, hash FROM heads ORDER BY session"):
        first, prev = db.execute("SELECT n, prev FROM events WHERE session=? ORDER BY n LIMIT 1", session)[0]
        contents = contents.having(Part(session, first, prev, end, last), UNKEYED, instead=None)
    db.execute("INSERT INTO meta VALUES(?,?)", MARK, contents.sealed(UNKEYED) if sealed else "1")
    return f"cut the beginning and called the rest an archive{', sealed' if sealed else ''}"


TAMPERINGS: tuple[Callable[[Editor, random.Random], str], ...] = (
    edited, edited, edited, dropped, dropped_session, swapped, duplicated, inserted, foreign, cut_tail, cut_session,
    cut_beginning, second_chain,
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
        group = closed(g, prev, ts, len(hashes), int(hash_sum(hashes), 16), UNKEYED)
        db.execute("UPDATE groups SET events=?, sum=?, prev=?, hash=? WHERE g=?", *group[2:], g)
        prev = group.hash
