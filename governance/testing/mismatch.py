"""Says what is nearest to a request that nothing recorded answers, and where the two differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from governance.testing.cassette_file import RECORD_AGAIN
from governance.testing.identity import Identity, body_of

SHOWN = 5
WIDTH = 120
ABSENT = object()


def explain(path: Path, request: Any, identity: Identity, recorded: Sequence[tuple[Any, Identity, bool]]) -> str:
    """The message of a miss; `recorded` holds (request, identity, was it played)."""
    head = f"no recording in {path} answers {identity}"
    if not recorded:
        return f"{head}: the cassette is empty; {RECORD_AGAIN}"
    same = sum(1 for _, other, _ in recorded if other == identity)
    if same:
        return (
            f"{head}: this very request is recorded {same} time(s) and all of them were played; "
            f"if it is now sent more often on purpose, {RECORD_AGAIN}"
        )
    number, differences = _nearest(request, identity, recorded)
    _, other, played = recorded[number]
    shown = [f"  {place}\n    recorded: {old}\n    now:      {new}" for place, old, new in differences[:SHOWN]]
    more = len(differences) - SHOWN
    return "\n".join(
        [
            head,
            f"nearest is recording {number + 1} of {len(recorded)} ({other}, "
            f"{'already played' if played else 'not played yet'}); it differs at:",
            *shown,
            *([f"  and {more} more place(s)"] if more > 0 else []),
            f"if this change is meant, {RECORD_AGAIN}",
        ]
    )


def _nearest(
    request: Any, identity: Identity, recorded: Sequence[tuple[Any, Identity, bool]]
) -> tuple[int, list[tuple[str, str, str]]]:
    body = _parsed(request)
    candidates = [
        [*_envelope(identity, other), *_differences("body", _parsed(old), body)] for old, other, _ in recorded
    ]
    # An unplayed recording is the likelier counterpart of a request that changed.
    best = min(
        range(len(candidates)),
        key=lambda index: (
            recorded[index][1].place != identity.place,
            len(candidates[index]),
            recorded[index][2],
        ),
    )
    return best, candidates[best]


def _envelope(identity: Identity, other: Identity) -> Iterator[tuple[str, str, str]]:
    for part in ("method", "scheme", "path", "query", "key"):
        old, new = getattr(other, part), getattr(identity, part)
        if old != new:
            yield (part if part != "key" else "caller key"), repr(old), repr(new)


def _parsed(request: Any) -> Any:
    body = body_of(request)
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")


def _differences(place: str, old: Any, new: Any) -> Iterator[tuple[str, str, str]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(name for name in new if name not in old)]:
            yield from _differences(f"{place}.{name}", old.get(name, ABSENT), new.get(name, ABSENT))
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            older = old[index] if index < len(old) else ABSENT
            yield from _differences(f"{place}[{index}]", older, new[index] if index < len(new) else ABSENT)
    elif type(old) is not type(new) or old != new:
        yield place, *_excerpts(old, new)


def _excerpts(old: Any, new: Any) -> tuple[str, str]:
    """Both values, cut to where they start to differ."""
    start = 0
    if isinstance(old, str) and isinstance(new, str):
        common = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
        start = max(0, common - 30) if max(len(old), len(new)) > WIDTH else 0
    return _excerpt(old, start), _excerpt(new, start)


def _excerpt(value: Any, start: int) -> str:
    if value is ABSENT:
        return "(absent)"
    text = json.dumps(value[start:] if isinstance(value, str) else value, ensure_ascii=False)
    return ("…" if start else "") + (text if len(text) <= WIDTH else text[: WIDTH - 1] + "…")
