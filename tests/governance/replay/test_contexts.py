"""A session whose model was shown a part of its history is replayed: what it is shown follows from the history alone."""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import HumanMessage
from langgraph.graph.message import add_messages

from governance import Context, Contract, Refusal
from governance.testing.models import ScriptedChatModel
from tests.governance.context.conversations import orderly


class Chat(TypedDict):
    messages: Annotated[list[Any], add_messages]


def asking(answers: list[str]) -> Any:
    model = ScriptedChatModel(answers)
    return lambda state: {"messages": [model.invoke(state["messages"])]}


def test_a_long_session_is_equal_in_its_replay(stage: Any, one: Any) -> None:
    stage.contracts = {"n": Contract(context=Context(history=800))}
    turns = [{"messages": orderly(count)} for count in (3, 12, 20)]
    recording = stage.record(one(asking(["a", "b", "c"]), Chat), *turns)

    assert stage.replayed(one(asking([]), Chat), recording).equal


def test_a_prompt_that_could_not_fit_is_refused_again(stage: Any, one: Any) -> None:
    stage.contracts = {"n": Contract(context=Context(history=800))}
    with pytest.raises(Refusal):
        stage.record(one(asking(["a"]), Chat), {"messages": [HumanMessage("word " * 2_000)]})

    assert stage.replayed(one(asking([]), Chat), stage.recording()).equal
