"""Root-cause ranking on the public Nezha cases: faults injected into two microservice systems.

The reader turns a case into the incident that the tools read; which service was at fault is in a file of
its own, read only to score.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tools.incident import Incident, ToolInputError, parse_incident
from tools.suspects import rank_suspects

CASES = "nezha_cases.jsonl.gz"
TRUTH = "nezha_truth.json"
TARGETS = {"ac1": 0.26, "ac3": 0.41}
WHENCE = (
    f"it needs {CASES} and {TRUTH}, made from the public repository IntelligentDDS/Nezha: "
    "name their folder with --data DIR or SIDECAR_BENCH_DATA"
)
# Which of a pod's columns say what; the rest repeats these or belongs to the whole node.
COLUMNS: Mapping[str, tuple[str, str, str, str]] = {
    "CpuUsage(m)": ("cpu", "m", "resource", "up"),
    "MemoryUsage(Mi)": ("memory", "Mi", "resource", "either"),
    "SyscallRead": ("syscall_read", "1/s", "traffic", "either"),
    "SyscallWrite": ("syscall_write", "1/s", "traffic", "either"),
    "NetworkReceiveBytes": ("network_receive", "B", "traffic", "either"),
    "NetworkTransmitBytes": ("network_transmit", "B", "traffic", "either"),
    "PodClientLatencyP95(s)": ("downstream_p95", "s", "downstream", "up"),
    "PodServerLatencyP95(s)": ("latency_p95", "s", "latency", "up"),
    "PodWorkload(Ops)": ("workload", "1/s", "traffic", "either"),
    "PodSuccessRate(%)": ("success_rate", "%", "errors", "down"),
}


class DataMissing(Exception):
    """The cases are not where they were said to be; the message says which and where they come from."""


@dataclass(frozen=True)
class Result:
    """The place of the guilty service in one case's ranking, 0 where it is not ranked."""

    fault: str
    place: int


def folder(given: str | None) -> Path:
    """Return the folder that holds the cases."""
    named = given or os.environ.get("SIDECAR_BENCH_DATA")
    if named is None:
        raise DataMissing(f"no data named; {WHENCE}")
    for place in (Path(named), Path(named) / "ops", Path(named) / "dev" / "ops"):
        if (place / CASES).is_file() and (place / TRUTH).is_file():
            return place
    raise DataMissing(f"no cases in {named}; {WHENCE}")


