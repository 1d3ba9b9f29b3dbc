"""The scripted chat model, used as any chat model is."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.tools import tool

from governance.testing.errors import ScriptExhausted
from governance.testing.models import ScriptedChatModel

CALL = {"name": "look_up", "args": {"order": 7}, "id": "c1", "type": "tool_call"}


@tool
def look_up(order: int) -> str:
    """Find an order."""
    return f"order {order}"


def test_texts_and_messages_are_answered_in_order() -> None:
    """One step of the script for each call."""
    model = ScriptedChatModel(["first", AIMessage("", tool_calls=[CALL])])

    assert "first" == model.invoke("a").content
    assert [CALL] == model.invoke("b").tool_calls


def test_an_exception_in_the_script_is_raised_and_the_script_goes_on() -> None:
    """An outage, then an answer."""
    model = ScriptedChatModel([TimeoutError("too slow"), "recovered"])
    with pytest.raises(TimeoutError, match="too slow"):
        model.invoke("a")

    assert "recovered" == model.invoke("a").content


def test_a_function_answers_from_the_messages() -> None:
    """The script can depend on what was asked."""
    model = ScriptedChatModel([lambda messages: f"you said {messages[-1].content}"])

    assert "you said hello" == model.invoke("hello").content


def test_an_exhausted_script_says_which_call_it_was() -> None:
    """The message gives the number of the call, the length of the script and the question."""
    model = ScriptedChatModel(["only"])
    model.invoke("a")
    with pytest.raises(ScriptExhausted, match=r"call 2 .* script of 1 answer.* 'one more'"):
        model.invoke("one more")


def test_an_answer_of_a_wrong_type_is_named() -> None:
    """A number is no answer."""
    with pytest.raises(TypeError, match=r"answer 1 .* is a int"):
        ScriptedChatModel([3]).invoke("a")


def test_calls_are_recorded_with_tools_and_options() -> None:
    """A test can ask what the model was shown."""
    model = ScriptedChatModel(["a", "b"])
    model.bind_tools([look_up], tool_choice="any").invoke("find it", stop=["."])
    [call] = model.calls

    assert [HumanMessage("find it")] == call.messages
    assert ["look_up"] == [shown["function"]["name"] for shown in call.tools]
    assert {"tool_choice": "any", "stop": ["."]} == call.options


def test_a_stream_adds_up_to_the_message() -> None:
    """Text, tool calls and usage are the same whether streamed or not."""
    answer = AIMessage("let me look", tool_calls=[CALL])
    whole = ScriptedChatModel([answer]).invoke("a")
    chunks = list(ScriptedChatModel([answer]).stream("a"))
    total = AIMessageChunk("")
    for chunk in chunks:
        total += chunk

    assert (whole.content, whole.tool_calls, whole.usage_metadata) == (
        total.content,
        total.tool_calls,
        total.usage_metadata,
    )
    assert ["let ", "me ", "look"] == [chunk.content for chunk in chunks if chunk.content]


@pytest.mark.asyncio
async def test_async_calls_and_streams_use_the_same_script() -> None:
    """There is one script, whichever way the model is called."""
    model = ScriptedChatModel(["one", "two", "three"])
    answers = [(await model.ainvoke("a")).content]
    answers.append("".join([chunk.content async for chunk in model.astream("b")]))
    answers.append(model.invoke("c").content)

    assert ["one", "two", "three"] == answers


def test_every_answer_is_given_once_under_threads() -> None:
    """The script and the record are shared safely."""
    script = [str(number) for number in range(200)]
    model = ScriptedChatModel(script)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: model.invoke("same").content, script))

    assert sorted(script) == sorted(answers)
    assert 200 == len(model.calls)


def test_usage_is_counted_unless_the_script_gives_it() -> None:
    """Budgets see a cost; a script can set its own."""
    given = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    model = ScriptedChatModel(["some words here", AIMessage("x", usage_metadata=given)])
    counted, own = model.invoke("a"), model.invoke("b")

    assert counted.usage_metadata["total_tokens"] > 0
    assert given == own.usage_metadata


def test_the_script_is_not_changed_by_being_played() -> None:
    """The same message can be an answer in many tests."""
    answer = AIMessage("constant")
    model = ScriptedChatModel([answer, answer])
    asyncio.run(model.ainvoke("a"))

    assert (None, None) == (answer.usage_metadata, answer.id)
