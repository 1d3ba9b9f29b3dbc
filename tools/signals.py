"""What an incident's records say, one kind of record a function; every finding carries an id to cite."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from tools.incident import Change, Incident, LogLine, Series

Kind = Literal["alert", "log", "metric", "change", "trace", "edge"]
UNIT_FLOORS = {"share": 0.01, "ms": 1.0, "%": 2.0, "1/s": 0.5, "connections": 0.5}
RELATIVE_FLOOR = 0.05
ANOMALOUS = 4.0
STRONGEST = 100.0
CHANGES_REACH_BACK = 3600.0
CLOCK_SKEW = 2.0
LONGEST_QUOTE = 160


@dataclass(frozen=True)
class Evidence:
    """One citable finding: `strength` runs from 0 (ordinary) to 1; `about` says what a metric measures."""

    id: str
    kind: Kind
    service: str
    text: str
    strength: float = 0.0
    about: str = ""

    def line(self) -> str:
        return f"[{self.id}] {self.text}"


def alerts(incident: Incident) -> tuple[Evidence, ...]:
    """Return the alerts, first ones first, with their time from the onset."""
    ordered = sorted(incident.alerts, key=lambda alert: (alert.at, alert.id))
    return tuple(
        Evidence(
            a.id,
            "alert",
            a.service,
            f"{a.severity} {a.name} on {a.service} at {_offset(incident, a.at)}: {a.summary}",
        )
        for a in ordered
    )


def search_logs(incident: Incident, *, service: str, contains: str, most: int = 10) -> tuple[Evidence, ...]:
    """Return the first log lines of a service that contain the text, whatever its case."""
    lines = [line for line in incident.logs if line.service == service]
    found = [(n, line) for n, line in enumerate(lines, start=1) if contains.lower() in line.message.lower()]
    return tuple(
        Evidence(
            f"line:{service}:{n}",
            "log",
            service,
            f"{line.level} at {_offset(incident, line.at)}: {_quote(line.message)}",
        )
        for n, line in found[:most]
    )


def error_clusters(incident: Incident) -> tuple[Evidence, ...]:
    """Group warnings and errors of every service by their wording; those new since the onset are strong."""
    groups: dict[tuple[str, str, str], list[LogLine]] = {}
    for line in sorted(incident.logs, key=lambda line: line.at):
        if line.level in ("WARN", "ERROR"):
            groups.setdefault((line.service, line.level, wording(line.message)), []).append(line)
    found: list[Evidence] = []
    numbers: dict[str, int] = {}
    for (service, level, _), lines in groups.items():
        numbers[service] = numbers.get(service, 0) + 1
        found.append(_cluster(incident, f"log:{service}:{numbers[service]}", level, lines))
    return tuple(sorted(found, key=lambda e: (e.service, int(e.id.rsplit(":", 1)[1]))))


def _cluster(incident: Incident, id: str, level: str, lines: Sequence[LogLine]) -> Evidence:
    before = sum(line.at < incident.onset - CLOCK_SKEW for line in lines)
    after = len(lines) - before
    novelty = after / len(lines) * (1 - math.exp(-after / 3)) if after > before else 0.0
    trace = next((line.traceback for line in lines if line.traceback), None)
    where = f"; raised at {raised_at(trace)}" if trace else ""
    text = f"{level} x{len(lines)} ({before} before the onset, {after} since): {_quote(lines[0].message)}{where}"
    strength = round(novelty * (1.0 if level == "ERROR" else 0.5), 3)
    return Evidence(id, "log", lines[0].service, text, strength, "exception" if trace else "message")


def wording(message: str) -> str:
    """Reduce a message to what stays the same between two of its kind."""
    plain = re.sub(r"[0-9a-fA-F]{8}[0-9a-fA-F-]{8,}|\d[\d:.,-]*", "#", message)
    return re.sub(r"'[^']*'|\"[^\"]*\"", "#", plain)[:LONGEST_QUOTE]


def raised_at(traceback: str) -> str:
    """Return the innermost frame of a Python traceback as `file:line in function`."""
    frames = re.findall(r'File "([^"]+)", line (\d+), in (\S+)', traceback)
    if not frames:
        return _quote(traceback.strip().splitlines()[-1])
    path, line, function = frames[-1]
    return f"{path}:{line} in {function}"


def metric_anomalies(incident: Incident) -> tuple[Evidence, ...]:
    """Return the metrics that moved for the worse at the onset, by median and spread before it."""
    found = [e for series in incident.metrics if (e := _anomaly(incident, series)) is not None]
    return tuple(sorted(found, key=lambda e: (-e.strength, e.id)))


def _anomaly(incident: Incident, series: Series) -> Evidence | None:
    before = [value for at, value in series.points if at < incident.onset - CLOCK_SKEW / 2]
    after = [value for at, value in series.points if at >= incident.onset]
    if len(before) < 3 or len(after) < 2:
        return None
    usual, now = median(before), _typical_worst(after, series.worse, median(before))
    deviations = deviation(before, now, floor=UNIT_FLOORS.get(series.unit, 0.0), worse=series.worse)
    if deviations < ANOMALOUS:
        return None
    moved = f"from {_number(usual)} to {_number(now)} {series.unit}".rstrip()
    text = f"{series.service} {series.metric} went {moved}"
    strength = strength_of(deviations)
    return Evidence(f"metric:{series.service}:{series.metric}", "metric", series.service, text, strength, series.about)


def deviation(before: Sequence[float], now: float, *, floor: float, worse: str) -> float:
    """Say how many robust standard deviations a value lies on the worse side of what was before."""
    usual = median(before)
    spread = 1.4826 * median(abs(value - usual) for value in before)
    scale = max(spread, RELATIVE_FLOOR * abs(usual), floor, 1e-9)
    moved = {"up": now - usual, "down": usual - now}.get(worse, abs(now - usual))
    return moved / scale


def strength_of(deviations: float) -> float:
    """Map deviations to 0..1: 5 or 10 makes a difference, 100 or 200 does not."""
    return round(math.log1p(min(deviations, STRONGEST)) / math.log1p(STRONGEST), 3)


def _typical_worst(after: Sequence[float], worse: str, usual: float) -> float:
    """Return a value that a quarter of the later points reach, so that one spike is not taken for a state."""
    if worse == "down" or (worse == "either" and median(after) < usual):
        return sorted(after)[len(after) // 4]
    return sorted(after, reverse=True)[len(after) // 4]


def recent_changes(incident: Incident) -> tuple[Evidence, ...]:
    """Return what was changed in the hour before the onset, nearest first, but no first installation."""
    near = [
        change
        for change in incident.changes
        if change.before is not None
        and -CHANGES_REACH_BACK <= change.at - incident.onset
        and change.at <= incident.window.end
    ]
    near.sort(key=lambda change: (abs(change.at - incident.onset), change.id))
    return tuple(Evidence(c.id, "change", c.service, _change_text(incident, c), _recency(incident, c)) for c in near)


def _recency(incident: Incident, change: Change) -> float:
    """A change close before the onset is the strongest; one after it can hardly be the cause."""
    ahead = incident.onset - change.at
    return 0.1 if ahead < -CLOCK_SKEW else round(1 / (1 + max(0.0, ahead) / 600), 3)


def _change_text(incident: Incident, change: Change) -> str:
    what = change.key or "version"
    if change.kind == "restart":
        return f"{change.service} was restarted at {_offset(incident, change.at)}"
    moved = f"from {change.before} to {change.after}"
    return f"{change.service} {what} changed {moved} at {_offset(incident, change.at)}"


def edges(incident: Incident) -> tuple[Evidence, ...]:
    """Return who calls whom."""
    pairs = sorted({(edge.caller, edge.callee) for edge in incident.graph})
    return tuple(
        Evidence(f"edge:{caller}:{callee}", "edge", caller, f"{caller} calls {callee}") for caller, callee in pairs
    )


def of_service(found: Iterable[Evidence], service: str) -> tuple[Evidence, ...]:
    """Keep the findings of one service, or all of them for an empty name."""
    return tuple(evidence for evidence in found if service in ("", evidence.service))


def _offset(incident: Incident, at: float) -> str:
    seconds = at - incident.onset
    return f"{seconds:+.0f} s from the onset" if round(seconds) else "the onset"


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _quote(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_QUOTE else f"{line[: LONGEST_QUOTE - 3]}..."
