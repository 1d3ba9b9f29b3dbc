"""Sockets and processes of a node's own code, wherever in the node that code runs."""

from __future__ import annotations

import asyncio
import concurrent.futures
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from langgraph.graph import END, START, StateGraph

from governance import Contract, Sidecar, govern
from governance.errors import AuthorityRefused, Refusal

Reach = Callable[[str, int], Any]


@pytest.fixture
def listener() -> Iterator[tuple[str, int, list[int]]]:
    """A server on loopback that counts who connected."""
    seen: list[int] = []
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            seen.append(1)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
            connection.close()

    threading.Thread(target=serve, daemon=True).start()
    yield "127.0.0.1", server.getsockname()[1], seen
    server.shutdown(socket.SHUT_RDWR)
    server.close()


def by_name(host: str, port: int) -> Any:
    with socket.create_connection(("localhost", port), 2):
        pass


def without_blocking(host: str, port: int) -> Any:
    with socket.socket() as made:
        made.setblocking(False)
        made.connect_ex((host, port))


def datagram(host: str, port: int) -> Any:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.sendto(b"x", (host, port))


def resolve(host: str, port: int) -> Any:
    return socket.gethostbyname("localhost")


async def streams(host: str, port: int) -> Any:
    _, writer = await asyncio.open_connection(host, port)
    writer.close()


async def async_client(host: str, port: int) -> Any:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(f"http://{host}:{port}/")).status_code


def in_thread(reach: Reach, host: str, port: int) -> None:
    thread = threading.Thread(target=quietly, args=(reach, host, port))
    thread.start()
    thread.join()


def quietly(reach: Any, *given: Any) -> None:
    try:
        reach(*given)
    except Exception:
        pass


def connect(host: str, port: int) -> Any:
    with socket.create_connection((host, port), 2):
        pass


REACHES: dict[str, Reach] = {
    "socket": connect,
    "by name": by_name,
    "not blocking": without_blocking,
    "datagram": datagram,
    "resolver": resolve,
    "urllib": lambda host, port: urllib.request.urlopen(f"http://{host}:{port}/", timeout=2).read(),
    "httpx": lambda host, port: httpx.get(f"http://{host}:{port}/", trust_env=False),
    "asyncio": lambda host, port: asyncio.run(streams(host, port)),
    "async httpx": lambda host, port: asyncio.run(async_client(host, port)),
    "thread": lambda host, port: in_thread(connect, host, port),
    "unix": lambda host, port: socket.socket(socket.AF_UNIX).connect("/nowhere"),
}


