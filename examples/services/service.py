"""What every service is: routes behind a threaded HTTP server, traced, logged and counted."""

from __future__ import annotations

import json
import socketserver
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from .telemetry import Telemetry, current_trace, parse_traceparent

Body = dict[str, Any]
Scalar = str | int


@dataclass(frozen=True)
class ServiceSpec:
    """Everything that a service process is started with."""

    name: str
    version: str
    config: Mapping[str, Scalar]
    port: int
    peers: Mapping[str, int]
    directory: Path

    def number(self, key: str) -> int:
        return int(self.config[key])


class Refused(Exception):
    """An answer other than 200 that the service gives on purpose."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True)
class Application:
    """One release of one service: its business endpoint and what `/health` asks."""

    path: str
    handle: Callable[[Body], Body]
    healthy: Callable[[], bool] = field(default=lambda: True)


class Downstream:
    """Calls to one other service, with the trace carried along and the waiting time counted."""

    def __init__(self, name: str, *, port: int, timeout_ms: int, telemetry: Telemetry) -> None:
        self._name = name
        self._port = port
        self._timeout = timeout_ms / 1000
        self._telemetry = telemetry

    def post(self, path: str, body: Body) -> Body:
        """Return the other service's answer, or refuse with 502 naming what went wrong there."""
        started = time.perf_counter()
        try:
            status, answer = self._exchange(path, body)
        except OSError as broken:
            kind = "timed out" if isinstance(broken, TimeoutError) else "is not reachable"
            raise Refused(502, f"{self._name} {kind}") from broken
        finally:
            self._telemetry.metrics.observe("downstream_duration_ms", (time.perf_counter() - started) * 1000)
        if status != 200:
            raise Refused(502, f"{self._name} answered {status}: {answer.get('error', '')}")
        return answer

    def _exchange(self, path: str, body: Body) -> tuple[int, Body]:
        trace = current_trace()
        headers = {"Content-Type": "application/json"}
        if trace is not None:
            headers["traceparent"] = trace.header()
        connection = HTTPConnection("127.0.0.1", self._port, timeout=self._timeout)
        try:
            connection.request("POST", path, json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()


class LoopbackServer(ThreadingHTTPServer):
    """A threaded server on loopback that finishes the requests it has when it closes."""

    daemon_threads = False
    request_queue_size = 256

    def server_bind(self) -> None:
        # HTTPServer.server_bind looks the host name up, which can take seconds on a machine without DNS.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that hung up is the caller's to report."""


def handler_for(spec: ServiceSpec, application: Application, telemetry: Telemetry) -> type[BaseHTTPRequestHandler]:
    """Build the request handler class of one service."""

    class Handler(BaseHTTPRequestHandler):
        wbufsize = 65536
        timeout = 10

        def do_GET(self) -> None:
            if self.path == "/health":
                healthy = application.healthy()
                self._answer(200 if healthy else 503, {"service": spec.name, "version": spec.version})
            elif self.path == "/metrics":
                self._send(200, "text/plain; version=0.0.4", telemetry.metrics.render().encode())
            else:
                self._answer(404, {"error": f"no such path: {self.path}"})

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            raw = self.rfile.read(length)
            if self.path != application.path:
                self._answer(404, {"error": f"no such path: {self.path}"})
                return
            started = time.perf_counter()
            status, answer = self._serve(raw)
            telemetry.metrics.observe("http_request_duration_ms", (time.perf_counter() - started) * 1000)
            telemetry.metrics.add("http_requests_total")
            if status >= 500:
                telemetry.metrics.add("http_request_errors_total")
            self._answer(status, answer)

        def _serve(self, raw: bytes) -> tuple[int, Body]:
            parent = parse_traceparent(self.headers.get("traceparent"))
            with telemetry.span(f"POST {application.path}", parent=parent) as span:
                status, answer = _outcome(application, telemetry, raw)
                span.status = "error" if status >= 500 else "ok"
                return status, answer

        def _answer(self, status: int, answer: Body) -> None:
            self._send(status, "application/json", json.dumps(answer).encode())

        def _send(self, status: int, kind: str, payload: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, format: str, *args: object) -> None:
            """Requests are logged by the service itself, as JSON lines."""

    return Handler


def _outcome(application: Application, telemetry: Telemetry, raw: bytes) -> tuple[int, Body]:
    try:
        answer = application.handle(json.loads(raw))
    except Refused as refused:
        level = "ERROR" if refused.status >= 500 else "WARN"
        telemetry.log(level, f"POST {application.path} -> {refused.status}: {refused.reason}")
        return refused.status, {"error": refused.reason}
    except Exception as error:
        telemetry.log("ERROR", f"unhandled {type(error).__name__}: {error}", error=error)
        return 500, {"error": f"{type(error).__name__}: {error}"}
    telemetry.log("INFO", f"POST {application.path} -> 200")
    return 200, answer
