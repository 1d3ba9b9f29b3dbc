"""A graph is found as `langgraph.json` writes it, and imported as its author would import it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from governance.errors import ConfigurationError
from governance.loading import load_graph

GRAPH = (
    "from langgraph.graph import MessagesState, StateGraph\n"
    "builder = StateGraph(MessagesState)\nbuilder.add_node('{node}', lambda s: {{}})\n"
    "builder.set_entry_point('{node}')\ngraph = builder.compile()\n"
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", None) or tmp_path).startswith(str(tmp_path)):
            del sys.modules[name]


def write(root: Path, name: str, text: str) -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def names(graph: object) -> list[str]:
    return [name for name in graph.nodes if name != "__start__"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "written", ["main", "full", "./flows/main.py:graph", "flows.main:graph", "./flows/main.py:builder"]
)
def test_every_way_to_write_a_graph(root: Path, written: str) -> None:
    """A key, a key with options, a path, a module, and a builder that is compiled."""
    write(root, "flows/main.py", GRAPH.format(node="a"))
    write(root, "langgraph.json", '{"graphs": {"main": "./flows/main.py:graph", "full": {"path": "flows.main:graph"}}}')

    assert ["a"] == names(load_graph(written, root=root))


def test_relative_imports_of_a_package_work(root: Path) -> None:
    write(root, "flows/__init__.py", "")
    write(root, "flows/parts.py", GRAPH.format(node="part"))
    write(root, "flows/main.py", "from .parts import graph\n")

    assert ["part"] == names(load_graph("./flows/main.py:graph", root=root))


def test_a_file_is_the_module_that_others_import(root: Path) -> None:
    """Two copies of one module would be two different classes to a checkpoint."""
    write(root, "flows/main.py", GRAPH.format(node="a"))
    write(root, "uses.py", "from flows.main import graph\n")

    assert load_graph("./flows/main.py:graph", root=root) is load_graph("uses:graph", root=root)


def test_a_file_named_like_a_known_module_is_still_the_file(root: Path) -> None:
    write(root, "json.py", GRAPH.format(node="mine"))

    assert ["mine"] == names(load_graph("./json.py:graph", root=root))


def test_dependencies_of_langgraph_json_are_importable(root: Path) -> None:
    write(root, "src/parts_here.py", GRAPH.format(node="a"))
    write(root, "main.py", "from parts_here import graph\n")
    write(root, "langgraph.json", '{"dependencies": ["./src", "."], "graphs": {"main": "./main.py:graph"}}')

    assert ["a"] == names(load_graph("main", root=root))


@pytest.mark.parametrize("parameters", ["", "config"])
def test_a_factory_is_called(root: Path, parameters: str) -> None:
    write(root, "main.py", GRAPH.format(node="a") + f"def make({parameters}): return builder\n")

    assert ["a"] == names(load_graph("./main.py:make", root=root))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("raise ValueError('first\\nsecond')", "ValueError: first"),
        ("import sys; sys.exit(0)", "SystemExit"),
        ("def (", "SyntaxError"),
        ("import not_installed_anywhere", "No module named 'not_installed_anywhere'; install it"),
        ("from governance.rules import x", "`governance` is Sidecar's own package"),
        ("graph = 1", "expected a graph at ./main.py:graph, got int"),
        ("async def graph(): ...", "got coroutine"),
        ("def graph(): raise KeyError('x')", "KeyError: 'x'"),
        ("other = 1", "has no 'graph'; there is none"),
    ],
)
def test_a_module_that_gives_no_graph_is_named_with_its_reason(root: Path, text: str, expected: str) -> None:
    write(root, "main.py", text)

    with pytest.raises(ConfigurationError) as caught:
        load_graph("./main.py:graph", root=root)

    assert expected in caught.value.reason and "./main.py" in caught.value.reason


@pytest.mark.parametrize("text", ["{", "[]", '{"graphs": []}', '{"graphs": {"main": 3}}'])
def test_a_wrong_langgraph_json_is_named(root: Path, text: str) -> None:
    write(root, "langgraph.json", text)

    with pytest.raises(ConfigurationError, match=r"langgraph\.json"):
        load_graph("main", root=root)
