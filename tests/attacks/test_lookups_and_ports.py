"""Names that are looked up carry data out, and an open port lets others in: both are judged like connections."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from governance import Contract, Sidecar, govern
from governance.errors import AuthorityRefused

LOOK_UPS: dict[str, Callable[[], Any]] = {
    "getaddrinfo": lambda: socket.getaddrinfo("localhost", 80),
    "gethostbyname": lambda: socket.gethostbyname("localhost"),
    "gethostbyname_ex": lambda: socket.gethostbyname_ex("localhost"),
    "gethostbyaddr": lambda: socket.gethostbyaddr("localhost"),
    "getfqdn": lambda: socket.getfqdn("localhost"),
}


def tried(work: Callable[[], Any]) -> Callable[[Any], Any]:
    def node(state: Any) -> Any:
        try:
            work()
        except OSError:
            pass
        return {"out": "done"}

    return node


@pytest.mark.parametrize("look", list(LOOK_UPS))
def test_every_look_up_of_a_name_is_judged(look: str, sidecar: Sidecar, one: Any, rows: Any) -> None:
    graph = govern(one(tried(LOOK_UPS[look])), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused, match="localhost"):
        graph.invoke({"out": ""})

    assert {"localhost"} == {row.body["target"] for row in rows("connection.refused")}


@pytest.mark.parametrize("look", list(LOOK_UPS))
def test_a_name_in_the_contract_may_be_looked_up(look: str, sidecar: Sidecar, one: Any) -> None:
    graph = one(tried(LOOK_UPS[look]))
    govern(graph, contracts={"n": Contract(hosts=["localhost"])}, sidecar=sidecar)

    assert "done" == graph.invoke({"out": ""})["out"]


def test_the_name_of_an_address_is_judged_by_the_address(sidecar: Sidecar, one: Any) -> None:
    graph = one(tried(lambda: socket.getnameinfo(("127.0.0.1", 80), 0)))
    govern(graph, contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused, match=r"127\.0\.0\.1"):
        graph.invoke({"out": ""})


def listens(address: Any, family: int = socket.AF_INET) -> Callable[[Any], Any]:
    def node(state: Any) -> Any:
        with socket.socket(family) as server:
            server.bind(address)
            server.listen()
        return {"out": "open"}

    return node


async def serves(state: Any) -> Any:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    server.close()
    return {"out": "open"}


@pytest.mark.parametrize("node", [listens(("127.0.0.1", 0)), listens(("", 0)), serves], ids=["one", "all", "asyncio"])
def test_a_node_opens_no_port(node: Any, sidecar: Sidecar, one: Any) -> None:
    """That the contract lets it connect to this very host does not open a port there."""
    graph = govern(one(node), contracts={"n": Contract(hosts=["127.0.0.1", "0.0.0.0"])}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused, match="listen:"):
        asyncio.run(graph.ainvoke({"out": ""}))


def test_a_node_opens_no_socket_in_the_file_system(sidecar: Sidecar, one: Any, tmp_path: Path) -> None:
    graph = govern(one(listens(str(tmp_path / "s"), socket.AF_UNIX)), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused, match="listen:unix:"):
        graph.invoke({"out": ""})

    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("host", ["listen:127.0.0.1", "listen:127.0.0.1:0"])
def test_a_node_opens_the_port_that_its_contract_names(host: str, sidecar: Sidecar, one: Any) -> None:
    graph = govern(one(listens(("127.0.0.1", 0))), contracts={"n": Contract(hosts=[host])}, sidecar=sidecar)

    assert "open" == graph.invoke({"out": ""})["out"]


def test_another_port_than_the_one_named_stays_closed(sidecar: Sidecar, one: Any) -> None:
    contract = Contract(hosts=["listen:127.0.0.1:1"])
    graph = govern(one(listens(("127.0.0.1", 0))), contracts={"n": contract}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})


def test_an_event_loop_of_a_nodes_own_opens_nothing(sidecar: Sidecar, one: Any) -> None:
    async def work() -> str:
        await asyncio.sleep(0)
        return "done"

    graph = govern(one(lambda s: {"out": asyncio.run(work())}), contracts={"n": Contract()}, sidecar=sidecar)

    assert "done" == graph.invoke({"out": ""})["out"]


def test_a_port_opened_outside_of_nodes_is_nobodys_business(sidecar: Sidecar, one: Any) -> None:
    graph = govern(one(lambda s: {"out": "done"}), contracts={"n": Contract()}, sidecar=sidecar)

    for _ in graph.stream({"out": ""}, stream_mode=["values", "updates"]):
        listens(("127.0.0.1", 0))({})
