"""A chat model that answers from a script, for tests that need no recording."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import PrivateAttr

from governance.testing.errors import ScriptExhausted

Answer = str | AIMessage | Exception
Step = Answer | Callable[[list[BaseMessage]], Answer]


@dataclass(frozen=True)
class SeenCall:
    """One call of the model: what it was asked, and with which tools and options."""

    messages: list[BaseMessage]
    tools: list[dict[str, Any]]
    options: dict[str, Any]


class ScriptedChatModel(BaseChatModel):
    """Answers each call with the next step of its script, and fails when the script has no more.

    A step is a text, an `AIMessage` (with tool calls, if you like), an exception to raise, or a function of
    the messages that gives one of these. Models made by `bind_tools` share the script and the record of
    calls.
    """

    script: Sequence[Any]
    model_name: str = "scripted"
    _seen: list[SeenCall] = PrivateAttr(default_factory=list)
    _lock: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    def __init__(self, script: Sequence[Step] = (), **kwargs: Any) -> None:
        super().__init__(**{"script": script, **kwargs})

    @property
    def calls(self) -> list[SeenCall]:
        """The calls so far, oldest first."""
        with self._lock:
            return list(self._seen)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools as an OpenAI model would; the script decides which of them are called."""
        choice = {} if tool_choice is None else {"tool_choice": tool_choice}
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **choice, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        message = self._answer(messages, stop, kwargs)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in _chunks(self._answer(messages, stop, kwargs)):
            generation = ChatGenerationChunk(message=chunk)
            if run_manager is not None:
                run_manager.on_llm_new_token(str(chunk.content), chunk=generation)
            yield generation

    def _answer(self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]) -> AIMessage:
        options = {name: value for name, value in kwargs.items() if name != "tools"}
        if stop is not None:
            options["stop"] = stop
        with self._lock:
            self._seen.append(SeenCall(list(messages), list(kwargs.get("tools", ())), options))
            number = len(self._seen)
        if number > len(self.script):
            raise ScriptExhausted(
                f"call {number} of the scripted model finds a script of {len(self.script)} answer(s): "
                f"it was asked {_shortened(messages)}; add an answer, or see why the model is called again"
            )
        step = self.script[number - 1]
        answer = step(messages) if callable(step) and not isinstance(step, AIMessage) else step
        if isinstance(answer, Exception):
            raise answer
        return _completed(_message(answer, number), messages)


def _message(answer: Any, number: int) -> AIMessage:
    if isinstance(answer, str):
        return AIMessage(answer)
    if isinstance(answer, AIMessage):
        # The script may be played by several runs; LangChain writes ids and metadata into what it is given.
        return answer.model_copy(deep=True)
    raise TypeError(
        f"answer {number} of the script is a {type(answer).__name__}: a str, an AIMessage or an Exception was expected"
    )


def _completed(message: AIMessage, messages: list[BaseMessage]) -> AIMessage:
    if message.usage_metadata is None:
        asked, answered = count_tokens_approximately(messages), count_tokens_approximately([message])
        message.usage_metadata = UsageMetadata(
            input_tokens=asked, output_tokens=answered, total_tokens=asked + answered
        )
    return message


def _chunks(message: AIMessage) -> Iterator[AIMessageChunk]:
    """The answer word by word, then tool calls, then the cost: added up, they are the message again."""
    words = re.findall(r"\S+\s*|\s+", message.content) if isinstance(message.content, str) else [message.content]
    for word in words:
        yield AIMessageChunk(content=word, id=message.id)
    for index, call in enumerate(message.tool_calls):
        yield AIMessageChunk(content="", id=message.id, tool_call_chunks=[_call_chunk(call, index)])
    yield AIMessageChunk(
        content="",
        id=message.id,
        additional_kwargs=message.additional_kwargs,
        response_metadata=message.response_metadata,
        usage_metadata=message.usage_metadata,
        chunk_position="last",
    )


def _call_chunk(call: Any, index: int) -> Any:
    return tool_call_chunk(name=call["name"], args=json.dumps(call["args"]), id=call["id"], index=index)


def _shortened(messages: list[BaseMessage]) -> str:
    text = str(messages[-1].text) if messages else ""
    return repr(text if len(text) <= 80 else text[:79] + "…")
