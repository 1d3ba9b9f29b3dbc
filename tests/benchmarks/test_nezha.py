"""The reader of the Nezha cases, on a case small enough to read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.nezha import CASES, TRUTH, main, read_case, service_of

ONSET = 1661140927


def case() -> dict[str, Any]:
    """The cart burns three times its usual processor time from the onset on."""

    def pod(cpu: float) -> dict[str, Any]:
        rows = [[ONSET + 60 * n, 10.0 + n % 2 if n < 0 else cpu, float("nan")] for n in range(-8, 4)]
        return {"columns": ["TimeStamp", "CpuUsage(m)", "PodServerLatencyP95(s)"], "rows": rows}

    log = {
        "log": "04:02:10 ERROR Cart#1 TraceID: 0a SpanID: 0b [get][failed]\n",
        "time": "2022-08-22T04:02:10.123456789Z",
    }
    samples = {"cart-579f-wc2lz": [json.dumps(log), "cut off", json.dumps({"log": "fine", "time": "2022"})]}
    operation = {"pod": "cart-579f-wc2lz", "op": "Cart/Get", "n": 3, "p50_us": 1500.0, "p95_us": 2500.0}
    return {
        "case_id": "nezha-one",
        "app": "Shop",
        "inject_timestamp": ONSET,
        "dependency": [["frontend", "cart"], ["frontend", "33.33.33.1"]],
        "pods": {"cart-579f-wc2lz": pod(33.0), "frontend-57aa-t2dbm": pod(10.0)},
        "traces": [{"minute": "04_02", "ops": [operation]}],
        "log_summary": [{"minute": "04_02", "lines": {}, "error_samples": samples}],
    }


def test_a_pod_belongs_to_the_service_that_its_name_begins_with() -> None:
    """Dashes within the service's name stay."""
    assert "ts-basic-service" == service_of("ts-basic-service-5dc8d4f9fd-llznp")


def test_a_case_becomes_an_incident() -> None:
    """What is no number, no service of the case or no whole log line is left out."""
    incident = read_case(case())

    assert ONSET == incident.onset
    assert [("frontend", "cart")] == [(edge.caller, edge.callee) for edge in incident.graph]
    assert ["[get][failed]"] == [line.message for line in incident.logs]
    assert [("Cart/Get", 1.5, 1661140920.0)] == [(o.operation, o.p50_ms, o.at) for o in incident.operations]
    assert {0, 12} == {len(series.points) for series in incident.metrics}


def test_the_reader_takes_nothing_from_the_answers() -> None:
    """The guilty service is not even named differently when it is known."""
    assert read_case(case()) == read_case({**case(), "root_cause_service": "cart"})


def test_the_score_ends_with_one_line_of_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table for people first; exit status 0 where the targets are reached."""
    _write(tmp_path, guilty="cart")

    status = main(["--data", str(tmp_path)])

    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (0, "nezha", {"ac1": 1.0, "ac3": 1.0}, True) == (
        status,
        last["benchmark"],
        last["figures"],
        last["ok"],
    )


def test_a_missed_target_is_exit_status_one(tmp_path: Path) -> None:
    """So that a pipeline sees it."""
    _write(tmp_path, guilty="another")

    assert 1 == main(["--data", str(tmp_path)])


@pytest.mark.parametrize("arguments", [[], ["--data", "nowhere"]])
def test_missing_data_is_named_with_its_origin(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, exit status 2."""
    monkeypatch.delenv("SIDECAR_BENCH_DATA", raising=False)

    assert 2 == main(arguments)

    said = capsys.readouterr().err
    assert "IntelligentDDS/Nezha" in said
    assert 1 == said.count("\n")


def _write(folder: Path, *, guilty: str) -> None:
    with gzip.open(folder / CASES, "wt") as cases:
        cases.write(json.dumps(case()) + "\n")
    truth = [{"case_id": "nezha-one", "root_cause_service": guilty, "fault_type": "cpu"}]
    (folder / TRUTH).write_text(json.dumps(truth))
