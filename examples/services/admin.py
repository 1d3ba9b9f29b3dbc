"""The platform's admin API on loopback, so that another process can see and change the services."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler
from typing import Any

from .changes import Change, PlatformError
from .platform import Platform
from .service import LoopbackServer
from .worker import StartError

Verb = Callable[..., Change]


class Admin(LoopbackServer):
    """Serves `GET /services` and `POST /VERB`; `stopped` is set once somebody asked for the end."""

    def __init__(self, platform: Platform, *, port: int = 0) -> None:
        self.platform = platform
        self.stopped = threading.Event()
        self.verbs: Mapping[str, Verb] = {
            "/deploy": platform.deploy,
            "/rollback": platform.rollback,
            "/restart": platform.restart,
            "/config": platform.set_config,
            "/break": platform.break_,
        }
        try:
            super().__init__(("127.0.0.1", port), Handler)
        except OSError as taken:
            reason = f"port {port} is taken: stop what runs there, or choose another with --port"
            raise PlatformError(reason) from taken

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """One request of the admin API."""

    server: Admin
    wbufsize = 65536
    timeout = 30

    def do_GET(self) -> None:
        if self.path != "/services":
            self._answer(404, {"error": f"no such path: {self.path}"})
            return
        platform = self.server.platform
        self._answer(200, {name: asdict(platform.state(name)) for name in platform.services()})

    def do_POST(self) -> None:
        # A web page can post forms to loopback, but no JSON without asking first.
        if self.headers.get_content_type() != "application/json":
            self._answer(415, {"error": "send application/json"})
            return
        arguments = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        if self.path == "/stop":
            self._answer(200, {})
            self.server.stopped.set()
            return
        self._answer(*self._change(arguments))

    def _change(self, arguments: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        verb = self.server.verbs.get(self.path)
        if verb is None:
            return 404, {"error": f"no such path: {self.path}"}
        try:
            return 200, asdict(verb(**arguments))
        except (PlatformError, StartError, TypeError) as refused:
            return 400, {"error": str(refused)}

    def _answer(self, status: int, answer: Mapping[str, Any]) -> None:
        payload = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: object) -> None:
        """The platform keeps its own history."""


@contextmanager
def serve_admin(platform: Platform, *, port: int = 0) -> Iterator[Admin]:
    """Serve the admin API of a running platform in a thread while the context lasts."""
    admin = Admin(platform, port=port)
    thread = threading.Thread(target=admin.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield admin
    finally:
        admin.shutdown()
        admin.server_close()
        thread.join()
