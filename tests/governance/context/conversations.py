"""Histories of every kind, and what providers refuse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

IDS = st.sampled_from(["a", "b", "c", "d", "0"])
TEXTS = st.sampled_from(
    ["", " ", "\n", "yes", "Order W77 of 2024-05-01, please.", "word " * 30, '{"id": "W1", "n": [1, {}]}']
)
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
PARTS = st.lists(
    st.sampled_from([{"type": "text", "text": ""}, {"type": "text", "text": "look"}, PICTURE, "", "plain"]), max_size=3
)


def called(call_id: str | None, name: str = "look_up", **args: Any) -> dict[str, Any]:
    return {"name": name, "args": args or {"order": "W77"}, "id": call_id, "type": "tool_call"}


def broken(call_id: str) -> dict[str, Any]:
    return {"name": "look_up", "args": "{", "id": call_id, "error": "no JSON", "type": "invalid_tool_call"}


def answer(text: Any, ids: Sequence[str | None], wrong: Sequence[str]) -> AIMessage:
    return AIMessage(text, tool_calls=[called(one) for one in ids], invalid_tool_calls=[broken(one) for one in wrong])


MESSAGES: st.SearchStrategy[BaseMessage] = st.one_of(
    st.builds(HumanMessage, TEXTS | PARTS),
    st.builds(answer, TEXTS | PARTS, st.lists(IDS | st.none(), max_size=3), st.just(())),
    st.builds(answer, TEXTS, st.lists(IDS, max_size=1), st.lists(IDS, max_size=1)),
    st.builds(lambda text, call_id: ToolMessage(text, tool_call_id=call_id, name="look_up"), TEXTS, IDS),
    st.builds(lambda call_id: ToolMessage("x" * 4000, tool_call_id=call_id), IDS),
    st.builds(SystemMessage, TEXTS),
    st.builds(lambda text: FunctionMessage(text, name="f"), TEXTS),
    st.builds(lambda text: ChatMessage(text, role="assistant"), TEXTS),
    st.just(RemoveMessage(id="1")),
)
HISTORIES = st.lists(MESSAGES, min_size=1, max_size=40)


def orderly(turns: int, *, results: int = 1) -> list[BaseMessage]:
    """A history as a well-behaved agent makes it: a question, calls with their results, an answer."""
    found = list[BaseMessage]()
    for number in range(turns):
        ids = [f"call-{number}-{n}" for n in range(results)]
        found.append(HumanMessage(f"What about order W{1000 + number}, which came on 2024-03-{number % 28 + 1:02}?"))
        found.append(AIMessage("", tool_calls=[called(one, order=f"W{1000 + number}") for one in ids]))
        state = f'{{"order": "W{1000 + number}", "payment_id": "card_{7_000_000 + number}", "state": "sent"}}'
        found += [ToolMessage(state, tool_call_id=one, name="look_up") for one in ids]
        found.append(AIMessage(f"Order W{1000 + number} has been sent. " + "It is on its way to you. " * 4))
    return found


def refused(messages: Sequence[Any]) -> list[str]:
    """What a provider would not accept, told in words; nothing of the code under test is used for it."""
    problems, open_calls, used = list[str](), list[str](), set[str]()
    spoken = [one for one in messages if not isinstance(one, SystemMessage)]
    if list(messages[: len(messages) - len(spoken)]) != [one for one in messages if isinstance(one, SystemMessage)]:
        problems.append("a system message in between")
    for message in messages:
        problems += [f"a {message.type} message that says nothing"] if _says_nothing(message) else []
        if isinstance(message, ToolMessage):
            if message.tool_call_id not in open_calls:
                problems.append(f"a result without its call: {message.tool_call_id}")
            else:
                open_calls.remove(message.tool_call_id)
            continue
        problems += [f"a call without its result: {call_id}" for call_id in open_calls]
        calls = getattr(message, "tool_calls", None) or []
        open_calls = [str(call["id"]) for call in calls]
        problems += [f"the id {one} twice" for one in open_calls if one in used or open_calls.count(one) > 1]
        problems += [f"a call without an id: {call}" for call in calls if not call["id"]]
        used.update(open_calls)
        if getattr(message, "invalid_tool_calls", None):
            problems.append("a call that cannot be read")
        if not isinstance(message, (HumanMessage, AIMessage, SystemMessage)):
            problems.append(f"a message of a kind that no provider knows: {message.type}")
    problems += [f"a call without its result: {call_id}" for call_id in open_calls]
    if spoken and not isinstance(spoken[0], HumanMessage):
        problems.append("the first word is not the user's")
    return problems


def _says_nothing(message: Any) -> bool:
    if getattr(message, "tool_calls", None):
        return False
    if isinstance(message.content, str):
        return not message.content.strip()
    blank = [not str(part.get("text", "x") if isinstance(part, dict) else part).strip() for part in message.content]
    return not message.content or any(blank)