def read_cases(path: Path) -> Iterator[Incident]:
    """Read every case of a file as an incident."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield read_case(json.loads(line))


def read_case(case: Mapping[str, Any]) -> Incident:
    """Turn one case into an incident; its onset is the time that the case names."""
    metrics = [series for pod, table in case["pods"].items() for series in _series(service_of(pod), table)]
    services = {service_of(pod) for pod in case["pods"]}
    onset = float(case["inject_timestamp"])
    times = [at for series in metrics for at, _ in series["points"]]
    return parse_incident(
        {
            "id": case["case_id"],
            "title": f"{case['app']} misbehaves",
            "window": {"start": min(times), "end": max(times)},
            "alerts": [
                {
                    "id": "alert:1",
                    "at": onset,
                    "service": next(s for s in sorted(services) if "frontend" in s or "dashboard" in s),
                    "name": "Misbehaviour",
                    "severity": "critical",
                    "summary": "users are affected",
                }
            ],
            "metrics": metrics,
            "logs": list(_logs(case["log_summary"])),
            "operations": list(_operations(case["traces"], onset)),
            "graph": [
                {"caller": caller, "callee": callee}
                for caller, callee in case["dependency"]
                if {caller, callee} <= services
            ],
            "sampled": "logs: some warnings and errors of each minute; operations: since the onset",
        },
        source=str(case["case_id"]),
    )


def service_of(pod: str) -> str:
    """Return the service of a pod: its name without the two parts that the deployment appends."""
    return pod.rsplit("-", 2)[0]


def _series(service: str, table: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for place, column in enumerate(table["columns"]):
        if column in COLUMNS:
            metric, unit, about, worse = COLUMNS[column]
            points = [(row[0], row[place]) for row in table["rows"] if _is_number(row[place])]
            yield {
                "service": service,
                "metric": metric,
                "unit": unit,
                "points": points,
                "about": about,
                "worse": worse,
            }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _logs(minutes: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for minute in minutes:
        for pod, lines in minute["error_samples"].items():
            for line in lines:
                if (found := _log_line(service_of(pod), line)) is not None:
                    yield found


def _log_line(service: str, line: str) -> dict[str, Any] | None:
    """Read one container log line; one that is cut off or without a level is left out."""
    try:
        outer = json.loads(line)
        at = datetime.fromisoformat(re.sub(r"\.\d+", "", outer["time"]).replace("Z", "+00:00"))
    except (ValueError, KeyError):
        return None
    level = re.search(r"\b(ERROR|WARN)\b", outer["log"])
    if level is None:
        return None
    message = re.sub(r"^.*?SpanID: \w+ ?", "", outer["log"]).strip()
    return {"at": at.timestamp(), "service": service, "level": level[1], "message": message}


def _operations(minutes: Sequence[Mapping[str, Any]], onset: float) -> Iterator[dict[str, Any]]:
    day = datetime.fromtimestamp(onset, UTC)
    for minute in minutes:
        hour, past = map(int, minute["minute"].split("_"))
        at = day.replace(hour=hour, minute=past, second=0).timestamp()
        for operation in minute["ops"]:
            yield {
                "service": service_of(operation["pod"]),
                "operation": operation["op"],
                "at": at,
                "count": operation["n"],
                "p50_ms": operation["p50_us"] / 1000,
                "p95_ms": operation["p95_us"] / 1000,
            }


def score(incidents: Iterator[Incident], truth: Mapping[str, Mapping[str, str]]) -> list[Result]:
    """Rank every incident and look up the place of the guilty service."""
    results = []
    for incident in incidents:
        guilty = truth[incident.id]
        names = [suspect.service for suspect in rank_suspects(incident)]
        service = guilty["root_cause_service"]
        place = names.index(service) + 1 if service in names else 0
        results.append(Result(guilty["fault_type"], place))
    return results


def accuracy(results: Sequence[Result], most: int) -> float:
    """Return the share of cases whose guilty service is among the first `most`."""
    return sum(1 <= result.place <= most for result in results) / len(results)


def table(results: Sequence[Result]) -> str:
    """Write the accuracy of each kind of fault and of all."""
    rows = [f"{'fault':16} {'cases':>5} {'AC@1':>6} {'AC@3':>6}"]
    for fault in [*sorted({result.fault for result in results}), "all"]:
        some = [result for result in results if fault in (result.fault, "all")]
        rows.append(f"{fault:16} {len(some):5} {accuracy(some, 1):6.2f} {accuracy(some, 3):6.2f}")
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Score the ranking on all cases; exit status 1 where a target is missed, 2 without data."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nezha", description=__doc__)
    parser.add_argument("--data", metavar="DIR", help=f"folder with {CASES} and {TRUTH}")
    options = parser.parse_args(arguments)
    try:
        place = folder(options.data)
        truth = {case["case_id"]: case for case in json.loads((place / TRUTH).read_text())}
        results = score(read_cases(place / CASES), truth)
    except (DataMissing, ToolInputError) as refused:
        print(f"benchmarks.nezha: {refused}", file=sys.stderr)
        return 2
    figures = {f"ac{most}": round(accuracy(results, most), 3) for most in (1, 3)}
    ok = all(figures[name] >= target for name, target in TARGETS.items())
    print(table(results))
    print(json.dumps({"benchmark": "nezha", "figures": figures, "targets": TARGETS, "ok": ok}))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
