"""No replay reaches the world: connections and processes of what it runs are refused, and named.

An audit hook stays for the life of a process, so there is one, and it does nothing while nobody replays.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any

from governance.call import NodeCall
from governance.connections import WATCHED
from governance.current import current_call
from governance.errors import ReplayDiverged
from governance.replay.governed import Replaying
from governance.replay.watch import Watch

_lock = threading.Lock()
_busy = threading.local()
_installed = False
_running = 0


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Refuse, while this lasts, what code of a replay opens."""
    global _installed, _running
    with _lock:
        if not _installed:
            sys.addaudithook(_hook)
            _installed = True
        _running += 1
    try:
        yield
    finally:
        with _lock:
            _running -= 1


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if not _running or event not in WATCHED or getattr(_busy, "now", False):
        return
    call = current_call()
    if call is None or not isinstance(call.governance, Replaying):
        return
    _busy.now = True  # whatever saying so needs
    try:
        raise refused(call.governance.watch, call.node, event, args)
    finally:
        _busy.now = False


def refused(watch: Watch, call: NodeCall, event: str, args: tuple[Any, ...]) -> ReplayDiverged:
    target = " ".join(str(one)[:80] for one in args if isinstance(one, (str, bytes, int, tuple, list)))
    return watch.connected(call, f"{event} {target}".strip())
