"""Every Python block of the README and of docs/ runs, in the order in which a reader meets it.

Blocks of one page share a namespace, as they do in a reader's session. A `text` block right after a
Python block is what it prints, where `...` stands for anything. `docs/testing.md` holds tests instead
of scripts; `tests/governance/testing/test_docs.py` runs those.
"""

from __future__ import annotations

import doctest
import re
import sys
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from governance import sidecar
from governance.plane.ledger import Ledger

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(p for p in (ROOT / "docs").glob("*.md") if p.name != "testing.md")]
BLOCK = re.compile(
    r"^(?P<at> *)```python\n(?P<code>.*?)^(?P=at)```$(?:\n+(?P=at)```text\n(?P<prints>.*?)^(?P=at)```$)?",
    re.M | re.S,
)
PYTHON = re.compile(r"^ *```(py.*)$", re.M)
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")


def blocks(page: Path) -> Iterator[tuple[int, str, str | None]]:
    """The line each Python block starts on, its code, and what it should print."""
    text = page.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        prints = found["prints"]
        code = textwrap.dedent(found["code"])
        yield text.count("\n", 0, found.start("code")), code, None if prints is None else textwrap.dedent(prints)


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """An empty module to run a page in, with a folder and a ledger of its own, in which session 42 has begun."""
    module = types.ModuleType("page")
    ledger = Ledger(tmp_path / ".sidecar" / "ledger.db")
    ledger.record("42", "run.begun")
    ledger.close()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIDECAR_LEDGER", str(ledger.path))
    monkeypatch.setitem(sys.modules, "page", module)
    monkeypatch.setattr(sidecar, "_default", None)
    yield module
    if sidecar._default is not None:
        sidecar._default.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_python_block_of_a_page_runs(
    page: Path, session: types.ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its errors are reported at the line of the page, and what it shows as output is what it prints."""
    checker = doctest.OutputChecker()

    for line, code, prints in blocks(page):
        exec(compile("\n" * line + code, str(page), "exec", dont_inherit=True), vars(session))
        printed = capsys.readouterr().out
        if prints is not None:
            assert checker.check_output(prints, printed, doctest.ELLIPSIS), f"{page.name}:{line} printed\n{printed}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_python_block_of_a_page_is_left_out_by_mistake(page: Path) -> None:
    """Only `python no-run` is not run, and says so."""
    kinds = PYTHON.findall(page.read_text(encoding="utf-8"))

    assert [] == [kind for kind in kinds if kind not in ("python", "python no-run")]
    assert kinds.count("python") == len(list(blocks(page)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    """Relative links name files of this repository."""
    text = page.read_text(encoding="utf-8")

    assert [] == [target for target in LINK.findall(text) if not (page.parent / target).exists()]
