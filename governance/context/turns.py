"""Makes a list of messages that every provider accepts, out of whatever a history holds.

Providers refuse a tool's result whose call is not right before it, a call without a result, a call's id that is used
twice, a message that says nothing, and system messages in between. A history may have any of these: somebody trimmed
it, a run was cut off between a call and its result, results came late. Well-formed messages stay the very objects
they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage

from governance.context.notes import calls_of
from governance.tokens import CALLS

NOTHING = "(empty)"
"""Stands for content that says nothing."""
BEGINNING = "(The conversation begins.)"
"""Goes before an answer that nobody asked for: the first word is the user's."""
NO_RESULT = "No result of this call is known."


@dataclass(slots=True)
class Turn:
    """A message, and the results of its tool calls in the order they came."""

    head: Any
    calls: list[Any] = field(default_factory=list)
    results: list[tuple[int, Any]] = field(default_factory=list)
    """Each with the number of its call."""

    def takes(self, result: Any) -> bool:
        """Whether this is the result of one of its calls that has none yet."""
        answered = {number for number, _ in self.results}
        for number, call in enumerate(self.calls):
            if call["id"] == result.tool_call_id and number not in answered:
                self.results.append((number, result))
                return True
        return False


def accepted(messages: Sequence[Any]) -> tuple[list[Any], int]:
    """The messages in a form that is accepted, and how many had to be changed, added or left out for it."""
    turns, mended = list[Turn](), 0
    for message in messages:
        if isinstance(message, ToolMessage):
            # The newest call of that id: ids come again in models that count their calls anew each time.
            mended += not any(turn.takes(message) for turn in reversed(turns))
        elif isinstance(message, BaseMessage) and not isinstance(message, SystemMessage):
            head = _head(message)
            if head is not None:
                turns.append(Turn(head, calls_of(head)))
            mended += head is not message
    found, used = list[Any](), set[str]()
    for turn in turns:
        mended += _tell(turn, found, used)
    mended += _moved(messages, found)
    return found, mended


def begun(messages: list[Any]) -> list[Any]:
    """With a word of the user's first, where an answer would be."""
    return [HumanMessage(BEGINNING), *messages] if messages and isinstance(messages[0], AIMessage) else messages


def system(message: Any) -> Any:
    """A system message that says something."""
    return _filled(message)


def _head(message: Any) -> Any:
    """A message of a kind that every provider knows; None where there is nothing of that kind to be made of it."""
    if isinstance(message, AIMessage):
        return _filled(_without_invalid(message))
    if isinstance(message, HumanMessage):
        return _filled(message)
    if isinstance(message, ChatMessage):
        kind = AIMessage if message.role == "assistant" else HumanMessage
        return _filled(kind(message.content))
    return None  # orders to a reducer, results of functions as they were before there were tools


def _without_invalid(message: AIMessage) -> AIMessage:
    """Calls whose arguments could not be read go: nobody answers them, and no provider takes them without an answer."""
    raw = message.additional_kwargs.get("tool_calls") or message.additional_kwargs.get("function_call")
    if not message.invalid_tool_calls and not (raw and not message.tool_calls):
        return message
    known = {call["id"] for call in message.tool_calls}
    kwargs = {k: v for k, v in message.additional_kwargs.items() if k not in ("tool_calls", "function_call")}
    content = message.content
    if isinstance(content, list):
        content = [part for part in content if not _is_call(part) or _id_of(part) in known]
    return message.model_copy(update={"invalid_tool_calls": [], "additional_kwargs": kwargs, "content": content})


def _filled(message: Any) -> Any:
    """With something in it, and without parts that are blank."""
    content = message.content
    if isinstance(content, str):
        if content.strip() or calls_of(message):
            return message
        return message.model_copy(update={"content": NOTHING})
    parts = [part for part in content if not _is_blank(part)]
    if not parts and not calls_of(message):
        return message.model_copy(update={"content": NOTHING})
    return message if len(parts) == len(content) else message.model_copy(update={"content": parts})


def _is_blank(part: Any) -> bool:
    if isinstance(part, str):
        return not part.strip()
    return not isinstance(part, Mapping) or (part.get("type") == "text" and not str(part.get("text") or "").strip())


def _tell(turn: Turn, found: list[Any], used: set[str]) -> int:
    """Append a turn: its message, then a result for each call; how much had to be mended."""
    ids = [_unused(call["id"], number, used) for number, call in enumerate(turn.calls)]
    renamed = [call["id"] != new for call, new in zip(turn.calls, ids, strict=True)]
    found.append(_renamed(turn.head, ids) if any(renamed) else turn.head)
    for number, result in turn.results:
        update = {"tool_call_id": ids[number]} if renamed[number] else {}
        filled = _filled(result)
        found.append(filled.model_copy(update=update) if update else filled)
    missing = [number for number in range(len(ids)) if number not in {one for one, _ in turn.results}]
    for number in missing:
        found.append(ToolMessage(NO_RESULT, tool_call_id=ids[number], name=turn.calls[number]["name"], status="error"))
    return renamed.count(True) + len(missing)


def _unused(call_id: str | None, number: int, used: set[str]) -> str:
    """The id, or one that is not in use yet."""
    found, again = call_id or f"call_{number}", 1
    while found in used:
        again += 1
        found = f"{call_id or f'call_{number}'}-{again}"
    used.add(found)
    return found


def _renamed(message: AIMessage, ids: Sequence[str]) -> AIMessage:
    """An answer whose calls have other ids, in its content too, where some providers say them again."""
    calls = [{**call, "id": new} for call, new in zip(message.tool_calls, ids, strict=True)]
    content = message.content
    if isinstance(content, list):
        left = [(call["id"], new) for call, new in zip(message.tool_calls, ids, strict=True)]
        content = [_renamed_part(part, left) for part in content]
    return message.model_copy(update={"tool_calls": calls, "content": content})


def _renamed_part(part: Any, left: list[tuple[str | None, str]]) -> Any:
    if not _is_call(part):
        return part
    for pair in left:
        if pair[0] == _id_of(part):
            left.remove(pair)
            return {**part, ("call_id" if "call_id" in part else "id"): pair[1]}
    return part


def _is_call(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") in CALLS


def _id_of(part: Any) -> Any:
    return part.get("call_id") or part.get("id")


def _moved(messages: Sequence[Any], found: Sequence[Any]) -> int:
    """Results that had to be put behind their calls."""
    order = {id(message): number for number, message in enumerate(messages)}
    kept = [order[id(message)] for message in found if id(message) in order]
    return sum(later < earlier for earlier, later in pairwise(kept))
