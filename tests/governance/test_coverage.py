"""The coverage report: what is governed, by which seam, what is waived and why, what only run time can tell."""

from __future__ import annotations

import json
from typing import Any

from governance import Contract, Sidecar, coverage, govern


def quiet(state: Any) -> Any:
    return {}


def test_every_node_is_listed_with_its_state_also_inside_nested_graphs(line: Any, sidecar: Sidecar) -> None:
    contracts = {
        "a": Contract(),
        "sub": Contract(waives=["types", "cache"]),
        "sub/leaf": Contract.observe(reason="legacy"),
    }
    graph = govern(line(a=quiet, sub=line(leaf=quiet)), contracts=contracts, sidecar=sidecar)
    found = {n.place: (n.state, n.seam, n.waived, n.reason) for n in coverage(graph).nodes}

    assert {
        "a": ("enforce", "node step", (), ""),
        "sub": ("enforce", "node step", ("cache", "types"), ""),
        "sub/leaf": ("observed", "node step", (), "legacy"),
    } == found


def test_an_ungoverned_graph_says_so(line: Any) -> None:
    found = coverage(line(a=quiet))

    assert ("ungoverned", ["ungoverned"]) == (found.mode, [node.state for node in found.nodes])


def test_a_node_attached_later_is_seen_as_ungoverned(line: Any, sidecar: Sidecar) -> None:
    graph = govern(line(a=quiet), contracts={"a": Contract()}, sidecar=sidecar)
    graph.nodes["late"] = line(late=quiet).nodes["late"]

    assert {"a": "enforce", "late": "ungoverned"} == {n.place: n.state for n in coverage(graph).nodes}


def test_what_cannot_be_known_before_it_runs_is_named(line: Any, sidecar: Sidecar) -> None:
    graph = govern(line(a=quiet, sub=line(leaf=quiet)), sidecar=sidecar)

    assert ["a", "sub/leaf"] == sorted(one.partition(":")[0] for one in coverage(graph).unknown)


def test_the_report_is_text_for_people_and_json_for_machines(line: Any, sidecar: Sidecar) -> None:
    contracts = {"a": Contract(waives=["types"])}
    found = coverage(govern(line(a=quiet), contracts=contracts, sidecar=sidecar, doors="open"))

    assert found.as_dict() == json.loads(json.dumps(found.as_dict()))
    assert {"node step", "tasks", "sends", "models and tools", "doors", "raw connections"} == set(found.seams)
    assert str(found).startswith("mode: enforce\n  a ")
    assert "waives types" in str(found)
    assert found.seams["doors"].endswith("open")
