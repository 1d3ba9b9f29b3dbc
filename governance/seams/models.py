"""Seam 4, models: every call of a chat or completion model, streamed or not."""

from __future__ import annotations

import functools
import operator
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.language_models.llms import BaseLLM
from langchain_core.messages import HumanMessage

from governance.boundary import (
    arun_inner,
    astream_inner,
    model_call,
    run_inner,
    stream_inner,
)
from governance.call import Call, ModelCall
from governance.likeness import like
from governance.seams.asked import asked, heard
from governance.seams.classes import (
    LANGCHAIN,
    inside,
    is_base,
    on_subclass,
    passing,
    subclasses,
)
from governance.seams.clients import govern_clients, options_of
from governance.streams import asetting_each, setting_each

Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]


def _govern_own(methods: Mapping[str, Wrap], kind: type) -> None:
    """Wrap what a class of the author's brings of these; LangChain's own lead to the base class."""
    if kind.__module__.startswith(LANGCHAIN):
        return
    for name, wrap in methods.items():
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
            ask, subject = asked(original, self, inner)
            token = inside.set(subject)
            try:
                return ask(inner.messages, stop=stop, run_manager=heard(run_manager, inner), **options_of(inner))
            finally:
                inside.reset(token)

        return run_inner(_open_model(parent, self, messages, kwargs, form="chat"), perform)

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
            ask, subject = asked(original, self, inner)
            token = inside.set(subject)
            try:
                return await ask(inner.messages, stop=stop, run_manager=heard(run_manager, inner), **options_of(inner))
            finally:
                inside.reset(token)

        return await arun_inner(_open_model(parent, self, messages, kwargs, form="chat"), perform)

    return agenerate


def _entry(original: Callable[..., Any], *, many: bool = False) -> Callable[..., Any]:
    """`invoke`, or with `many` prompts `generate` and `batch`, of a model class that brings its own."""

    @like(original)
    def entered(self: Any, given: Any, *args: Any, **kwargs: Any) -> Any:
        parent = passing(self)
        if parent is None:
            return original(self, given, *args, **kwargs)

        call = _open_entry(parent, self, given, kwargs, _form(original, self, many))
        messages = call.messages

        def perform(inner: ModelCall) -> Any:
            ask, _ = asked(original, self, inner)
            token = inside.set(inner.model)
            try:
                shown = given if inner.messages is messages else inner.messages
                return ask(shown, *args, **kwargs)
            finally:
                inside.reset(token)

        return run_inner(call, perform)

    return entered


def _aentry(original: Callable[..., Any], *, many: bool = False) -> Callable[..., Any]:
    @like(original)
    async def entered(self: Any, given: Any, *args: Any, **kwargs: Any) -> Any:
        parent = passing(self)
        if parent is None:
            return await original(self, given, *args, **kwargs)

        call = _open_entry(parent, self, given, kwargs, _form(original, self, many))
        messages = call.messages

        async def perform(inner: ModelCall) -> Any:
            ask, _ = asked(original, self, inner)
            token = inside.set(inner.model)
            try:
                shown = given if inner.messages is messages else inner.messages
                return await ask(shown, *args, **kwargs)
            finally:
                inside.reset(token)

        return await arun_inner(call, perform)

    return entered


def _open_entry(parent: Call, model: Any, given: Any, kwargs: Mapping[str, Any], form: str) -> ModelCall:
    prompts = list(given) if form.endswith("s") else [given]
    messages = [message for one in prompts for message in model._convert_input(one).to_messages()]
    return _open_model(parent, model, messages, _plain_options(kwargs), prompts=len(prompts), form=form)


def _form(original: Callable[..., Any], model: Any, many: bool) -> str:
    """What the caller of an entry is given."""
    one = "text" if isinstance(model, BaseLLM) else "message"
    if not many:
        return one
    return f"{one}s" if original.__name__ in ("batch", "abatch") else f"many {one}s"


def _plain_options(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in kwargs.items() if k not in ("config", "callbacks", "stop", "run_manager")}


