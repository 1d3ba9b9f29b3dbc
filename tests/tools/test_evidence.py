"""The evidence tools find what really happened in the captures, in the same words every time."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from governance.contracts import effect_of
from tools.evidence import evidence_index, evidence_tools, rank_suspects
from tools.hops import slow_hops
from tools.incident import (
    Alert,
    Change,
    Edge,
    Incident,
    LogLine,
    OperationStats,
    Series,
    Span,
    Window,
    load_incident,
)
from tools.signals import error_clusters, metric_anomalies, raised_at, recent_changes, wording
from tools.traces import own_ms, trace_origins

INCIDENTS = Path(__file__).resolve().parents[2] / "examples" / "incidents"
GUILTY = {
    "bad-deploy": ("orders", {"deploy:orders:2", "log:orders:1", "trace:orders:price"}),
    "pool-exhausted": (
        "inventory",
        {"config:inventory:2", "log:inventory:1", "trace:inventory:pool.acquire"},
    ),
}


@pytest.fixture(params=GUILTY)
def capture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def incident(capture: str) -> Incident:
    return load_incident(INCIDENTS / f"{capture}.json")


def made(**parts: Any) -> Incident:
    """An incident whose onset is at 1000 s."""
    alert = Alert("alert:1", 1000.0, "gateway", "Down", "critical", "down")
    return Incident("made", "Made", Window(0.0, 2000.0), (alert,), **parts)


def test_the_first_suspect_is_the_service_that_was_broken(incident: Incident, capture: str) -> None:
    """And the deploy, the log and the trace that show it are cited."""
    service, ids = GUILTY[capture]
    first = rank_suspects(incident)[0]

    assert service == first.service
    assert ids <= {evidence.id for evidence in first.evidence}


def test_a_caller_is_demoted_by_the_callee_that_explains_it(incident: Incident, capture: str) -> None:
    """The gateway fails as often as the service behind it, and is not blamed."""
    gateway = next(suspect for suspect in rank_suspects(incident) if suspect.service == "gateway")

    assert gateway.explained_by is not None
    assert gateway.score < rank_suspects(incident)[0].score / 3


def test_every_id_that_a_tool_cites_is_in_the_index(incident: Incident) -> None:
    """So an answer can be checked against it."""
    index = evidence_index(incident)
    cited = {
        found
        for tool in evidence_tools(incident)
        for found in re.findall(r"\[([a-z]+:[^]]+)\]", tool.invoke(_arguments(tool.name)))
    }

    assert set() == cited - set(index)
    assert len(cited) > 20


def test_the_tools_say_the_same_twice(incident: Incident) -> None:
    """A recorded model answer matches only an equal prompt."""

    def all_told() -> list[str]:
        return [tool.invoke(_arguments(tool.name)) for tool in evidence_tools(incident)]

    assert all_told() == all_told()


def test_every_evidence_tool_declares_that_it_only_reads(incident: Incident) -> None:
    """Reads run without approval."""
    effects = [effect_of(tool) for tool in evidence_tools(incident)]

    assert {"read"} == {effect.kind for effect in effects if effect is not None}
    assert None not in effects


def test_an_unknown_service_is_answered_with_those_that_exist(incident: Incident) -> None:
    """A model that guesses a name can try again."""
    tool = next(tool for tool in evidence_tools(incident) if tool.name == "error_logs")

    answer = tool.invoke({"service": "billing"})

    assert "expected one of gateway, inventory, orders, payments, got 'billing'" in answer


def test_messages_that_differ_in_numbers_are_one_cluster() -> None:
    """Counts and times are not what a message is about."""
    lines = tuple(LogLine(1001.0 + n, "orders", "ERROR", f"order {n} failed after {n}.5 s") for n in range(4))

    (cluster,) = error_clusters(made(logs=lines))

    assert "log:orders:1" == cluster.id
    assert cluster.text.startswith("ERROR x4 (0 before the onset, 4 since)")


def test_an_error_that_was_there_before_is_no_evidence() -> None:
    """What is as frequent before the onset as after it explains nothing."""
    lines = tuple(LogLine(at, "orders", "ERROR", "retrying") for at in (10.0, 20.0, 1001.0, 1002.0))

    assert [0.0] == [cluster.strength for cluster in error_clusters(made(logs=lines))]


@pytest.mark.parametrize(
    ("one", "other"),
    [("id 4711", "id 4712"), ("key 'a'", "key 'b'"), ("trace 0af7651916cd43dd", "trace 1bf7651916cd43dd")],
)
def test_wording_drops_what_differs_between_two_of_a_kind(one: str, other: str) -> None:
    """Numbers, quotations, identifiers."""
    assert wording(one) == wording(other)


def test_a_traceback_is_cited_by_its_innermost_frame() -> None:
    """That is where the exception was raised."""
    text = 'Traceback\n  File "a.py", line 1, in outer\n  File "b.py", line 2, in inner\nKeyError: 1'

    assert "b.py:2 in inner" == raised_at(text)


@pytest.mark.parametrize(
    ("before", "after", "worse", "expected"),
    [
        ([10, 11, 10, 11], [50, 52, 51], "up", 1),
        ([10, 11, 10, 11], [10, 11, 10], "up", 0),
        ([50, 51, 50, 51], [10, 10, 10], "up", 0),
        ([50, 51, 50, 51], [10, 10, 10], "down", 1),
        ([50, 51, 50, 51], [10, 10, 10], "either", 1),
        ([10, 11, 10, 11], [90, 10, 10, 10, 11, 10], "up", 0),
        ([10], [50, 50], "up", 0),
    ],
)
def test_a_metric_is_anomalous_when_it_stays_on_the_worse_side(
    before: list[float], after: list[float], worse: Any, expected: int
) -> None:
    """One spike is none, an improvement is none, and too little history tells nothing."""
    points = [(900.0 + i, v) for i, v in enumerate(before)] + [(1000.0 + i, v) for i, v in enumerate(after)]
    series = Series("orders", "latency", "ms", tuple(points), "latency", worse)

    assert expected == len(metric_anomalies(made(metrics=(series,))))


def test_own_time_is_what_no_child_was_working_in() -> None:
    """Children that overlap are not subtracted twice, nor beyond the span's end."""
    span = Span("t", "a", None, "orders", "POST", 0.0, 100.0)
    children = [
        Span("t", "b", "a", "inventory", "POST", 0.010, 30.0),
        Span("t", "c", "a", "payments", "POST", 0.020, 40.0),
        Span("t", "d", "a", "payments", "POST", 0.090, 500.0),
    ]

    assert 40.0 == pytest.approx(own_ms(span, children))


