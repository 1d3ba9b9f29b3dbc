"""An incident file is read whole or refused in one line that says what to correct."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools.incident import ToolInputError, dump_incident, load_incident, parse_incident

INCIDENTS = sorted((Path(__file__).resolve().parents[2] / "examples" / "incidents").glob("*.json"))


def smallest() -> dict[str, Any]:
    alert = {
        "id": "alert:1",
        "at": 5,
        "service": "gateway",
        "name": "Down",
        "severity": "critical",
        "summary": "",
    }
    return {"id": "one", "title": "One", "window": {"start": 0, "end": 10}, "alerts": [alert]}


@pytest.mark.parametrize("path", INCIDENTS, ids=lambda path: path.stem)
def test_every_shipped_capture_is_valid_small_and_says_what_was_sampled(path: Path) -> None:
    """At most 200 KB each."""
    incident = load_incident(path)

    assert path.stat().st_size <= 200_000
    assert "evenly spaced" in incident.sampled


@pytest.mark.parametrize("path", INCIDENTS, ids=lambda path: path.stem)
def test_an_incident_survives_writing_and_reading(path: Path) -> None:
    """Nothing is lost or rounded on the way."""
    incident = load_incident(path)

    assert incident == parse_incident(json.loads(dump_incident(incident)))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (
            lambda i: i["alerts"][0].update(severity="hihg"),
            "incident: alerts[0].severity: expected 'critical', 'warning' or 'info', got 'hihg'; correct it",
        ),
        (
            lambda i: i["alerts"][0].pop("at"),
            "incident: alerts[0].at: expected a value, got nothing; correct it",
        ),
        (
            lambda i: i["alerts"][0].update(team="x"),
            "incident: alerts[0].team: expected no such field, got 'x'",
        ),
        (lambda i: i["alerts"].append("down"), "incident: alerts[1]: expected an object, got 'down'"),
        (lambda i: i.update(alerts=[]), "incident: alerts: expected at least one alert, got none"),
        (lambda i: i.update(alerts="none"), "incident: alerts: expected a list, got 'none'"),
        (lambda i: i["window"].update(end=0), "incident: window.end: expected a time after window.start (0)"),
        (lambda i: i.update(id="../one"), "incident: id: expected match pattern"),
    ],
)
def test_a_malformed_incident_is_refused_naming_the_place(
    damage: Callable[[dict[str, Any]], object], says: str
) -> None:
    """The field, what was expected, what came, and what to do."""
    given = smallest()
    damage(given)

    with pytest.raises(ToolInputError) as refused:
        parse_incident(given)

    assert str(refused.value).startswith(says)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "expected an incident file, got No such file or directory; check the path"),
        (b"{", "expected JSON in UTF-8"),
        (b"\xff\xfe", "expected JSON in UTF-8"),
        (b"[1]", "expected an object, got [1]; correct it"),
    ],
)
def test_a_file_that_is_no_incident_is_refused_naming_the_file(
    tmp_path: Path, content: bytes | None, says: str
) -> None:
    """A missing file, broken JSON, another encoding, another kind of JSON."""
    path = tmp_path / "incident.json"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ToolInputError) as refused:
        load_incident(path)

    assert str(path) in str(refused.value)
    assert says in str(refused.value)


def test_a_number_that_is_none_is_refused() -> None:
    """NaN passes every comparison, so it must not get in."""
    points = [[1.0, float("nan")]]
    series = {"service": "gateway", "metric": "latency", "unit": "ms", "points": points}

    with pytest.raises(ToolInputError, match="expected a finite number, got nan"):
        parse_incident({**smallest(), "metrics": [series]})
