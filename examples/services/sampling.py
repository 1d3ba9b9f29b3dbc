"""Reads what the services wrote and takes an even sample of it, so that a capture stays small."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from tools.incident import LogLine, Span

from .worker import ROOT

TRACES_BEFORE, TRACES_AFTER = 20, 40
LINES_PER_LEVEL = 12
T = TypeVar("T")


def records(directory: Path, kind: str, *, since: float) -> list[dict[str, Any]]:
    """Return the records of all services since a time, oldest first."""
    found = []
    for path in sorted(directory.glob(f"*.{kind}.jsonl")):
        found += [json.loads(line) for line in path.read_text().splitlines()]
    return sorted((row for row in found if _when(row) >= since), key=_when)


def sample_spans(rows: Sequence[dict[str, Any]], *, onset: float) -> tuple[tuple[Span, ...], int]:
    """Keep whole traces, evenly spaced on both sides of the onset, and say how many there were."""
    traces: dict[str, list[Span]] = {}
    for row in rows:
        traces.setdefault(row["trace_id"], []).append(Span(**row))
    before = [trace for trace in traces.values() if trace[0].start < onset]
    after = [trace for trace in traces.values() if trace[0].start >= onset]
    kept = [*evenly(before, TRACES_BEFORE), *evenly(after, TRACES_AFTER)]
    return tuple(span for trace in kept for span in trace), len(traces)


def sample_logs(rows: Sequence[dict[str, Any]], *, onset: float) -> tuple[tuple[LogLine, ...], int]:
    """Keep some lines of every service and level on both sides of the onset, and say how many there were."""

    def group(row: dict[str, Any]) -> tuple[str, str, bool]:
        return row["service"], row["level"], row["at"] >= onset

    kept: list[dict[str, Any]] = []
    for _, together in groupby(sorted(rows, key=group), key=group):
        kept += evenly(list(together), LINES_PER_LEVEL)
    kept.sort(key=_when)
    return tuple(_line(row) for row in kept), len(rows)


def evenly(items: Sequence[T], most: int) -> list[T]:
    """Return at most so many of the items, evenly spaced, the first among them."""
    step = max(1.0, len(items) / most)
    return [items[int(i * step)] for i in range(min(most, len(items)))]


def _line(row: dict[str, Any]) -> LogLine:
    traceback = row.get("traceback")
    # Where the code lay on the recording machine is nobody's concern.
    shown = traceback.replace(f"{ROOT}/", "") if traceback else None
    return LogLine(row["at"], row["service"], row["level"], row["message"], row.get("trace_id"), shown)


def _when(row: dict[str, Any]) -> float:
    return float(row["at"] if "at" in row else row["start"])
