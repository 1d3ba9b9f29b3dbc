"""Sockets are closed to everything that was not allowed, and open again afterwards."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from governance.testing.errors import NetworkBlocked
from governance.testing.network import blocked


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_connections_are_refused_by_name_and_address(listener: socket.socket) -> None:
    """Neither a lookup nor a connection leaves the process."""
    with blocked():
        with pytest.raises(NetworkBlocked, match=r"example\.com"):
            socket.create_connection(("example.com", 80))
        with socket.socket() as client, pytest.raises(NetworkBlocked, match=r"allow_hosts\('127\.0\.0\.1'\)"):
            client.connect_ex(listener.getsockname())


def test_event_loops_cannot_connect_either(listener: socket.socket) -> None:
    """asyncio opens its sockets by another way."""
    with blocked(), pytest.raises(NetworkBlocked):
        asyncio.run(asyncio.open_connection(*listener.getsockname()))


def test_an_allowed_host_can_be_reached(listener: socket.socket) -> None:
    """`localhost` stands for its addresses too."""
    with blocked(allow=["localhost"]):
        socket.create_connection(("localhost", listener.getsockname()[1])).close()
        socket.create_connection(listener.getsockname()).close()


def test_unix_sockets_stay_open() -> None:
    """Event loops and worker processes talk through them."""
    with blocked():
        left, right = socket.socketpair()
        left.sendall(b"x")

        assert b"x" == right.recv(1)
    left.close()
    right.close()


def test_everything_is_as_before_afterwards(listener: socket.socket) -> None:
    """The block ends with the block, also after an error."""
    with pytest.raises(ValueError), blocked():
        raise ValueError

    socket.create_connection(listener.getsockname()).close()
