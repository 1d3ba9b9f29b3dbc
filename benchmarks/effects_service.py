"""A service that moves money, as a process of its own: what it was asked and what it did stands in its own books.

It is not idempotent: asked twice, it does it twice. It says on its standard output where each request
is (`received`, `done`, `answered`), so that whoever wants to kill its caller knows when.
"""

from __future__ import annotations

import http.client
import json
import random
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, urlsplit

HOLD = 0.03
"""Seconds, at most, that a request is held before it is carried out, and again before it is answered."""
SCHEMA = """
CREATE TABLE calls(at REAL, ref TEXT, pid INTEGER);
CREATE TABLE done(at REAL, ref TEXT, amount INTEGER, receipt TEXT PRIMARY KEY);
CREATE INDEX done_by_ref ON done(ref);
"""


class Entry(NamedTuple):
    """One effect that the service carried out."""

    ref: str
    amount: int
    receipt: str


class Service(ThreadingHTTPServer):
    """Writes down every request, carries it out, and answers with a receipt that nobody else could make up."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, books: Path) -> None:
        super().__init__(("127.0.0.1", 0), Desk)
        self._db = sqlite3.connect(books, check_same_thread=False, isolation_level=None)
        self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;" + SCHEMA)
        self._lock = threading.Lock()

    def carry_out(self, ref: str, amount: int, pid: int) -> Entry:
        with self._lock:
            self._db.execute("INSERT INTO calls VALUES(?,?,?)", (time.time(), ref, pid))
        self.tell("received", pid)
        time.sleep(random.uniform(0, HOLD))
        entry = Entry(ref, amount, uuid.uuid4().hex)
        with self._lock:
            self._db.execute("INSERT INTO done VALUES(?,?,?,?)", (time.time(), *entry))
        self.tell("done", pid)
        time.sleep(random.uniform(0, HOLD))
        return entry

    def found(self, ref: str) -> list[Entry]:
        with self._lock:
            return [
                Entry(*row)
                for row in self._db.execute("SELECT ref, amount, receipt FROM done WHERE ref=? ORDER BY at", (ref,))
            ]

    def tell(self, what: str, pid: int) -> None:
        with self._lock:
            sys.stdout.write(f"{what} {pid}\n")
            sys.stdout.flush()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that was killed reads no answer; that is what this service is for."""


class Desk(BaseHTTPRequestHandler):
    """One request of the service."""

    server: Service

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        entry = self.server.carry_out(asked["ref"], asked["amount"], asked["pid"])
        self._answer(entry._asdict())
        self.server.tell("answered", asked["pid"])

    def do_GET(self) -> None:
        (ref,) = parse_qs(urlsplit(self.path).query)["ref"]
        self._answer([entry._asdict() for entry in self.server.found(ref)])

    def _answer(self, said: Any) -> None:
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Its books are its log."""


def order(port: int, ref: str, amount: int, pid: int) -> Entry:
    """Ask the service to do something."""
    return Entry(**_ask(port, "POST", "/", json.dumps({"ref": ref, "amount": amount, "pid": pid})))


def look_up(port: int, ref: str) -> list[Entry]:
    """What the service did under a reference."""
    return [Entry(**one) for one in _ask(port, "GET", f"/?ref={quote(ref, safe='')}")]


def _ask(port: int, method: str, path: str, body: str | None = None) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


@contextmanager
def at_work(books: Path, heard: Callable[[str, int], None]) -> Iterator[int]:
    """Run the service; its port. `heard` is told where each request is, with the process that sent it."""
    command = [sys.executable, "-m", "benchmarks.effects_service", str(books)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port = int(process.stdout.readline())
    reader = threading.Thread(target=_listen, args=(process.stdout, heard), daemon=True)
    reader.start()
    try:
        yield port
    finally:
        process.terminate()
        process.wait()
        reader.join()


def _listen(lines: Iterator[str], heard: Callable[[str, int], None]) -> None:
    for line in lines:
        what, pid = line.split()
        heard(what, int(pid))


def entries(books: Path) -> list[Entry]:
    """Everything the service carried out."""
    return [Entry(*row) for row in _read(books, "SELECT ref, amount, receipt FROM done ORDER BY at")]


def calls(books: Path) -> list[str]:
    """The reference of every request that the service received."""
    return [ref for (ref,) in _read(books, "SELECT ref FROM calls ORDER BY at")]


def _read(books: Path, query: str) -> list[Any]:
    db = sqlite3.connect(books)
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()


if __name__ == "__main__":
    service = Service(Path(sys.argv[1]))
    print(service.server_port, flush=True)
    service.serve_forever()