def _open_model(
    parent: Call, model: Any, messages: list[Any], options: Mapping[str, Any], *, prompts: int = 1, form: str
) -> ModelCall:
    govern_clients(type(model))
    call = model_call(parent, model, messages, options)
    call.prompts, call.form = prompts, form
    return call


def _streamed(original: Callable[..., Any]) -> Callable[..., Any]:
    @like(original)
    def stream(
        self: BaseChatModel, input: Any, config: Any = None, *, stop: Any = None, **kwargs: Any
    ) -> Iterator[Any]:
        parent = passing(self)
        streams = not is_base(original) or self._should_stream(async_api=False, **{**kwargs, "stream": True})
        if parent is None or not streams:
            yield from original(self, input, config, stop=stop, **kwargs)
            return
        messages = self._convert_input(input).to_messages()

        def produce(inner: ModelCall) -> Iterator[Any]:
            given = input if inner.messages is messages else inner.messages
            ask, subject = asked(original, self, inner)
            pieces: Iterator[Any] = ask(given, config, stop=stop, **options_of(inner))
            return pieces if subject is None else setting_each(inside, subject, pieces)

        yield from stream_inner(_open_model(parent, self, messages, kwargs, form="chunk"), produce, _folded)

    return stream


def _astreamed(original: Callable[..., Any]) -> Callable[..., Any]:
    @like(original)
    async def astream(
        self: BaseChatModel, input: Any, config: Any = None, *, stop: Any = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        parent = passing(self)
        streams = not is_base(original) or self._should_stream(async_api=True, **{**kwargs, "stream": True})
        if parent is None or not streams:
            async for piece in original(self, input, config, stop=stop, **kwargs):
                yield piece
            return
        messages = self._convert_input(input).to_messages()

        def produce(inner: ModelCall) -> AsyncIterator[Any]:
            given = input if inner.messages is messages else inner.messages
            ask, subject = asked(original, self, inner)
            pieces: AsyncGenerator[Any, None] = ask(given, config, stop=stop, **options_of(inner))
            return pieces if subject is None else asetting_each(inside, subject, pieces)

        async for piece in astream_inner(_open_model(parent, self, messages, kwargs, form="chunk"), produce, _folded):
            yield piece

    return astream


def _folded(pieces: list[Any]) -> Any:
    return functools.reduce(operator.add, pieces) if pieces else None


def _events(original: Callable[..., Any]) -> Callable[..., Any]:
    """Event streams (version v3): admitted and charged when they begin, since their pieces are no messages."""

    @like(original)
    def stream_v3(self: BaseChatModel, input: Any, *args: Any, **kwargs: Any) -> Any:
        parent = passing(self)
        if parent is None:
            return original(self, input, *args, **kwargs)
        messages = self._convert_input(input).to_messages()

        def begin(inner: ModelCall) -> Any:
            ask, _ = asked(original, self, inner)
            return ask(input if inner.messages is messages else inner.messages, *args, **kwargs)

        return run_inner(_open_model(parent, self, messages, kwargs, form=""), begin)

    return stream_v3


def _aevents(original: Callable[..., Any]) -> Callable[..., Any]:
    @like(original)
    async def astream_v3(self: BaseChatModel, input: Any, *args: Any, **kwargs: Any) -> Any:
        parent = passing(self)
        if parent is None:
            return await original(self, input, *args, **kwargs)
        messages = self._convert_input(input).to_messages()

        async def begin(inner: ModelCall) -> Any:
            ask, _ = asked(original, self, inner)
            return await ask(input if inner.messages is messages else inner.messages, *args, **kwargs)

        return await arun_inner(_open_model(parent, self, messages, kwargs, form=""), begin)

    return astream_v3


def _completion(original: Callable[..., Any]) -> Callable[..., Any]:
    @like(original)
    def generate(self: BaseLLM, prompts: list[str], *args: Any, **kwargs: Any) -> Any:
        parent = passing(self)
        if parent is None:
            return original(self, prompts, *args, **kwargs)
        call = _open_texts(parent, self, prompts, kwargs)
        return run_inner(call, lambda inner: asked(original, self, inner)[0](prompts, *args, **kwargs))

    return generate


def _acompletion(original: Callable[..., Any]) -> Callable[..., Any]:
    @like(original)
    async def agenerate(self: BaseLLM, prompts: list[str], *args: Any, **kwargs: Any) -> Any:
        parent = passing(self)
        if parent is None:
            return await original(self, prompts, *args, **kwargs)
        call = _open_texts(parent, self, prompts, kwargs)
        return await arun_inner(call, lambda inner: asked(original, self, inner)[0](prompts, *args, **kwargs))

    return agenerate


def _open_texts(parent: Call, model: BaseLLM, prompts: list[str], options: Mapping[str, Any]) -> ModelCall:
    messages = [HumanMessage(one) for one in prompts]
    return _open_model(parent, model, messages, options, prompts=len(prompts), form="many texts")


def _streamed_text(original: Callable[..., Any]) -> Callable[..., Any]:
    @like(original)
    def stream(self: BaseLLM, input: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        parent = passing(self)
        if parent is None or (is_base(original) and type(self)._stream is BaseLLM._stream):
            yield from original(self, input, *args, **kwargs)
            return

        def produce(inner: ModelCall) -> Iterator[Any]:
            ask, subject = asked(original, self, inner)
            pieces: Iterator[Any] = ask(input, *args, **kwargs)
            return pieces if subject is None else setting_each(inside, subject, pieces)

        yield from stream_inner(_open_entry(parent, self, input, kwargs, "text"), produce, "".join)

    return stream


def _astreamed_text(original: Callable[..., Any]) -> Callable[..., Any]:
    @like(original)
    async def astream(self: BaseLLM, input: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        parent = passing(self)
        silent = type(self)._astream is BaseLLM._astream and type(self)._stream is BaseLLM._stream
        if parent is None or (is_base(original) and silent):
            async for piece in original(self, input, *args, **kwargs):
                yield piece
            return

        def produce(inner: ModelCall) -> AsyncIterator[Any]:
            ask, subject = asked(original, self, inner)
            pieces: AsyncGenerator[Any, None] = ask(input, *args, **kwargs)
            return pieces if subject is None else asetting_each(inside, subject, pieces)

        async for piece in astream_inner(_open_entry(parent, self, input, kwargs, "text"), produce, "".join):
            yield piece

    return astream


MODEL_METHODS: dict[str, Wrap] = {
    "_generate_with_cache": _chat,
    "_agenerate_with_cache": _achat,
    "stream": _streamed,
    "astream": _astreamed,
    "_chat_model_stream_v3": _events,
    "_achat_model_stream_v3": _aevents,
}
COMPLETION_METHODS: dict[str, Wrap] = {
    "_generate_helper": _completion,
    "_agenerate_helper": _acompletion,
    "stream": _streamed_text,
    "astream": _astreamed_text,
}
ENTRIES: dict[str, Wrap] = {
    "invoke": _entry,
    "ainvoke": _aentry,
    **dict.fromkeys(("generate", "generate_prompt", "batch"), functools.partial(_entry, many=True)),
    **dict.fromkeys(("agenerate", "agenerate_prompt", "abatch"), functools.partial(_aentry, many=True)),
}
"""Ways in that lead to the methods above where a class inherits them, and past them where it brings its own."""
WANTED: list[tuple[Any, tuple[str, ...]]] = [
    (BaseChatModel, (*MODEL_METHODS, "_should_stream", "_convert_input")),
    (BaseLLM, (*COMPLETION_METHODS, "_convert_input")),
]


def install() -> None:
    """Govern the base classes, the models there are, and those to come."""
    for base, methods in ((BaseChatModel, MODEL_METHODS), (BaseLLM, COMPLETION_METHODS)):
        for name, wrap in methods.items():
            setattr(base, name, wrap(getattr(base, name)))
        own = functools.partial(_govern_own, {**methods, **ENTRIES})
        for kind in subclasses(base):
            own(kind)
        on_subclass(base, own)
