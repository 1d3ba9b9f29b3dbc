"""A model client for any base URL, and a pytest run in which the plugin is loaded once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from langchain_openai import ChatOpenAI

Model = Callable[[str], ChatOpenAI]

# pytest's runs within this process forget the modules that they were the first to import. A client imports some of
# its own only when one is made; what it had imported before, and still holds, would then be others.
ChatOpenAI(model="m", base_url="http://127.0.0.1:9", api_key="none")


@pytest.fixture
def model() -> Model:
    def build(base_url: str) -> ChatOpenAI:
        return ChatOpenAI(model="m", base_url=base_url, api_key="none", max_retries=0, timeout=10)

    return build


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    return tmp_path / "tape.yaml"


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """An empty project with this plugin and no other, so that its runs start quickly."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p governance.testing.plugin")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return pytester
