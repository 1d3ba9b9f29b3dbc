"""Clients of model providers, as a governed call uses them: they end in time, and where we try again, they do not.

Their settings are seen through the call that asks, and never changed: the same client serves others meanwhile.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

from governance.call import ModelCall
from governance.current import current_call
from governance.plane.requests import time_left

CLIENTS = {"openai": ("OpenAI", "AsyncOpenAI"), "anthropic": ("Anthropic", "AsyncAnthropic")}
"""Clients that read `max_retries` and `timeout` of themselves at every request."""
PHASES = ("connect", "read", "write", "pool")
Seen = Callable[[ModelCall, Any], Any]


class Setting:
    """A setting of a client: its own value, or what a governed call makes of it while it asks."""

    def __init__(self, name: str, seen: Seen, kept: property | None) -> None:
        self.name = name
        self.seen = seen
        self.kept = kept
        """Where the class itself has a property of that name; else the client has a plain attribute."""

    def __get__(self, client: Any, kind: type | None = None) -> Any:
        if client is None:
            return self
        own = self.kept.__get__(client, kind) if self.kept is not None else self._plain(client)
        call = current_call()
        return self.seen(call, own) if isinstance(call, ModelCall) and call.node.bound.enforced else own

    def __set__(self, client: Any, value: Any) -> None:
        if self.kept is not None:
            self.kept.__set__(client, value)
        else:
            vars(client)[self.name] = value

    def _plain(self, client: Any) -> Any:
        try:
            return vars(client)[self.name]
        except KeyError:
            raise AttributeError(self.name) from None


def retries(call: ModelCall, own: Any) -> Any:
    """None where retries are governed: the client's would multiply with every layer above."""
    return own if call.governance.directory.of(call).rules.retries is None else 0


def timeout(call: ModelCall, own: Any) -> Any:
    """What is left of the time that the call has, where that is less."""
    left = time_left(call)
    return own if left is None else lowered(own, max(left, 0.001))


def options_of(call: ModelCall) -> Mapping[str, Any]:
    """The options of a call; where they say themselves how long its client may take, then no longer than it has."""
    own = call.options.get("timeout")
    return call.options if own is None else {**call.options, "timeout": timeout(call, own)}


def lowered(own: Any, left: float) -> Any:
    """A timeout in any form that clients take, nowhere longer than `left` seconds."""
    if own is None or (isinstance(own, (int, float)) and own > left):
        return left
    if isinstance(own, tuple):
        return tuple(lowered(one, left) for one in own)
    if all(hasattr(own, phase) for phase in PHASES):
        return type(own)(**{phase: lowered(getattr(own, phase), left) for phase in PHASES})
    return own


SETTINGS: dict[str, Seen] = {"max_retries": retries, "timeout": timeout}


def govern_clients(kind: type) -> None:
    """Called with the class of each model that is asked: by then the module of its client is loaded."""
    if kind in _MET:
        return
    for module, names in CLIENTS.items():
        for name in names:
            client = getattr(sys.modules.get(module), name, None)
            for setting, seen in SETTINGS.items() if client is not None else ():
                kept = inspect.getattr_static(client, setting, None)
                if not isinstance(kept, Setting):
                    setattr(client, setting, Setting(setting, seen, kept if isinstance(kept, property) else None))
    _MET.add(kind)


_MET: set[type] = set()