def test_an_error_begins_where_no_call_below_failed() -> None:
    """The caller's failed span is not an origin."""
    spans = (
        Span("t", "a", None, "gateway", "POST", 1001.0, 10.0, "error"),
        Span("t", "b", "a", "orders", "POST", 1001.0, 9.0, "error"),
    )

    assert ["trace:orders:POST"] == [evidence.id for evidence in trace_origins(made(spans=spans))]


def test_a_first_installation_is_no_change() -> None:
    """Only what replaced something can have broken it; the nearest to the onset comes first."""
    changes = (
        Change("deploy:orders:1", 990.0, "orders", "deploy", "1"),
        Change("deploy:orders:2", 400.0, "orders", "deploy", "2", "1"),
        Change("config:orders:3", 995.0, "orders", "config", 1, 8, "pool"),
    )

    found = [evidence.id for evidence in recent_changes(made(changes=changes))]

    assert ["config:orders:3", "deploy:orders:2"] == found


def test_a_change_without_any_symptom_of_its_service_is_a_weak_suspect() -> None:
    """A deploy elsewhere at the same time does not outweigh a service that fails."""
    points = tuple((float(at), 0.0 if at < 1000 else 0.5) for at in range(990, 1010))
    failing = Series("orders", "error_rate", "share", points, "errors")
    change = Change("deploy:payments:2", 999.0, "payments", "deploy", "2", "1")

    ranked = rank_suspects(made(metrics=(failing,), changes=(change,)))

    assert ["orders", "payments"] == [suspect.service for suspect in ranked[:2]]


def test_a_delay_on_the_way_is_the_service_that_all_slow_hops_touch() -> None:
    """Caller and callee report the same operation; the difference was spent between them."""
    callees = ("cart", "ads", "mail", "rates")
    graph = tuple(Edge("gateway", callee) for callee in callees)
    stats = [OperationStats("gateway", f"{c}/get", 1000.0, 9, 300.0 if c == "cart" else 7.0, 1.0) for c in callees]
    stats += [OperationStats(callee, f"{callee}/get", 1000.0, 9, 2.0, 3.0) for callee in callees]

    (hop,) = slow_hops(made(graph=graph, operations=tuple(stats)))

    assert ("hop:cart", "calls to and from cart lose 298.0 ms on the way; elsewhere 5.0 ms") == (
        hop.id,
        hop.text,
    )


def test_services_that_call_each_other_in_a_circle_are_ranked() -> None:
    """Walking the graph ends."""
    graph = (Edge("a", "b"), Edge("b", "a"))

    assert {"a", "b", "gateway"} == {suspect.service for suspect in rank_suspects(made(graph=graph))}


def _arguments(name: str) -> dict[str, str]:
    return {"service": "gateway", "contains": "502"} if name == "search_logs" else {}
