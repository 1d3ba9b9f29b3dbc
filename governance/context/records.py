"""JSON as its records: what each holds by its own, by name, and as one line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from governance import canonical
from governance.context.worth import QUOTED, worth_of

LONGEST = 240
"""Characters of a line; what is longer is cut into several."""
DEEPEST = 20
"""Levels that are told apart; what is deeper is one text."""
Pairs = list[tuple[str, str]]


def parsed(text: str) -> Any:
    """What a text holds as JSON; None where it is no list and no mapping."""
    if text[:1] not in ("{", "["):
        return None
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, (dict, list)) else None


def records_of(value: Any, label: str = "", depth: int = 0) -> Iterator[tuple[str, Pairs]]:
    """Each record with its own values by name, those of small parts with it; the items of a list one by one."""
    if depth > DEEPEST:
        yield label, [("", _shown(canonical.text(value)))]
        return
    if not isinstance(value, Mapping):
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, (Mapping, list)):
                yield from records_of(item, label, depth + 1)
            elif shown := _shown(item):
                yield label, [(label.rpartition(" ")[2], shown)]
        return
    own, rest = Pairs(), list[tuple[str, Any]]()
    for key, one in value.items():
        if not isinstance(one, (Mapping, list)):
            own.append((str(key), _shown(one)))
        elif any(isinstance(part, (Mapping, list)) for part in (one.values() if isinstance(one, Mapping) else one)):
            rest.append((str(key), one))
        elif isinstance(one, list):
            own += [(str(key), _shown(part)) for part in one]
        elif len(one) <= 6 and worth_of(str(key)) < 1:
            own += [(str(name), _shown(part)) for name, part in one.items()]
        else:
            rest.append((str(key), one))
    own = [(name, shown) for name, shown in own if shown]
    if own:
        yield label, own
    for key, one in rest:
        if worth_of(key) == 1:
            yield label, [(label.rpartition(" ")[2], key)]
        yield from records_of(one, f"{label} {key}".strip(), depth + 1)


def packed(label: str, pairs: Pairs) -> Iterator[str]:
    """The pairs as lines that are not too long."""
    parts, length, last = [label] if label else [], 0, ""
    for name, value in pairs:
        part = value if name == last else f"{name} {value}".strip()
        if length + len(part) > LONGEST and length:
            yield " | ".join(parts)
            parts, length = [label] if label else [], 0
        parts.append(part)
        length, last = length + len(part), name
    if length:
        yield " | ".join(parts)


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return ""
    return str(value)[:QUOTED]
