"""The pytest plugin: a cassette for the tests that ask for one, and nothing for the others.

Loaded into every pytest run where this package is installed, so it imports nothing heavy, has no automatic
fixture and changes no test that uses neither `cassette` nor `faulty_server`.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from governance.testing.player import Player, Recorder
    from governance.testing.server import FaultyServer

CONVERSATION: pytest.StashKey[Player | Recorder] = pytest.StashKey()
LONGEST_NAME = 120


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record-cassettes",
        choices=("none", "new", "rewrite"),
        default="none",
        help="none: replay (default); new: record the tests that have no cassette yet; rewrite: record again",
    )
    parser.addini("cassette_dir", "folder that holds the cassettes, from the root directory", default="cassettes")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "cassette(name, key=None): replay <cassette_dir>/<name>.yaml; key names the caller of a request",
    )
    config.addinivalue_line("markers", "allow_hosts(*hosts): hosts that a test with a cassette may reach")
    if config.getoption("--record-cassettes") != "none" and not _has_endpoint():
        raise pytest.UsageError(
            "--record-cassettes needs an endpoint to record from, and none is set: "
            "set OPENAI_BASE_URL or OPENAI_API_KEY, or leave the option out to replay"
        )


def pytest_itemcollected(item: pytest.Item) -> None:
    names = getattr(item, "fixturenames", None)
    if names is not None and "cassette" not in names and item.get_closest_marker("cassette"):
        names.insert(0, "cassette")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    result = yield
    # Only a test that passed is judged by its recordings, and only such a test is worth recording.
    conversation = item.stash.get(CONVERSATION, None)
    if conversation is not None:
        conversation.finish()
    return result


@pytest.fixture
def cassette(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Player | Recorder]:
    """Replays the test's HTTP requests from its cassette, with sockets blocked, each recording once.

    OPENAI_BASE_URL and OPENAI_API_KEY are set meanwhile, so that clients made in the test need no settings.
    """
    with _opened(request) as conversation:
        base_url = getattr(conversation, "base_url", None)
        if base_url is not None:
            monkeypatch.setenv("OPENAI_BASE_URL", base_url)
            monkeypatch.setenv("OPENAI_API_KEY", "none")
        request.node.stash[CONVERSATION] = conversation
        yield conversation


@pytest.fixture
def faulty_server() -> Iterator[FaultyServer]:
    """An OpenAI-compatible server on loopback whose answers, and failures, the test scripts."""
    from governance.testing.server import FaultyServer

    with FaultyServer() as server:
        yield server


def _opened(request: pytest.FixtureRequest) -> AbstractContextManager[Player | Recorder]:
    from governance.testing.cassettes import opened_player, opened_recorder

    item = request.node
    path = _path(item)
    mode = request.config.getoption("--record-cassettes")
    marker, hosts = item.get_closest_marker("cassette"), item.get_closest_marker("allow_hosts")
    key = marker.kwargs.get("key") if marker else None
    allow = hosts.args if hosts else ()
    if mode == "rewrite" or (mode == "new" and not path.exists()):
        return opened_recorder(path, allow=allow, key=key)
    return opened_player(path, block=True, allow=allow, key=key)


def _path(item: Any) -> Path:
    """`tests/shop/test_refund.py::test_late` belongs to `cassettes/shop/test_refund/test_late.yaml`."""
    folder = item.config.rootpath / item.config.getini("cassette_dir")
    marker = item.get_closest_marker("cassette")
    if marker is not None and marker.args:
        return Path(folder / f"{marker.args[0]}.yaml")
    module = (
        item.path.relative_to(item.config.rootpath) if item.path.is_relative_to(item.config.rootpath) else item.path
    )
    parts = module.with_suffix("").parts[1 if module.is_absolute() or module.parts[0] == "tests" else 0 :]
    name = ".".join([item.cls.__name__, item.name] if getattr(item, "cls", None) else [item.name])
    return Path(folder.joinpath(*parts) / f"{_file_name(name)}.yaml")


def _file_name(name: str) -> str:
    """Parameters hold anything, file names do not; a digest keeps apart the names that were changed."""
    safe = re.sub(r"[^\w.\[\]-]", "-", name)[:LONGEST_NAME]
    return safe if safe == name else f"{safe}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _has_endpoint() -> bool:
    return any(
        name.endswith("_BASE_URL") or (name.endswith("_API_KEY") and value.lower() != "none")
        for name, value in os.environ.items()
        if value
    )
