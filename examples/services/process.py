"""One service process: reads its spec from standard input, serves until it is told to stop.

Standard input stays open as a lifeline: when the supervisor is gone, however it went, the service ends too.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path

from .catalogue import CATALOGUE
from .service import LoopbackServer, ServiceSpec, handler_for
from .telemetry import Telemetry

DRAIN_SECONDS = 1.5


def read_spec(line: bytes) -> ServiceSpec:
    """Read the spec that the supervisor wrote."""
    given = json.loads(line)
    return ServiceSpec(**{**given, "directory": Path(given["directory"])})


def serve(spec: ServiceSpec) -> None:
    """Serve until standard input ends or SIGTERM comes, then finish what is under way."""
    telemetry = Telemetry(spec.name, spec.version, spec.directory)
    application = CATALOGUE[spec.name].build(spec, telemetry)
    server = LoopbackServer(("127.0.0.1", spec.port), handler_for(spec, application, telemetry))
    threading.Thread(target=_watch_lifeline, args=(server,), daemon=True).start()
    telemetry.log("INFO", f"{spec.name} {spec.version} started")
    print(json.dumps({"port": server.server_port}), flush=True)
    server.serve_forever(poll_interval=0.05)
    server.server_close()


def _watch_lifeline(server: LoopbackServer) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    _force_exit_after(DRAIN_SECONDS)
    server.shutdown()


def _force_exit_after(seconds: float) -> None:
    timer = threading.Timer(seconds, os._exit, args=(0,))
    timer.daemon = True
    timer.start()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    spec = read_spec(sys.stdin.buffer.readline())
    serve(spec)


if __name__ == "__main__":
    main()
