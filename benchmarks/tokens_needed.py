"""Which values of a tool call's arguments the model must have found in earlier turns, and whether it was shown them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage

from benchmarks.tokens_sessions import Session

SHORTEST = 2
"""Characters of a value that can be told from what is there by chance."""


class Needed:
    """Counts, over the calls of a session, values that first appeared in turns that are left out by then.

    A value counts where it appeared earlier in the same recorded run: what other runs of the chained session hold,
    the recorded model has never seen. What stands in the policy or the tools' definitions is always shown, and is
    left out of the count.
    """

    def __init__(self, session: Session, fixed: str) -> None:
        self.session = session
        self.fixed = fixed
        self.count: Counter[str] = Counter()
        self.missed: list[str] = []

    def ask(self, number: int, shown: Sequence[BaseMessage]) -> None:
        """Message `number` is an answer with tool calls, and this is what the model was shown before it."""
        answer = self.session.messages[number]
        assert isinstance(answer, AIMessage)
        before = self.session.messages[:number]
        alive = {id(message) for message in shown}
        texts = [said(message) for message in shown]
        for call in answer.tool_calls:
            for value in leaves(call["args"]):
                self._ask(call["name"], value, before, alive, texts)

    def _ask(self, tool: str, value: str, before: Sequence[BaseMessage], alive: set[int], texts: list[str]) -> None:
        word = whole(value)
        if word.search(self.fixed):
            return
        where = [number for number, message in enumerate(before) if value in said(message)]
        where = [number for number in where if word.search(said(before[number]))]
        start = self.session.run_of(len(before))
        if not any(number >= start for number in where) or id(before[where[0]]) in alive:
            return
        kept = any(word.search(text) for text in texts)
        again = any(id(before[number]) in alive for number in where)
        self.count["needed"] += 1
        self.count["kept"] += kept
        self.count["needed, in no turn that is shown"] += not again
        self.count["kept, in no turn that is shown"] += kept and not again
        if not kept:
            self.missed.append(f"{tool} {value}: said {len(before) - where[-1]} messages before")


def leaves(value: Any) -> Iterator[str]:
    """The single values of arguments, as text; words that are only yes or no are none."""
    if isinstance(value, (dict, list)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from leaves(part)
    elif value is not None and not isinstance(value, bool) and len(str(value)) >= SHORTEST:
        yield str(value)


@lru_cache(maxsize=20_000)
def whole(value: str) -> re.Pattern[str]:
    """Finds a value where it stands by itself, not as a part of another."""
    return re.compile(rf"(?<![A-Za-z0-9]){re.escape(value)}(?![A-Za-z0-9])")


_SAID: dict[int, tuple[BaseMessage, str]] = {}


def said(message: BaseMessage) -> str:
    """All of a message that can hold a value."""
    known = _SAID.get(id(message))
    if known is None or known[0] is not message:
        calls = getattr(message, "tool_calls", None)
        args = json.dumps([call["args"] for call in calls], ensure_ascii=False) if calls else ""
        known = _SAID[id(message)] = (message, f"{message.text} {args}")
    return known[1]
