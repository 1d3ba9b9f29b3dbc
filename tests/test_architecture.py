"""The tree is the architecture: who may import whom, read from the source itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "governance": set[str](),
    "memory": set[str](),
    "tools": {"governance"},
    "graphs": {"governance", "memory", "tools"},
}
SEAMS = Path("governance/seams")
LONGEST = 450


def sources(package: str) -> Iterator[tuple[Path, str]]:
    for file in sorted((ROOT / package).rglob("*.py")):
        yield file.relative_to(ROOT), file.read_text(encoding="utf-8")


def imports(text: str) -> Iterator[tuple[int, str]]:
    """Each absolute import with its line; `from a import b` counts as `a.b`, be it a module or a name."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def is_internal(dotted: str) -> bool:
    """Whether this belongs to LangGraph or LangChain and carries no promise to stay where it is."""
    root, *rest = dotted.split(".")
    if not root.startswith(("langgraph", "langchain")):
        return False
    return rest[:1] == ["pregel"] or any(part.startswith("_") for part in rest)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_in_one_direction(package: str) -> None:
    """graphs -> tools -> governance and graphs -> memory; nothing points back."""
    forbidden = {"benchmarks", "tests", *MAY_IMPORT} - MAY_IMPORT[package] - {package}

    wrong = [
        f"{file}:{line} imports {name}; {package} may import only {sorted(MAY_IMPORT[package]) or 'itself'}"
        for file, text in sources(package)
        for line, name in imports(text)
        if name.split(".")[0] in forbidden
    ]

    assert [] == wrong


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_langgraph_internals_are_imported_by_the_seams_alone(package: str) -> None:
    """One folder breaks when LangGraph moves something private, and only that one."""
    wrong = [
        f"{file}:{line} imports {name}; only {SEAMS} may: give it a public name there"
        for file, text in sources(package)
        for line, name in imports(text)
        if SEAMS not in file.parents and is_internal(name)
    ]

    assert [] == wrong


def test_files_stay_short_enough_to_read() -> None:
    """One concern a file: past this length it has two."""
    lengths = {str(file): len(text.splitlines()) for file, text in sources("governance")}

    assert {} == {file: length for file, length in lengths.items() if length > LONGEST}


@pytest.mark.parametrize(
    ("dotted", "expected"),
    [
        ("langgraph.graph.StateGraph", False),
        ("langgraph.pregel.Pregel", True),
        ("langgraph._internal._config.patch_config", True),
        ("langchain_core.tools.BaseTool", False),
        ("langchain_core.runnables.config._set_config_context", True),
        ("langchain_openai.ChatOpenAI", False),
        ("collections._private", False),
    ],
)
def test_internals_are_recognised_by_name(dotted: str, expected: bool) -> None:
    """The check above sees what it should and nothing else."""
    assert expected == is_internal(dotted)
