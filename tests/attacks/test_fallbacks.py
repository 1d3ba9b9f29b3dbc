"""Another model, the last answer or a plain refusal is bound like the model it stands in for, and paid for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from governance import Cached, Contract, Plain, Sidecar
from governance.current import current_call
from governance.errors import AuthorityRefused, BudgetExceeded, CircuitOpen, Refusal
from governance.testing.models import ScriptedChatModel
from tests.fixtures import calling

AWAY = ConnectionError("nobody there")


def away(name: str = "first", times: int = 50) -> ScriptedChatModel:
    return ScriptedChatModel([AWAY] * times, model_name=name)


def says(word: str = "second", *words: str, times: int = 50) -> ScriptedChatModel:
    return ScriptedChatModel([*words, *[word] * times], model_name="second")


def asking(model: Any, how: str) -> Any:
    """A node that asks a model in one of the ways there are."""

    def node(state: Any) -> Any:
        if how == "invoke":
            return {"out": str(model.invoke("hello").content)}
        if how == "batch":
            return {"out": "".join(str(one.content) for one in model.batch(["hello"]))}
        return {"out": "".join(str(piece.content) for piece in model.stream("hello"))}

    async def anode(state: Any) -> Any:
        if how == "ainvoke":
            return {"out": str((await model.ainvoke("hello")).content)}
        return {"out": "".join([str(piece.content) async for piece in model.astream("hello")])}

    return anode if how.startswith("a") else node


WAYS = ("invoke", "batch", "stream", "ainvoke", "astream")


def run(graph: Any, how: str = "invoke", config: Any = None) -> Any:
    return asyncio.run(graph.ainvoke({"out": ""}, config)) if how.startswith("a") else graph.invoke({"out": ""}, config)


@pytest.mark.parametrize("how", WAYS)
def test_another_model_answers(how: str, put: Any, rows: Any) -> None:
    other = says()
    graph = put(asking(away(), how), Contract(fallbacks={"first": other}))

    assert "second" == run(graph, how)["out"]
    assert [("first", "second", "ConnectionError")] == [
        (row.body["from"], row.body["to"], row.body["reason"]) for row in rows("fallback.used")
    ]
    assert 1 == len(other.calls)


@pytest.mark.parametrize("how", WAYS)
def test_a_plain_refusal_is_an_answer_like_any(how: str, put: Any) -> None:
    graph = put(asking(away(), how), Contract(fallbacks={"first": [away("other"), Plain("not now")]}))

    assert "not now" == run(graph, how)["out"]


@pytest.mark.parametrize("how", WAYS)
def test_the_last_answer_is_given_again(how: str, put: Any, thread: Any) -> None:
    first = ScriptedChatModel(["hi", AWAY, AWAY], model_name="first")
    graph = put(asking(first, how), Contract(fallbacks={"first": Cached(60)}))

    assert ["hi", "hi"] == [run(graph, how, thread)["out"] for _ in range(2)]


def test_the_other_model_is_given_what_the_first_was(put: Any, till: Any) -> None:
    other = says()
    bound = away().bind_tools([till.lookup])
    put(lambda state: {"out": str(bound.invoke("hello").content)}, Contract(fallbacks={"first": other})).invoke({})
    (seen,) = other.calls

    assert (["hello"], 1) == ([message.content for message in seen.messages], len(seen.tools))


def test_the_other_model_pays_from_the_first_ones_retry_budget(put: Any) -> None:
    other = says()
    rules = "[retries]\nattempts = 1\nratio = 0.1\nburst = 3\n"
    graph = put(asking(away(), "invoke"), Contract(fallbacks={"first": [other, Plain("not now")]}), rules)
    said = [graph.invoke({"out": ""})["out"] for _ in range(40)]

    assert len(other.calls) == said.count("second") <= 3 + 0.1 * 40
    assert 40 == said.count("second") + said.count("not now")


def test_the_other_model_passes_its_own_breaker(put: Any) -> None:
    other = away("second")
    rules = "[breaker]\nminimum = 5\nopen = 1000\n"
    graph = put(asking(away(), "invoke"), Contract(fallbacks={"first": [other, Plain("not now")]}), rules)

    assert {"not now"} == {graph.invoke({"out": ""})["out"] for _ in range(20)}
    assert 5 == len(other.calls)


def test_the_other_model_keeps_within_the_tokens_of_the_node(put: Any) -> None:
    class Talkative(ScriptedChatModel):
        max_tokens: int = 5_000

    other = Talkative(["second"], model_name="second")
    graph = put(asking(away(), "invoke"), Contract(tokens=3_000, fallbacks={"first": other}))

    with pytest.raises(BudgetExceeded):
        graph.invoke({"out": ""})
    assert [] == other.calls


def test_whom_nobody_asked_costs_no_tokens(put: Any, sidecar: Sidecar, thread: Any) -> None:
    rules = "[budget]\nsession_tokens = 100000\n[breaker]\nminimum = 5\nopen = 1000\n"
    graph = put(asking(away(times=5), "invoke"), Contract(), rules)
    for _ in range(5):
        with pytest.raises(ConnectionError):
            graph.invoke({"out": ""}, thread)
    spent = sidecar.sessions.get("t").tokens
    for _ in range(5):
        with pytest.raises(CircuitOpen):
            graph.invoke({"out": ""}, thread)

    assert spent == sidecar.sessions.get("t").tokens > 0


def test_the_other_model_may_run_no_tool_of_its_provider(put: Any) -> None:
    class Searching(ScriptedChatModel):
        model_kwargs: dict[str, Any]

    other = Searching(["second"], model_name="second", model_kwargs={"web_search_options": {}})
    graph = put(asking(away(), "invoke"), Contract(fallbacks={"first": other}))

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})
    assert [] == other.calls


def test_an_answer_that_says_what_is_wrong_is_no_reason(put: Any) -> None:
    class Wrong(Exception):
        status_code = 400

    other = says()
    first = ScriptedChatModel([Wrong("bad request")], model_name="first")

    with pytest.raises(Wrong):
        put(asking(first, "invoke"), Contract(fallbacks={"first": other})).invoke({"out": ""})
    assert [] == other.calls


def test_a_model_that_cannot_stand_in_leaves_it_to_the_next(put: Any, rows: Any) -> None:
    other = ScriptedChatModel([TypeError("no such option")], model_name="second")
    graph = put(asking(away(), "invoke"), Contract(fallbacks={"first": [other, Plain("not now")]}))

    assert "not now" == graph.invoke({"out": ""})["out"]
    assert [("second", "TypeError")] == [(row.body["to"], row.body["reason"]) for row in rows("fallback.refused")]


def test_a_stream_that_another_model_had_begun_is_not_gone_on_with(put: Any) -> None:
    other = Breaks(["half an answer"], model_name="second")
    graph = put(asking(away(), "stream"), Contract(fallbacks={"first": [other, Plain("not now")]}))

    with pytest.raises(ConnectionError):
        graph.invoke({"out": ""})


class Breaks(ScriptedChatModel):
    """Fails when a part of its answer has left."""

    def _stream(self, *args: Any, **kwargs: Any) -> Any:
        yield from list(super()._stream(*args, **kwargs))[:1]
        raise AWAY


@pytest.mark.parametrize("how", ["stream", "astream", "messages", "amessages"])
def test_nobody_takes_over_when_a_part_of_the_answer_has_left(how: str, put: Any) -> None:
    """Also where it is LangGraph that streams tokens, and the node only calls `invoke`."""
    other = says()
    first = Breaks(["half an answer"], model_name="first")
    way = how if how.endswith("stream") else ("ainvoke" if how.startswith("a") else "invoke")
    graph = put(asking(first, way), Contract(fallbacks={"first": [other, Plain("not now")]}))

    async def read() -> list[Any]:
        return [one async for one in graph.astream({"out": ""}, stream_mode="messages")]

    with pytest.raises(ConnectionError):
        if how == "messages":
            list(graph.stream({"out": ""}, stream_mode="messages"))
        elif how == "amessages":
            asyncio.run(read())
        else:
            run(graph, way)
    assert [] == other.calls


def test_what_a_model_wanted_done_is_not_wanted_again(put: Any, thread: Any) -> None:
    first = ScriptedChatModel([calling(("pay", {"amount": 5})), AWAY], model_name="first")
    graph = put(asking(first, "invoke"), Contract(fallbacks={"first": Cached(60)}))
    graph.invoke({"out": ""}, thread)

    with pytest.raises(ConnectionError):
        graph.invoke({"out": ""}, thread)


def test_nobody_is_asked_in_place_when_the_node_was_refused_meanwhile(put: Any) -> None:
    other = says()

    class Refused(ScriptedChatModel):
        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            call = current_call()
            assert call is not None
            call.node.refuse(Refusal("enough"))
            raise AWAY

    graph = put(asking(Refused([], model_name="first"), "invoke"), Contract(fallbacks={"first": other}))

    with pytest.raises(Refusal, match="enough"):
        graph.invoke({"out": ""})
    assert [] == other.calls
