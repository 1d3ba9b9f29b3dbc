"""Puts a prompt together that fits: the beginning that never changes, the summary, what was recalled, the last turns.

Where it does not fit, what matters least goes first: what was recalled, then the bulk of large results, then turns
from the oldest on, then the summary. The last turn is never left out: where it does not fit either, that is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage

from governance.context.history import History
from governance.context.shorten import shortened
from governance.context.turns import accepted, begun, system
from governance.errors import ContextExceeded
from governance.tokens import COUNTER


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is shown, and what was done to make it fit."""

    messages: list[Any]
    tokens: int
    mended: int = 0
    """Messages that no provider would have accepted as they were."""
    shortened: int = 0
    """Tool results of which only a part is shown."""
    skipped: int = 0
    """Turns that this one prompt has no room for."""


def beginning(messages: Sequence[Any]) -> int:
    """How many system messages a prompt begins with."""
    return next((number for number, one in enumerate(messages) if not isinstance(one, SystemMessage)), len(messages))


def prompt(history: History, most: int, whole: int | None, other: int, memories: Sequence[str] = ()) -> Prompt:
    """A prompt whose part after the system messages takes at most `most` tokens, and all of it at most `whole`.

    `other` are the tokens of all that is no message. `memories` are shown beside the summary, if there is room.
    """
    head = [system(message) for message in (*history.seen[: history.first], *history.systems)]
    before = other + _tokens(head)
    room = most if whole is None else min(most, whole - before)
    turns, mended = accepted(history.shown)
    summary = [history.left.summary] if history.left.summary is not None else []
    told = [HumanMessage("\n".join(memories))] if memories else []
    for memory, recalled in ((told, _placed(history, turns)), (told, {}), ([], {})):
        body = begun([*summary, *memory, *_with(turns, recalled)])
        if (tokens := _tokens(body)) <= room:
            return Prompt([*head, *body], before + tokens, mended)
    return _squeezed(head, summary, turns, room, before, mended)


def _tokens(messages: Sequence[Any]) -> int:
    return sum(map(COUNTER.message, messages))


def _placed(history: History, turns: Sequence[Any]) -> dict[int, list[Any]]:
    """What was recalled, by the message it stands before; at the beginning where that one was changed."""
    numbers = {id(message): number for number, message in enumerate(turns)}
    found: dict[int, list[Any]] = {}
    for one in history.recalled:
        found.setdefault(numbers.get(id(history.seen[one.at]), 0), []).append(one.message)
    return found


def _with(turns: Sequence[Any], recalled: dict[int, list[Any]]) -> list[Any]:
    if not recalled:
        return list(turns)
    return [one for number, turn in enumerate(turns) for one in (*recalled.get(number, ()), turn)]


def _squeezed(head: list[Any], summary: list[Any], turns: list[Any], room: int, before: int, mended: int) -> Prompt:
    """Large results are shortened, then the oldest turns go, then the summary."""
    skipped = 0
    last = _last(turns)
    while True:
        fitted, changed = shortened(begun([*summary, *turns[skipped:]]), room)
        tokens = _tokens(fitted)
        if tokens <= room:
            return Prompt([*head, *fitted], before + tokens, mended, changed, skipped)
        if skipped < last:
            skipped = _next(turns, skipped)
        elif summary:
            summary = []
        else:
            raise ContextExceeded(
                f"the last turn takes {tokens} tokens, and there is room for {max(0, room)}; raise the allowance of "
                "the node's context, or give it less at once",
                needed=tokens, room=room,
            )  # fmt: skip


def _last(turns: Sequence[Any]) -> int:
    """Where the last turn begins: a message with the results of its tool calls."""
    return max((number for number, one in enumerate(turns) if not isinstance(one, ToolMessage)), default=0)


def _next(turns: Sequence[Any], number: int) -> int:
    return next(n for n in range(number + 1, len(turns)) if not isinstance(turns[n], ToolMessage))