@pytest.mark.parametrize("way", list(REACHES))
def test_a_node_reaches_no_host_its_contract_does_not_name(
    way: str, sidecar: Sidecar, one: Any, rows: Any, listener: tuple[str, int, list[int]]
) -> None:
    host, port, seen = listener
    graph = govern(one(lambda s: quietly(REACHES[way], host, port)), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert [] == seen
    assert "connection.refused" in [row.kind for row in rows()]


def test_an_async_node_reaches_no_host_either(sidecar: Sidecar, one: Any, listener: tuple[str, int, list[int]]) -> None:
    host, port, seen = listener

    async def node(state: Any) -> Any:
        try:
            await async_client(host, port)
        except Exception:
            pass

    graph = govern(one(node), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        asyncio.run(graph.ainvoke({"out": ""}))

    assert [] == seen


def test_a_conditional_edge_reaches_no_host_either(sidecar: Sidecar, listener: tuple[str, int, list[int]]) -> None:
    host, port, seen = listener

    def route(state: Any) -> str:
        quietly(connect, host, port)
        return END

    builder: Any = StateGraph(dict)
    builder.add_node("n", lambda s: {})
    builder.add_edge(START, "n")
    builder.add_conditional_edges("n", route, [END])
    graph = govern(builder.compile(), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(Refusal):
        graph.invoke({})

    assert [] == seen


def test_a_thread_left_behind_reaches_no_host_once_its_node_is_over(
    sidecar: Sidecar, one: Any, listener: tuple[str, int, list[int]]
) -> None:
    host, port, seen = listener
    over = threading.Event()
    threads: list[threading.Thread] = []

    def later() -> None:
        over.wait(5)
        quietly(connect, host, port)

    def node(state: Any) -> Any:
        threads.append(threading.Thread(target=later))
        threads[0].start()

    graph = govern(one(node), contracts={"n": Contract()}, sidecar=sidecar)
    graph.invoke({"out": ""})
    over.set()
    threads[0].join()

    assert [] == seen


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_named_host_is_reached_and_on_record(
    host: str, sidecar: Sidecar, one: Any, rows: Any, listener: tuple[str, int, list[int]]
) -> None:
    """What a contract allows is still an action: it is recorded."""
    _, port, _ = listener
    node = lambda s: {"out": str(connect(host, port))}
    graph = govern(one(node), contracts={"n": Contract(hosts=["127.0.0.1", "localhost"])}, sidecar=sidecar)

    graph.invoke({"out": ""})

    assert "connection.seen" in [row.kind for row in rows()]


def test_an_observed_node_is_recorded_and_not_stopped(
    sidecar: Sidecar, one: Any, rows: Any, listener: tuple[str, int, list[int]]
) -> None:
    host, port, _ = listener
    graph = govern(one(lambda s: connect(host, port)), sidecar=sidecar)

    graph.invoke({"out": ""})

    assert "connection.seen" in [row.kind for row in rows()]


def mark(path: str) -> None:
    Path(path).write_text("ran")


def fork(path: str) -> None:
    child = os.fork()
    if child == 0:
        try:
            mark(path)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def start(method: str) -> Callable[[str], None]:
    def reach(path: str) -> None:
        process: Any = multiprocessing.get_context(method).Process(target=mark, args=(path,))
        process.start()
        process.join(20)

    return reach


PROCESSES: dict[str, Callable[[str], Any]] = {
    "subprocess": lambda path: subprocess.run(["touch", path], check=True),
    "os.system": lambda path: os.system(f"touch {path}"),
    "os.popen": lambda path: os.popen(f"touch {path}").read(),
    "posix_spawn": lambda path: os.waitpid(os.posix_spawn("/usr/bin/touch", ["touch", path], os.environ), 0),
    "spawnv": lambda path: os.spawnvp(os.P_WAIT, "touch", ["touch", path]),
    "asyncio": lambda path: asyncio.run(_awaited(path)),
    "fork": fork,
    "multiprocessing fork": start("fork"),
    "multiprocessing spawn": start("spawn"),
}


async def _awaited(path: str) -> None:
    await (await asyncio.create_subprocess_exec("touch", path)).wait()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("way", list(PROCESSES))
def test_a_node_starts_no_process_its_contract_does_not_allow(
    way: str, sidecar: Sidecar, one: Any, tmp_path: Path
) -> None:
    target = tmp_path / "mark"
    graph = govern(one(lambda s: quietly(PROCESSES[way], str(target))), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert not target.exists()


def test_a_node_hands_no_work_to_a_process_that_was_there_before(sidecar: Sidecar, one: Any, tmp_path: Path) -> None:
    target = tmp_path / "mark"
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        pool.submit(os.getpid).result()
        graph = govern(
            one(lambda s: quietly(lambda: pool.submit(mark, str(target)).result(10))),
            contracts={"n": Contract()},
            sidecar=sidecar,
        )

        with pytest.raises(AuthorityRefused):
            graph.invoke({"out": ""})

    assert not target.exists()


def test_a_name_learned_by_one_node_does_not_open_its_address_to_another(
    sidecar: Sidecar, line: Any, listener: tuple[str, int, list[int]]
) -> None:
    """Which names an address has is remembered; whether it may be reached is each contract's own."""
    _, port, seen = listener
    graph = line(first=lambda s: connect("localhost", port), n=lambda s: connect("127.0.0.1", port))
    govern(
        graph, contracts={"first": Contract(hosts=["localhost"]), "n": Contract(hosts=["example.org"])}, sidecar=sidecar
    )

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})

    assert 1 >= len(seen)


assert sys.platform != "win32"
