"""Records an incident: starts the services, loads them, breaks them for real, and writes what was seen."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from tools import incident as record

from .alerting import evaluate
from .catalogue import CATALOGUE
from .faults import FAULTS
from .load import drive
from .platform import Platform
from .sampling import LINES_PER_LEVEL, TRACES_AFTER, TRACES_BEFORE, records, sample_logs, sample_spans
from .scrape import PACE_SECONDS, Scraper, series_of

RATE = 60.0
CALM_SECONDS = 8.0
BROKEN_SECONDS = 8.0


def capture(fault: str, out: Path) -> str:
    """Record one fault into an incident file and say what the file holds."""
    with Platform() as platform:
        incident = _observe(platform, fault)
    text = record.dump_incident(incident)
    out.write_text(text, encoding="utf-8")
    record.load_incident(out)
    return f"{out}: {len(text) // 1024} KiB, {len(incident.alerts)} alerts, {len(incident.spans)} spans"


def _observe(platform: Platform, fault: str) -> record.Incident:
    drive(platform.state("gateway"), requests=60)  # the first requests of fresh processes are not typical
    scraper = Scraper({name: platform.state(name).url for name in platform.services()})
    start = time.time()
    breaking = threading.Timer(CALM_SECONDS, platform.break_, args=(fault,))
    with scraper.running():
        breaking.start()
        try:
            requests = int(RATE * (CALM_SECONDS + BROKEN_SECONDS))
            drive(platform.state("gateway"), requests=requests, concurrency=16, rate=RATE)
        finally:
            breaking.cancel()
    return _assemble(platform, fault, scraper, start=start, end=time.time())


def _assemble(platform: Platform, fault: str, scraper: Scraper, *, start: float, end: float) -> record.Incident:
    metrics = tuple(line for name in platform.services() for line in series_of(name, scraper.samples[name]))
    alerts = evaluate(metrics)
    if not alerts:
        raise RuntimeError(f"{fault} fired no alert: the machine may be too busy; run the capture again")
    onset = min(alert.at for alert in alerts)
    spans, all_traces = sample_spans(records(platform.directory, "spans", since=start), onset=onset)
    logs, all_lines = sample_logs(records(platform.directory, "log", since=start), onset=onset)
    when = datetime.fromtimestamp(start, UTC)
    return record.Incident(
        id=f"{fault.replace('_', '-')}-{when:%Y%m%d}",
        title=FAULTS[fault].symptom,
        window=record.Window(round(start, 3), round(end, 3)),
        alerts=alerts,
        logs=logs,
        metrics=metrics,
        spans=spans,
        changes=_changes(platform),
        graph=tuple(record.Edge(caller, callee) for caller, at in sorted(CATALOGUE.items()) for callee in at.callees),
        sampled=(
            f"metrics: all, every {PACE_SECONDS:g} s; "
            f"traces: {TRACES_BEFORE} before and {TRACES_AFTER} after the onset, evenly spaced, "
            f"of {all_traces}; "
            f"logs: at most {LINES_PER_LEVEL} lines per service, level and side of the onset, evenly spaced, "
            f"of {all_lines}; load: {RATE:g} checkouts a second"
        ),
    )


def _changes(platform: Platform) -> tuple[record.Change, ...]:
    found = [change for name in platform.services() for change in platform.state(name).history]
    return tuple(
        record.Change(change.id, change.at, change.service, change.kind, change.after, change.before, change.key)
        for change in sorted(found, key=lambda change: change.at)
    )
