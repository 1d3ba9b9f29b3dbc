"""A till that pays, moody models, and what the attacks on effects have in common."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.prebuilt import ToolNode
from langgraph.types import RetryPolicy

from governance import Contract, SideEffect, declares, operator
from tests.attacks.answers import CONFIG
from tests.fixtures import calling

MAY = {"*": Contract(tools=["pay", "look", "outer"])}
PATIENT = RetryPolicy(max_attempts=3, initial_interval=0, jitter=False, retry_on=ConnectionError)
EXTERNAL = SideEffect("external")


class Till:
    """A tool that pays, and what it paid; `during` is called while it is at work."""

    def __init__(self, does: SideEffect = EXTERNAL, during: Callable[[], Any] = lambda: None) -> None:
        self.paid: list[int] = []

        def pay(amount: int, order: str = "") -> str:
            """Pay."""
            self.paid.append(amount)
            during()
            return f"paid {amount}"

        async def apay(amount: int, order: str = "") -> str:
            said = await asyncio.to_thread(pay, amount)
            await asyncio.sleep(0)
            return said

        self.pay: BaseTool = declares(does)(StructuredTool.from_function(pay, coroutine=apay, name="pay"))


class Moody(GenericFakeChatModel):
    """Asks for another amount each time, in one piece or in two."""

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        (whole,) = self._generate(*args, **kwargs).generations[0].message.tool_calls
        for name, piece in ((whole["name"], json.dumps(whole["args"])[:5]), (None, json.dumps(whole["args"])[5:])):
            part = tool_call_chunk(name=name, args=piece, id=whole["id"] if name else None, index=0)
            yield ChatGenerationChunk(message=AIMessageChunk("", tool_call_chunks=[part]))


def moody() -> Moody:
    return Moody(messages=(calling(("pay", {"amount": n})) for n in itertools.count(1)))


def stumbling(times: int = 1) -> Callable[[], None]:
    left = iter(range(times))

    def stumble() -> None:
        if next(left, None) is not None:
            raise ConnectionError("weather")

    return stumble


def rewound(graph: Any, to: str, change: Any = None) -> Any:
    """Run on, by an operator, from where this node comes next; `change` is made to the state there."""
    earlier = next(one for one in reversed(list(graph.get_state_history(CONFIG))) if to in one.next).config
    with operator("ann", reason="to see it again"):
        if change is not None:
            earlier = graph.update_state(earlier, change)
        return graph.invoke(None, earlier)


def agent(till: Till, model: Any, look: BaseTool | None = None, then: Callable[[], None] = lambda: None) -> Any:
    """Nodes for a model and its tools in turn, as an agent's loop unrolled."""

    def said(state: Any) -> Any:
        answer = model.invoke(state["messages"] or "begin")
        then()
        return {"messages": [answer]}

    tools = ToolNode([till.pay, *([look] if look else [])], handle_tool_errors=False)
    options = {"retry_policy": PATIENT}
    return {name: (said, options) if name in "abc" else tools for name in "atbucv"}
