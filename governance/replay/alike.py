"""When two values are the same but for what differs each time: ids that were made up, and moments.

Ids stand for each other in pairs: whichever of them was met first, each has one partner and keeps it. A moment
counts as the same only where the recorded one lies within the recorded session, and the other within the replay.
Everything else has to be equal.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from governance.replay.moments import NUMBERS, TIMES, Window, is_moment, moments
from governance.replay.values import MISSING, Object

UUID = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-(?![35])[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
"""All but those of version 3 and 5, which say what they were made of."""
HEX = r"(?<![0-9a-zA-Z])[0-9a-f]{12}[47][0-9a-f]{3}[89ab][0-9a-f]{15}(?![0-9a-zA-Z])"
ULID = r"(?<![0-9a-zA-Z])[0-7][0-9A-HJKMNP-TV-Z]{25}(?![0-9a-zA-Z])"
ID = re.compile(f"{UUID}|{HEX}|{ULID}")
IN_BYTES = re.compile(f"{UUID}|{HEX}|{ULID}".encode())
TOKEN = re.compile(f"({UUID}|{HEX}|{ULID}|{TIMES}|{NUMBERS})")


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place in two values where they are not alike."""

    where: str
    recorded: Any
    came: Any


class Pairs:
    """Which id of the replay stands for which of the record."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._there: dict[str, str] = {}
        self._back: dict[str, str] = {}

    def bind(self, recorded: str, came: str) -> None:
        """Make two ids stand for each other, unless one of them has a partner."""
        if self.may_stand(recorded, came):
            self._there[recorded], self._back[came] = came, recorded

    def may_stand(self, recorded: str, came: str) -> bool:
        return self._there.get(recorded, came) == came and self._back.get(came, recorded) == recorded

    def given(self, value: Any) -> None:
        """Ids that the replay was given from the record: they stand for themselves."""
        for text in texts(value):
            for found in ID.findall(text):
                self.bind(found, found)

    def forward_bytes(self, data: bytes) -> bytes:
        """Serialised values of the record with the ids of the replay in them, which are as long."""
        return IN_BYTES.sub(self._one, data)

    def _one(self, found: re.Match[bytes]) -> bytes:
        there = self._there.get(found[0].decode(), "").encode()
        return there if len(there) == len(found[0]) else found[0]

    def forward(self, value: Any) -> Any:
        """A value of the record with the ids of the replay in it."""
        if isinstance(value, str):
            return self._there.get(value) or ID.sub(lambda found: self._there.get(found[0], found[0]), value)
        if isinstance(value, dict):
            return {self.forward(key): self.forward(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.forward(inner) for inner in value]
        if type(value) is tuple:
            return tuple(self.forward(inner) for inner in value)
        if isinstance(getattr(value, "id", None), str) and hasattr(value, "model_copy"):
            return value.model_copy(update={"id": self.forward(value.id)})
        return value


@dataclass(slots=True)
class Likeness:
    """Compares values of a record with those of its replay."""

    pairs: Pairs
    recorded: Window
    came: Window

    def looked_at(self, recorded: Any, came: Any) -> Difference | None:
        """Where they are not alike, and nothing is learned from it."""
        with self.pairs.lock:
            return self._compare(recorded, came, "", [])

    def difference(self, recorded: Any, came: Any) -> Difference | None:
        """Where they are not alike; where they are, their ids stand for each other from now on."""
        with self.pairs.lock:
            met: list[tuple[str, str]] = []
            found = self._compare(recorded, came, "", met)
            if found is None:
                for one, other in met:
                    self.pairs.bind(one, other)
            return found

    def _compare(self, a: Any, b: Any, where: str, met: list[tuple[str, str]]) -> Difference | None:
        if isinstance(a, dict) and isinstance(b, dict):
            return self._mappings(a, b, where, met)
        if isinstance(a, list) and isinstance(b, list):
            return self._lists(a, b, where, met)
        if isinstance(a, Object) and isinstance(b, Object) and a.kind == b.kind:
            if is_moment(a.kind) and self._moments(a.parts, b.parts):
                return None
            return self._compare(a.parts, b.parts, where, met)
        if isinstance(a, str) and isinstance(b, str):
            alike = (a == b and not ID.search(a)) or self._texts(a, b, met)
        else:
            alike = self._plainly(a, b)
        return None if alike else Difference(where, a, b)

    def _mappings(self, a: Any, b: Any, where: str, met: list[tuple[str, str]]) -> Difference | None:
        if a.keys() != b.keys():
            return self._keyed(a, b, where, met)
        for key in a:
            found = self._compare(a[key], b[key], f"{where}.{key}" if where else str(key), met)
            if found is not None:
                return found
        return None

    def _keyed(self, a: Any, b: Any, where: str, met: list[tuple[str, str]]) -> Difference | None:
        """Mappings by generated keys, in the order in which they were filled; else what one of them lacks."""
        gone, new = [k for k in a if k not in b], [k for k in b if k not in a]
        for key, other in zip(gone, new, strict=False):
            if not (isinstance(key, str) and isinstance(other, str) and self._texts(key, other, met)):
                break
        else:
            if len(gone) == len(new):
                renamed = dict(zip(gone, new, strict=True))
                return self._mappings({renamed.get(k, k): v for k, v in a.items()}, b, where, met)
        key = gone[0] if gone else new[0]
        return Difference(f"{where}.{key}" if where else str(key), a.get(key, MISSING), b.get(key, MISSING))

    def _lists(self, a: Any, b: Any, where: str, met: list[tuple[str, str]]) -> Difference | None:
        for n, (one, other) in enumerate(zip(a, b, strict=False)):
            found = self._compare(one, other, f"{where}[{n}]", met)
            if found is not None:
                return found
        n = min(len(a), len(b))
        if len(a) != len(b):
            return Difference(f"{where}[{n}]", a[n] if n < len(a) else MISSING, b[n] if n < len(b) else MISSING)
        return None

    def _plainly(self, a: Any, b: Any) -> bool:
        if isinstance(a, bool) or isinstance(b, bool) or not isinstance(a, (int, float)):
            return type(a) is type(b) and bool(a == b)
        if not isinstance(b, (int, float)):
            return False
        return a == b or (a != a and b != b) or self._moments(a, b)

    def _texts(self, a: str, b: str, met: list[tuple[str, str]]) -> bool:
        parts, others = TOKEN.split(a), TOKEN.split(b)
        if len(parts) != len(others):
            return a == b
        return all(self._parts(one, other, met) for one, other in zip(parts, others, strict=True))

    def _parts(self, a: str, b: str, met: list[tuple[str, str]]) -> bool:
        if ID.fullmatch(a) and ID.fullmatch(b):
            if any((one == a) != (other == b) for one, other in met) or not self.pairs.may_stand(a, b):
                return False
            met.append((a, b))
            return True
        return a == b or self._moments(a, b)

    def _moments(self, a: Any, b: Any) -> bool:
        return any(map(self.recorded.holds, moments(a))) and any(map(self.came.holds, moments(b)))


def texts(value: Any) -> Iterator[str]:
    """Every text in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from texts(key)
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
    elif isinstance(value, Object):
        yield from texts(value.parts)
