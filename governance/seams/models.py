"""Seam 4, models: every call of a chat or completion model, streamed or not."""

from __future__ import annotations

import functools
import operator
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.language_models.llms import BaseLLM
from langchain_core.messages import HumanMessage
from langchain_core.runnables.config import ensure_config
from langchain_core.tracers._streaming import _StreamingCallbackHandler

from governance.boundary import (
    arun_inner,
    astream_inner,
    model_call,
    run_inner,
    stream_inner,
)
from governance.call import Call, ModelCall
from governance.likeness import like
from governance.seams.classes import LANGCHAIN, inside, is_base, on_subclass, passing, subclasses


def _govern_model(kind: type) -> None:
    if kind.__module__.startswith(LANGCHAIN):
        return
    for name, wrap in {**MODEL_METHODS, **MODEL_ENTRIES}.items():
        if name in kind.__dict__:
            setattr(kind, name, wrap(kind.__dict__[name]))


def _chat(original: Callable[..., Any]) -> Callable[..., Any]:
    @like(original)
    def generate(
        self: BaseChatModel, messages: list[Any], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Any:
        parent = passing(self)
        if parent is None:
            return original(self, messages, stop=stop, run_manager=run_manager, **kwargs)

        def perform(inner: ModelCall) -> Any:
            _held(run_manager, inner)
            token = inside.set(None if is_base(original) else self)
            try:
                return original(self, inner.messages, stop=stop, run_manager=run_manager, **inner.options)
            finally:
                inside.reset(token)

        return run_inner(_open_model(parent, self, messages, kwargs), perform)

    return generate


def _achat(original: Callable[..., Any]) -> Callable[..., Any]:
    @like(original)
    async def agenerate(
        self: BaseChatModel, messages: list[Any], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Any:
        parent = passing(self)
        if parent is None:
            return await original(self, messages, stop=stop, run_manager=run_manager, **kwargs)

        async def perform(inner: ModelCall) -> Any:
            _held(run_manager, inner)
            token = inside.set(None if is_base(original) else self)
            try:
                return await original(self, inner.messages, stop=stop, run_manager=run_manager, **inner.options)
            finally:
                inside.reset(token)

        return await arun_inner(_open_model(parent, self, messages, kwargs), perform)

    return agenerate


def _entry(original: Callable[..., Any]) -> Callable[..., Any]:
    """`invoke` or `generate` of a model class that brings its own."""

    @like(original)
    def entered(self: BaseChatModel, given: Any, *args: Any, **kwargs: Any) -> Any:
        parent = passing(self)
        if parent is None:
            return original(self, given, *args, **kwargs)

        def perform(inner: ModelCall) -> Any:
            token = inside.set(self)
            try:
                return original(self, given, *args, **kwargs)
            finally:
                inside.reset(token)

        return run_inner(_open_model(parent, self, _messages(self, given), _plain_options(kwargs)), perform)

    return entered


def _aentry(original: Callable[..., Any]) -> Callable[..., Any]:
    @like(original)
    async def entered(self: BaseChatModel, given: Any, *args: Any, **kwargs: Any) -> Any:
        parent = passing(self)
        if parent is None:
            return await original(self, given, *args, **kwargs)

        async def perform(inner: ModelCall) -> Any:
            token = inside.set(self)
            try:
                return await original(self, given, *args, **kwargs)
            finally:
                inside.reset(token)

        call = _open_model(parent, self, _messages(self, given), _plain_options(kwargs))
        return await arun_inner(call, perform)

    return entered


def _messages(model: BaseChatModel, given: Any) -> list[Any]:
    """The messages of whatever a model was asked with: one prompt, or a list of them."""
    if isinstance(given, list) and given and all(isinstance(one, list) for one in given):
        return [message for one in given for message in one]
    return model._convert_input(given).to_messages()


def _plain_options(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in kwargs.items() if k not in ("config", "callbacks", "stop", "run_manager")}


def _held(manager: Any, call: ModelCall) -> None:
    """Keep tokens of a gated node from leaving before the verdict; the finished message leaves with the update."""
    contract = call.contract
    if manager is None or not contract.gates or contract.stream != "hold" or not call.node.bound.enforced:
        return
    for name in ("handlers", "inheritable_handlers"):
        kept = [h for h in getattr(manager, name) if not isinstance(h, _StreamingCallbackHandler)]
        setattr(manager, name, kept)


def _open_model(parent: Call, model: Any, messages: list[Any], options: Mapping[str, Any]) -> ModelCall:
    """The call of a model; its client's own retries, which would multiply with every layer above, are off."""
    if parent.node.bound.enforced:
        for name in ("root_client", "root_async_client"):
            client = getattr(model, name, None)
            if client is not None and getattr(client, "max_retries", None):
                client.max_retries = 0
    return model_call(parent, model, messages, options)


def _streamed(original: Callable[..., Any]) -> Callable[..., Any]:
    @like(original)
    def stream(
        self: BaseChatModel, input: Any, config: Any = None, *, stop: Any = None, **kwargs: Any
    ) -> Iterator[Any]:
        parent = passing(self)
        if parent is None or not self._should_stream(async_api=False, **{**kwargs, "stream": True}):
            yield from original(self, input, config, stop=stop, **kwargs)
            return
        messages = self._convert_input(input).to_messages()

        def produce(inner: ModelCall) -> Iterator[Any]:
            given = input if inner.messages is messages else inner.messages
            return original(self, given, _quiet(config, inner), stop=stop, **inner.options)  # type: ignore[no-any-return]

        yield from stream_inner(_open_model(parent, self, messages, kwargs), produce, _folded)

    return stream


def _astreamed(original: Callable[..., Any]) -> Callable[..., Any]:
    @like(original)
    async def astream(
        self: BaseChatModel, input: Any, config: Any = None, *, stop: Any = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        parent = passing(self)
        if parent is None or not self._should_stream(async_api=True, **{**kwargs, "stream": True}):
            async for piece in original(self, input, config, stop=stop, **kwargs):
                yield piece
            return
        messages = self._convert_input(input).to_messages()

        def produce(inner: ModelCall) -> AsyncIterator[Any]:
            given = input if inner.messages is messages else inner.messages
            return original(self, given, _quiet(config, inner), stop=stop, **inner.options)  # type: ignore[no-any-return]

        async for piece in astream_inner(_open_model(parent, self, messages, kwargs), produce, _folded):
            yield piece

    return astream


def _quiet(config: Any, call: ModelCall) -> Any:
    """The config of a streamed call with its callbacks held, where the node's gates have yet to speak."""
    merged = ensure_config(config)
    manager = merged.get("callbacks")
    if not hasattr(manager, "handlers"):
        return config
    quiet = manager.copy()  # type: ignore[union-attr]
    _held(quiet, call)
    return {**merged, "callbacks": quiet}


def _folded(pieces: list[Any]) -> Any:
    return functools.reduce(operator.add, pieces) if pieces else None


def _events(original: Callable[..., Any]) -> Callable[..., Any]:
    """Event streams (version v3): admitted and charged when they begin, since their pieces are no messages."""

    @like(original)
    def stream_v3(self: BaseChatModel, input: Any, *args: Any, **kwargs: Any) -> Any:
        parent = passing(self)
        if parent is None:
            return original(self, input, *args, **kwargs)
        call = _open_model(parent, self, self._convert_input(input).to_messages(), kwargs)
        return run_inner(call, lambda inner: original(self, input, *args, **kwargs))

    return stream_v3


def _aevents(original: Callable[..., Any]) -> Callable[..., Any]:
    @like(original)
    async def astream_v3(self: BaseChatModel, input: Any, *args: Any, **kwargs: Any) -> Any:
        parent = passing(self)
        if parent is None:
            return await original(self, input, *args, **kwargs)
        call = _open_model(parent, self, self._convert_input(input).to_messages(), kwargs)
        return await arun_inner(call, lambda inner: original(self, input, *args, **kwargs))

    return astream_v3


def _completion(original: Callable[..., Any]) -> Callable[..., Any]:
    @like(original)
    def generate(self: BaseLLM, prompts: list[str], *args: Any, **kwargs: Any) -> Any:
        parent = passing(self)
        if parent is None:
            return original(self, prompts, *args, **kwargs)
        call = _open_model(parent, self, [HumanMessage(p) for p in prompts], kwargs)
        return run_inner(call, lambda inner: original(self, prompts, *args, **kwargs))

    return generate


def _acompletion(original: Callable[..., Any]) -> Callable[..., Any]:
    @like(original)
    async def agenerate(self: BaseLLM, prompts: list[str], *args: Any, **kwargs: Any) -> Any:
        parent = passing(self)
        if parent is None:
            return await original(self, prompts, *args, **kwargs)
        call = _open_model(parent, self, [HumanMessage(p) for p in prompts], kwargs)
        return await arun_inner(call, lambda inner: original(self, prompts, *args, **kwargs))

    return agenerate


def _streamed_text(original: Callable[..., Any]) -> Callable[..., Any]:
    @like(original)
    def stream(self: BaseLLM, input: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        parent = passing(self)
        if parent is None or type(self)._stream is BaseLLM._stream:
            yield from original(self, input, *args, **kwargs)
            return
        call = _open_model(parent, self, self._convert_input(input).to_messages(), _plain_options(kwargs))
        yield from stream_inner(call, lambda inner: original(self, input, *args, **kwargs), "".join)

    return stream


def _astreamed_text(original: Callable[..., Any]) -> Callable[..., Any]:
    @like(original)
    async def astream(self: BaseLLM, input: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        parent = passing(self)
        if parent is None or (type(self)._astream is BaseLLM._astream and type(self)._stream is BaseLLM._stream):
            async for piece in original(self, input, *args, **kwargs):
                yield piece
            return
        call = _open_model(parent, self, self._convert_input(input).to_messages(), _plain_options(kwargs))
        async for piece in astream_inner(call, lambda inner: original(self, input, *args, **kwargs), "".join):
            yield piece

    return astream


MODEL_METHODS: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "_generate_with_cache": _chat,
    "_agenerate_with_cache": _achat,
    "stream": _streamed,
    "astream": _astreamed,
    "_chat_model_stream_v3": _events,
    "_achat_model_stream_v3": _aevents,
}


MODEL_ENTRIES: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "invoke": _entry,
    "ainvoke": _aentry,
    "generate": _entry,
    "agenerate": _aentry,
}


COMPLETION_METHODS: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "_generate_helper": _completion,
    "_agenerate_helper": _acompletion,
    "stream": _streamed_text,
    "astream": _astreamed_text,
}


WANTED: list[tuple[Any, tuple[str, ...]]] = [
    (BaseChatModel, ("_generate_with_cache", "_agenerate_with_cache", "stream", "astream", "_should_stream")),
    (BaseChatModel, ("_chat_model_stream_v3", "_achat_model_stream_v3")),
    (BaseLLM, ("_generate_helper", "_agenerate_helper", "stream", "astream")),
]


def install() -> None:
    """Govern the base classes, the models there are, and those to come."""
    for name, wrap in MODEL_METHODS.items():
        setattr(BaseChatModel, name, wrap(getattr(BaseChatModel, name)))
    for kind in subclasses(BaseChatModel):
        _govern_model(kind)
    on_subclass(BaseChatModel, _govern_model)
    for name, wrap in COMPLETION_METHODS.items():
        setattr(BaseLLM, name, wrap(getattr(BaseLLM, name)))
