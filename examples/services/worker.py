"""The supervisor's side of one service process: start, wait until it serves, stop."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path

from .service import ServiceSpec

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 10.0
STOP_SECONDS = 3.0


class StartError(RuntimeError):
    """A service process ended, or said nothing, before it served."""


class Worker:
    """A running service process that cannot outlive its supervisor."""

    def __init__(self, spec: ServiceSpec, process: subprocess.Popen[bytes]) -> None:
        self.spec = spec
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    def running(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        """Let the process finish what it has; kill it if it does not."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def launch(spec: ServiceSpec) -> Worker:
    """Start the process of a spec and return once it listens, with the port it got."""
    errors = spec.directory / f"{spec.name}.stderr"
    with errors.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "examples.services.process"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sink,
        )
    worker = Worker(spec, process)
    try:
        worker.spec = replace(spec, port=_handshake(spec, process, errors))
    except BaseException:
        process.kill()
        worker.stop()
        raise
    return worker


def _handshake(spec: ServiceSpec, process: subprocess.Popen[bytes], errors: Path) -> int:
    if process.stdin is None or process.stdout is None:
        raise StartError(f"{spec.name} {spec.version} has no pipes")
    process.stdin.write(json.dumps({**asdict(spec), "directory": str(spec.directory)}).encode() + b"\n")
    process.stdin.flush()
    giving_up = threading.Timer(START_SECONDS, process.kill)
    giving_up.start()
    try:
        line = process.stdout.readline()
    finally:
        giving_up.cancel()
        process.stdout.close()
    if not line:
        last = errors.read_text(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise StartError(f"{spec.name} {spec.version} did not start: {last[0]}")
    return int(json.loads(line)["port"])
