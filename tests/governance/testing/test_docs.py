"""The examples of the testing page, run as a reader would run them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from governance.testing.server import FaultyServer, depending, ok

pytest_plugins = ("pytester",)

PAGE = Path(__file__).parents[3] / "docs" / "testing.md"


def test_every_example_of_the_page_runs(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded against an endpoint first, then replayed without it."""
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    project.makepyfile(**{f"test_example_{number}": code for number, code in enumerate(examples)})
    with FaultyServer(always=depending(lambda body: ok(body["messages"][-1]["content"]))) as endpoint:
        monkeypatch.setenv("OPENAI_BASE_URL", endpoint.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        recorded = project.runpytest_subprocess("--record-cassettes=new")
    monkeypatch.delenv("OPENAI_BASE_URL")
    monkeypatch.delenv("OPENAI_API_KEY")
    replayed = project.runpytest_subprocess()

    assert 5 == len(examples)
    recorded.assert_outcomes(passed=6)
    replayed.assert_outcomes(passed=6)
