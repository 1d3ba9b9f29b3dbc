"""What an error of a dependency says: whether it is weather that passes, and when to come back.

Told by what errors carry (a status, a response, a class of the standard library or of httpx), not by
naming every client there is. What says nothing of itself is taken for a mistake, which another try repeats.
"""

from __future__ import annotations

import email.utils
import time
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC
from typing import Any

from governance.errors import GovernanceError

TRANSIENT = frozenset({408, 425, 429})
LASTING = frozenset({501, 505})
LATE = frozenset({"APITimeoutError", "Timeout", "TimeoutException"})
NAMES = frozenset({"APIConnectionError", "ConnectionError", "TransportError"})
"""Classes of clients that have no status and derive from nothing common; `requests` and the model clients."""


def weather(error: BaseException, named: Collection[str] = ()) -> str | None:
    """The kind of trouble of a dependency that may pass by itself: what a retry may mend, and a breaker counts.

    None for everything else: a mistake of the caller, a decision of governance, or an error that says nothing.
    """
    if isinstance(error, GovernanceError) or not isinstance(error, Exception):
        return None
    if isinstance(error, ExceptionGroup):
        kinds = [weather(one, named) for one in error.exceptions]
        return kinds[0] if all(kinds) else None
    if named and any(name in named for name in _names(error)):
        return "named"
    status = status_of(error)
    if status is not None:
        return _by_status(status)
    known = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, TimeoutError) or not LATE.isdisjoint(known):
        return "timeout"
    if isinstance(error, ConnectionError) or not NAMES.isdisjoint(known):
        return "connection"
    return None


def answered(error: BaseException) -> bool:
    """Whether the dependency works, as it could say what is wrong with the request."""
    status = status_of(error)
    return status is not None and _by_status(status) is None


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error carries, wherever its client puts it."""
    for holder in (error, _held(error, "response")):
        for name in ("status_code", "status", "code"):
            value = _held(holder, name)
            if type(value) is int and 100 <= value < 600:
                return value
    return None


def retry_after(error: BaseException) -> float | None:
    """Seconds after which the dependency wants to be asked again, where it said so."""
    if isinstance(error, BaseExceptionGroup):
        return max((after for one in error.exceptions if (after := retry_after(one)) is not None), default=None)
    headers = _held(_held(error, "response"), "headers") or _held(error, "headers")
    if not hasattr(headers, "get"):
        return None
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        text = _header(headers, name)
        try:
            seconds = float(text) / unit if text is not None else None
        except ValueError:
            seconds = _until(text)
        if seconds is not None and 0 <= seconds < float("inf"):
            return seconds
    return None


def _held(holder: Any, name: str) -> Any:
    """An attribute of an error, which is anybody's code: one that cannot be read says nothing."""
    try:
        return getattr(holder, name, None)
    except Exception:
        return None


def _by_status(status: int) -> str | None:
    if status == 429:
        return "rate-limited"
    if status in TRANSIENT or (status >= 500 and status not in LASTING):
        return "server"
    return None


def _names(error: BaseException) -> Iterator[str]:
    for kind in type(error).__mro__:
        yield kind.__name__
        yield f"{kind.__module__}.{kind.__qualname__}"


def _header(headers: Any, name: str) -> str | None:
    found = headers.get(name)
    if found is None and isinstance(headers, Mapping):  # a plain dict does not know that case says nothing
        found = next((value for key, value in headers.items() if str(key).lower() == name), None)
    return None if found is None else str(found)


def _until(text: str | None) -> float | None:
    """Seconds until a date of HTTP."""
    try:
        date = email.utils.parsedate_to_datetime(text or "")
        return max(0.0, date.replace(tzinfo=date.tzinfo or UTC).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None
