"""An OpenAI-compatible server on loopback that fails as told, with real sockets and broken streams."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from governance.testing.behaviours import (
    Behaviour,
    ToolCall,
    cut_stream,
    depending,
    malformed_json,
    ok,
    slow,
    status,
    timeout,
)

__all__ = [
    "Behaviour",
    "FaultyServer",
    "ReceivedRequest",
    "ToolCall",
    "cut_stream",
    "depending",
    "malformed_json",
    "ok",
    "slow",
    "status",
    "timeout",
]

POLL = 0.02


@dataclass(frozen=True)
class ReceivedRequest:
    """A request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]


class FaultyServer:
    """Serves each request with the next behaviour of its script, in the order of arrival.

    After the script it behaves as `always` says. Without that a further request is answered with 400, which
    clients do not retry.
    """

    def __init__(self, *script: Behaviour, always: Behaviour | None = None) -> None:
        self._pending = deque(script)
        self._always = always
        self._arrival = threading.Condition()
        self._received: list[ReceivedRequest] = []
        self._released = threading.Event()
        self._http: _Server | None = None

    def __enter__(self) -> Self:
        self._http = _Server(self)
        name = f"faulty-server:{self._http.server_port}"
        self._loop = threading.Thread(target=self._http.serve_forever, args=(POLL,), name=name, daemon=True)
        self._loop.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def base_url(self) -> str:
        """What a client takes as its base URL."""
        if self._http is None:
            raise RuntimeError("the server is not running: use it as `with FaultyServer(...) as server:`")
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    @property
    def requests(self) -> list[ReceivedRequest]:
        """The requests so far, oldest first."""
        with self._arrival:
            return list(self._received)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [request.body for request in self.requests]

    def script(self, *behaviours: Behaviour, always: Behaviour | None = None) -> None:
        """Replace what is left of the script; it starts with the next request."""
        with self._arrival:
            self._pending = deque(behaviours)
            self._always = always

    def release(self) -> None:
        """Let go of the requests that are being held, and hold no later one."""
        self._released.set()

    def wait_for(self, count: int, *, seconds: float = 10) -> None:
        """Return once so many requests have arrived; a test can then act while they are held."""
        with self._arrival:
            if not self._arrival.wait_for(lambda: len(self._received) >= count, seconds):
                raise TimeoutError(
                    f"{count} request(s) were expected within {seconds:g} s, {len(self._received)} arrived"
                )

    def close(self) -> None:
        """Stop at once: held requests are cut off, and no thread or socket is left."""
        http, self._http = self._http, None
        if http is not None:
            self.release()
            http.shutdown()
            self._loop.join()
            http.hang_up()
            http.server_close()

    def _behaviour(self, request: ReceivedRequest) -> tuple[int, Behaviour]:
        with self._arrival:
            self._received.append(request)
            number = len(self._received)
            self._arrival.notify_all()
            if self._pending:
                return number, self._pending.popleft()
            always = self._always
        message = f"request {number} finds the script at its end: add a behaviour, or set `always`"
        return number, always or status(400, message=message)


class _Server(ThreadingHTTPServer):
    # Joined in hang_up, after the connections are cut; http.server would wait for idle ones for ever.
    block_on_close = False
    request_queue_size = 128

    def __init__(self, owner: FaultyServer) -> None:
        self.owner = owner
        self._serving: list[tuple[socket.socket, threading.Thread]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self.process_request_thread,
            args=(request, client_address),
            name=f"faulty-server-request:{self.server_port}",
            daemon=True,
        )
        thread.start()
        # No thread takes itself off: hang_up would then not wait for one that is at its end but still alive.
        self._serving = [served for served in self._serving if served[1].is_alive()] + [(request, thread)]

    def hang_up(self) -> None:
        """Cut every connection and wait for its thread; only once no further connection is accepted."""
        for connection, _ in self._serving:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for _, thread in self._serving:
            thread.join()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left is what such tests are about; anything else is shown."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        raw = self.rfile.read(length)
        try:
            parsed = json.loads(raw) if raw else {}
        except ValueError:
            parsed = {}
        self.body: dict[str, Any] = parsed if isinstance(parsed, dict) else {}
        owner = self.server.owner
        self.released = owner._released
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.number, behave = owner._behaviour(ReceivedRequest(self.command, self.path, headers, self.body))
        behave(self)

    do_GET = do_POST

    def send(self, status: int, body: bytes, *, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def start_events(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def send_event(self, data: str) -> None:
        self._chunk(f"data: {data}\n\n".encode())

    def end_events(self) -> None:
        self._chunk(b"")

    def hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def log_message(self, format: str, *args: Any) -> None: ...
