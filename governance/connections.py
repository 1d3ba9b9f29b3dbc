"""Raw connections and processes of a node's own code, seen by a Python audit hook.

What happens inside a model or tool call is that call's business and passed. Everything else a node
connects to must be named in its contract's `hosts`; observed nodes are only recorded. An audit hook
sees what CPython does: sockets of C libraries (libpq, uvloop, gRPC) pass it by, and
`docs/threat-model.md` says so.
"""

from __future__ import annotations

import socket
import sys
import threading
from typing import Any

from governance.call import NodeCall
from governance.current import current_call
from governance.errors import AuthorityRefused
from governance.likeness import like

LOOK_UPS = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"})
SOCKETS = LOOK_UPS | {"socket.connect", "socket.sendto", "socket.sendmsg", "socket.getnameinfo", "socket.bind"}
PROCESSES = frozenset(
    {
        "subprocess.Popen",
        "os.system",
        "os.exec",
        "os.posix_spawn",
        "os.spawn",
        "os.fork",
        "os.forkpty",
        "pty.spawn",
    }
)
WATCHED = SOCKETS | PROCESSES
CODE = ("running", "sending", "over")
"""States in which the author's code acts: the node, its routers, and what it left behind."""
_busy = threading.local()
_names: dict[str, set[str]] = {}
NAMES_KEPT = 4096


def install() -> None:
    """Add the hook (a process keeps it for life) and learn which name an address came from."""
    sys.addaudithook(_hook)
    resolve = socket.getaddrinfo

    @like(resolve)
    def learning(host: Any, *args: Any, **kwargs: Any) -> Any:
        found = resolve(host, *args, **kwargs)
        if current_call() is not None and isinstance(host, str):
            if len(_names) > NAMES_KEPT:
                _names.clear()
            for entry in found:
                _names.setdefault(str(entry[4][0]), set()).add(host.lower())
        return found

    socket.getaddrinfo = learning


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event not in WATCHED:
        return
    call = _watched_call()
    if call is None:
        return
    _busy.now = True  # recording must not be watched itself
    try:
        if event in PROCESSES:
            target = f"process {args[0]!r}"[:200] if args else f"process ({event})"
            _judge(event, target, call.contract.processes or "hosts" in call.contract.waives, call)
        else:
            names = _hosts(event, args)
            allowed = "hosts" in call.contract.waives or any(n in call.contract.hosts for n in names)
            _judge(event, names[0], allowed, call)
    finally:
        _busy.now = False


def judge_process(target: str) -> None:
    """A process that no audit event announces: refused like the others unless the contract allows processes."""
    call = _watched_call()
    if call is not None:
        _judge("process", target, call.contract.processes or "hosts" in call.contract.waives, call)


def _watched_call() -> NodeCall | None:
    call = current_call()
    if not isinstance(call, NodeCall) or call.state not in CODE or getattr(_busy, "now", False):
        return None
    return call


def _judge(event: str, target: str, allowed: bool, call: NodeCall) -> None:
    if allowed or not call.bound.enforced:
        _record(call, "connection.seen", target, event)
        return
    refusal = AuthorityRefused(
        f"{call.place} tried to reach {target} past the tools; its contract allows: "
        f"{', '.join(sorted(call.contract.hosts)) or 'no host'}",
        code="connection",
        target=target,
    )
    _record(call, "connection.refused", target, event)
    raise call.refuse(refusal)


def _hosts(event: str, args: tuple[Any, ...]) -> list[str]:
    """The names a connection may be known by, the plainest first."""
    if event in LOOK_UPS:
        return [_text(args[0])]
    address = args[0] if event == "socket.getnameinfo" else args[1]
    names = _address(address)
    if event != "socket.bind":
        return names
    port = address[1:2] if isinstance(address, tuple) else ()
    return [f"listen:{name}" for one in names for name in (":".join((one, *map(str, port))), one)]


def _address(address: Any) -> list[str]:
    if not isinstance(address, tuple):
        return [f"unix:{_text(address)}"]
    host = _text(address[0]) or "0.0.0.0"
    return [host, *sorted(_names.get(host, ()))]


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace").lower()
    return str(value).lower()


def _record(call: NodeCall, kind: str, target: str, event: str) -> None:
    body = {"target": target, "event": event, "execution": call.execution}
    call.governance.ledger.record(call.session.id, kind, path=call.path, actor=call.name, body=body)
