"""Several processes on one store, with a Chroma server between them: nothing is lost, and each sees what others did."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.store.base import PutOp

from benchmarks.memory_kills import DIMS, embed
from memory import Erased, StoreLocked, StoreMismatch, TieredStore

INDEX: Any = {"embed": embed, "dims": DIMS, "fields": ["text"]}
WRITER = """
import sys
from tests.attacks.test_memory_shared import INDEX, PutOp, TieredStore
path, server, me = sys.argv[1:]
with TieredStore(path, index=INDEX, exact=5, server=server) as store:
    for n in range(12):
        store.batch([PutOp(("all",), f"{me}-{n}-{i}", {"text": f"item {me} {n} {i}"}) for i in range(4)])
        store.put(("all",), "contended", {"text": f"last by {me} {n}"})
        store.delete(("all",), f"{me}-{n}-0")
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "memory.db"


@pytest.fixture
def server(file: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    chroma = Path(sys.executable).with_name("chroma")
    command = [str(chroma), "run", "--path", f"{file}.chroma", "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert process.poll() is None
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def shared(file: Path, server: str) -> TieredStore:
    return TieredStore(file, index=INDEX, exact=5, server=server)


def test_four_processes_that_write_at_once_lose_nothing(file: Path, server: str) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(file), server, str(n)]) for n in range(4)]
    assert [0] * 4 == [writer.wait() for writer in writers]

    with shared(file, server) as store:
        assert store._chroma is not None
        store._chroma.settle()
        expected = {f"{me}-{n}-{i}" for me in range(4) for n in range(12) for i in (1, 2, 3)} | {"contended"}

        assert expected == {one.key for one in store.search(("all",), limit=1000)}
        assert expected == {one.key for one in store.search(("all",), query="item", limit=1000)}
        assert ({}, len(expected), 0) == (
            store._chroma.differences(),
            store._chroma._collection(1).count(),
            store.stats()["outbox"],
        )


def test_each_sees_at_once_what_the_other_wrote_and_erased(file: Path, server: str) -> None:
    with shared(file, server) as one, shared(file, server) as other:
        one.put(("a",), "1", {"text": "first"})
        assert ["1"] == [found.key for found in other.search(("a",), query="first")]
        one.put(("a",), "2", {"text": "second"})
        assert {"1", "2"} == {found.key for found in other.search(("a",), query="second")}
        for n in range(9):
            other.put(("a",), f"more{n}", {"text": f"more {n}"})
        receipt = one.erase(("a",))
        assert (True, [], []) == (receipt.clean, one.search(("a",)), other.search(("a",), query="first"))
        with pytest.raises(Erased):
            other.batch([PutOp(("a",), "late", {"text": "late"})])


def test_a_file_is_shared_by_all_or_by_none(file: Path, server: str) -> None:
    with TieredStore(file, index=INDEX), pytest.raises(StoreLocked):
        shared(file, server)
    with shared(file, server), pytest.raises(StoreMismatch, match="server="):
        TieredStore(file, index=INDEX)
