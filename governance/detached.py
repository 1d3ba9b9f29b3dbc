"""Copies of updates: what is judged is what is written, whatever the node's code still has a hold of.

Containers are copied one level deep, like those a node is given; what is inside of them, and objects
like messages, stay the node's own.
"""

from __future__ import annotations

import copy
import dataclasses
from collections import deque
from typing import Any

from langgraph.types import Command, Overwrite, Send
from pydantic import BaseModel

CONTAINERS = frozenset({list, dict, set})
MUTABLE = (list, dict, set, deque, bytearray)


def detached(update: Any) -> Any:
    """The same update, in any form LangGraph takes, as a copy that shares no container with it."""
    if isinstance(update, Command):
        return dataclasses.replace(update, update=detached(update.update), goto=detached(update.goto))
    if isinstance(update, Send):
        sent = copy.copy(update)
        sent.arg = container(sent.arg)
        return sent
    if type(update) in (list, tuple):
        return type(update)([detached(one) if isinstance(one, PARTS) else container(one) for one in update])
    if isinstance(update, dict):
        copied = copy.copy(update)
        for key in copied:
            copied[key] = container(copied[key])
        return copied
    if isinstance(update, BaseModel) or (dataclasses.is_dataclass(update) and not isinstance(update, type)):
        clone = copy.copy(update)
        values = getattr(clone, "__dict__", {})
        for key in values:
            values[key] = container(values[key])
        return clone
    return container(update)


PARTS = (Command, Send, dict, tuple)
"""What a list of updates is made of, and the pairs of a `Command`."""


def container(value: Any) -> Any:
    """A copy of a container, one level deep; anything else as it is."""
    if isinstance(value, Overwrite):
        return dataclasses.replace(value, value=container(value.value))
    return copy.copy(value) if isinstance(value, MUTABLE) else value
