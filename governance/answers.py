"""What a model or a tool answered, as data, and the answer again: what replay and recovery give in a call's place."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult, Generation, LLMResult
from langgraph.types import Command

from governance import canonical

SEEN = 20_000
"""Messages whose digests are remembered."""
MARK = "sidecar"
"""In the `response_metadata` of an answer that did not come from the model that was asked."""
Answer = Mapping[str, Any]
"""`form` says which method of a model it came from; `said` is what was answered: messages or texts."""


def told(result: Any) -> Answer | None:
    """The answer as data; None where it is of no form that could be given back (a stream of events)."""
    if isinstance(result, (str, BaseMessage)):
        return {"form": "one", "said": result}
    if isinstance(result, ChatResult):
        return {"form": "chat", "said": [generation.message for generation in result.generations]}
    if isinstance(result, LLMResult):
        return {"form": "many", "said": [[_said(one) for one in part] for part in result.generations]}
    if isinstance(result, list) and all(isinstance(one, (str, BaseMessage)) for one in result):
        return {"form": "batch", "said": result}
    return None


def given_back(answer: Answer) -> Any:
    """What the model's method returned, from what `told` made of it; raises `ValueError` for another form."""
    form, said = answer["form"], answer["said"]
    if form in ("one", "batch"):
        return said
    if form == "chat":
        return ChatResult(generations=[ChatGeneration(message=message) for message in said])
    if form == "many":
        return LLMResult(generations=[[_generation(one) for one in part] for part in said])
    raise ValueError(f"an answer must have the form 'one', 'chat', 'many' or 'batch', not {form!r}")


def given_anew(answer: Answer) -> Any:
    """An answer of another time, as it is given now: it has no id yet, and costs nothing."""
    return given_back({**answer, "said": _anew(answer["said"])})


def _anew(said: Any) -> Any:
    if isinstance(said, list):
        return [_anew(one) for one in said]
    if not isinstance(said, AIMessage):
        return said
    marked = {**said.response_metadata, MARK: "an earlier answer"}
    return said.model_copy(update={"id": None, "usage_metadata": None, "response_metadata": marked})


def plain_answer(form: str, text: str, prompts: int) -> Any:
    """A text as the answer of a model, in the form of the method that was called; None where it has none."""
    message = AIMessageChunk(content=text) if form == "chunk" else AIMessage(text)
    message.response_metadata[MARK] = "a plain refusal"
    if form in ("chunk", "message", "text"):
        return text if form == "text" else message
    if form == "chat":
        return ChatResult(generations=[ChatGeneration(message=message)])
    if form in ("texts", "messages"):
        return [text if form == "texts" else message.model_copy() for _ in range(prompts)]
    if form in ("many texts", "many messages"):
        one: Any = text if form == "many texts" else message
        return LLMResult(generations=[[_generation(one)] for _ in range(prompts)])
    return None


def plain_result(call_id: str | None, name: str, text: str) -> Any:
    """A text as the result of a tool that could not do what it was asked."""
    return text if call_id is None else ToolMessage(text, tool_call_id=call_id, name=name, status="error")


def outcome_for(call_id: str | None, name: str, outcome: Any) -> Any:
    """What a tool returned once, in the form that this caller expects: it may have been called in the other one.

    A model may ask under a new id, and its provider wants the answer under that one.
    """
    if call_id is None:
        return outcome.content if isinstance(outcome, ToolMessage) else outcome
    if isinstance(outcome, ToolMessage):
        return outcome.model_copy(update={"tool_call_id": call_id})
    if isinstance(outcome, Command):
        return replace(outcome, update=_under(call_id, outcome.update))
    if isinstance(outcome, BaseMessage) or (isinstance(outcome, list) and any(map(_is_answer, outcome))):
        return _under(call_id, outcome)
    text = outcome if isinstance(outcome, str) else canonical.text(outcome)
    return ToolMessage(text, tool_call_id=call_id, name=name)


def _is_answer(outcome: Any) -> bool:
    return isinstance(outcome, (Command, ToolMessage))


def _under(call_id: str, value: Any) -> Any:
    """The messages of a tool in an update, under the id of the call that they answer now."""
    if isinstance(value, Mapping):
        return {key: _under(call_id, one) for key, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_under(call_id, one) for one in value)
    return outcome_for(call_id, "", value) if _is_answer(value) else value


def prompt_digest(model: str, messages: Sequence[Any], options: Mapping[str, Any]) -> str:
    """Digest of what a model is asked, without what differs each time it is made: ids and accounts of tokens.

    A message that was seen before costs half a microsecond: a step costs what is new in it.
    """
    found = hashlib.sha256(canonical.encode([model, dict(options)]))
    for message in messages:
        found.update(message_digest(message))
    return found.hexdigest()


def message_digest(message: Any) -> bytes:
    """Digest of what a message says, whatever its id."""
    if not isinstance(message, BaseMessage):
        return hashlib.sha256(canonical.encode(message)).digest()
    calls = getattr(message, "tool_calls", None)
    if calls or not isinstance(message.content, str):
        said = [(call["name"], call["args"]) for call in calls or ()]
        return _text_digest(message.type, message.name, canonical.text([message.content, said]))
    return _text_digest(message.type, message.name, message.content)


@functools.lru_cache(maxsize=SEEN)
def _text_digest(kind: str, name: str | None, text: str) -> bytes:
    return hashlib.sha256(canonical.encode([kind, name, text])).digest()


def _said(generation: Any) -> Any:
    return generation.message if isinstance(generation, ChatGeneration) else generation.text


def _generation(said: Any) -> Generation:
    return ChatGeneration(message=said) if isinstance(said, BaseMessage) else Generation(text=said)
