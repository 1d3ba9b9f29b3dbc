"""An error as plain data, and the error again: what replay raises in place of a call that failed."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from langgraph.errors import GraphBubbleUp

Raised = Mapping[str, Any]
"""`type` names its class; `text` is what it says, `args` and `state` are what it holds of plain values."""
PLAIN = (str, int, float, bool, type(None))


def told(error: BaseException) -> Raised:
    """The error as data: attributes that are no plain values are left out."""
    kind = type(error)
    state = {name: value for name, value in vars(error).items() if isinstance(value, PLAIN)}
    args = [one if isinstance(one, PLAIN) else str(one) for one in error.args]
    return {"type": f"{kind.__module__}:{kind.__qualname__}", "text": str(error), "args": args, "state": state}


def given_back(raised: Raised) -> Exception:
    """An error of the same class, where there is such a class here; else one of that name. It says the same."""
    error, text = _made(_kind(str(raised["type"]))), str(raised["text"])
    error.args = tuple(raised["args"])
    for name, value in raised["state"].items():
        try:
            setattr(error, name, value)
        except AttributeError:  # computed from what else it holds
            continue
    return error if _says(error) == text else _saying(error, text)


def _says(error: Exception) -> str | None:
    try:
        return str(error)
    except Exception:  # it says what was not recorded
        return None


def _saying(error: Exception, text: str) -> Exception:
    kind = type(error)
    error.__class__ = type(kind.__name__, (kind,), {**_named(kind), "__str__": lambda self: text})
    return error


def _named(kind: type) -> dict[str, Any]:
    return {"__module__": kind.__module__, "__qualname__": kind.__qualname__}


def asked(error: BaseException) -> list[dict[str, Any]] | None:
    """The questions to people that an interrupt carries; None for every other error."""
    if not isinstance(error, GraphBubbleUp) or not error.args or not isinstance(error.args[0], (tuple, list)):
        return None
    found = [one for one in error.args[0] if hasattr(one, "id") and hasattr(one, "value")]
    return [{"id": one.id, "value": one.value} for one in found] or None


def _made(kind: type[Exception]) -> Exception:
    """Without its own constructor, which may ask for what was not recorded; some classes have no other."""
    try:
        return kind.__new__(kind)
    except TypeError:
        base = next(one for one in kind.__mro__ if one.__module__ == "builtins" and issubclass(one, Exception))
        return _made(type(kind.__name__, (base,), _named(kind)))


def _kind(name: str) -> type[Exception]:
    module, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        found = None
    if isinstance(found, type) and issubclass(found, Exception):
        return found
    return type(path.rpartition(".")[2], (Exception,), {"__module__": module})
