"""Blocks sockets while a cassette replays, so that a replay proves that it needs no network."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Collection, Iterator
from typing import Any
from unittest import mock

from governance.testing.errors import NetworkBlocked

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def expanded(hosts: Collection[str]) -> frozenset[str]:
    """The hosts, with the addresses of `localhost` where it is among them."""
    return frozenset(hosts) | (LOOPBACK if "localhost" in hosts else frozenset())


@contextlib.contextmanager
def blocked(*, allow: Collection[str] = ()) -> Iterator[None]:
    """Refuse every internet connection and name lookup in this process, except to the hosts allowed.

    Sockets of the Unix family stay open: event loops and worker processes talk through them.
    """
    allowed = set(expanded(allow))
    lookup = socket.getaddrinfo

    def resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name is not None and name not in allowed:
            raise _refusal(name)
        found = lookup(host, *args, **kwargs)
        allowed.update(str(entry[4][0]) for entry in found)
        return found

    def guarded(original: Callable[..., Any]) -> Callable[..., Any]:
        def connect(self: socket.socket, address: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in allowed:
                raise _refusal(address[0])
            return original(self, address)

        return connect

    with contextlib.ExitStack() as patches:
        patches.enter_context(mock.patch.object(socket, "getaddrinfo", resolve))
        for name in ("connect", "connect_ex"):
            original = getattr(socket.socket, name)
            patches.enter_context(mock.patch.object(socket.socket, name, guarded(original)))
        yield


def _refusal(host: object) -> NetworkBlocked:
    return NetworkBlocked(
        f"a connection to {host} was refused, because a cassette is replaying: record that request too, "
        f"or allow the host with @pytest.mark.allow_hosts({str(host)!r})"
    )
