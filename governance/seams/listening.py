"""What the steps of a node inherit from its run, as LangGraph hands it down: with callback handlers and without.

A run that nobody hears of makes no run manager, and channel writers, which ask for no callbacks, get none
of their own. Both pay for a part of what governance costs.
"""

from __future__ import annotations

from contextvars import Context, copy_context
from typing import Any, NamedTuple
from uuid import UUID

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.tracers.langchain import LangChainTracer
from langchain_core.utils.uuid import uuid7
from langgraph._internal._runnable import _set_config_context


class Heard:
    """A run that handlers listen to, with the run manager that LangGraph made for it."""

    __slots__ = ("manager",)

    def __init__(self, manager: Any) -> None:
        self.manager = manager

    def child(self, step: int) -> BaseCallbackManager:
        """The callback manager of a step."""
        return self.manager.get_child(f"seq:step:{step}")  # type: ignore[no-any-return]  # sync and async alike

    def context(self, config: RunnableConfig) -> Context:
        """Makes an execution's own config that of its first step, in place, and the context in which it is found."""
        inherit(config, self.child(1))
        tracers = (one for one in self.manager.handlers if isinstance(one, LangChainTracer))
        tracer, context = next(tracers, None), copy_context()
        context.run(_set_config_context, config, tracer and tracer.run_map.get(str(self.manager.run_id)))
        return context


class Unheard(NamedTuple):
    """A run that nobody listens to."""

    kind: type[BaseCallbackManager]
    run_id: UUID
    tags: list[str]
    metadata: dict[str, Any]

    def child(self, step: int) -> BaseCallbackManager:
        """The callback manager of a step: for handlers that code of the author's may still add."""
        return self.kind(
            handlers=[],
            parent_run_id=self.run_id,
            tags=[*self.tags, f"seq:step:{step}"],
            inheritable_tags=self.tags.copy(),
            metadata=self.metadata.copy(),
            inheritable_metadata=self.metadata.copy(),
        )

    def context(self, config: RunnableConfig) -> Context:
        """As `Heard.context`."""
        inherit(config, self.child(1))
        context = copy_context()
        context.run(var_child_runnable_config.set, config)
        return context


def inherit(config: RunnableConfig, callbacks: BaseCallbackManager) -> None:
    """Put a step's callbacks into an execution's own config; what names the node's run does not go beneath it."""
    config["callbacks"] = callbacks
    config.pop("run_name", None)
    config.pop("run_id", None)


def unheard(config: RunnableConfig, kind: type[BaseCallbackManager]) -> Unheard | None:
    """The run of a node with this config; None where a handler may listen to it."""
    callbacks = config.get("callbacks")
    if type(callbacks) is not kind or callbacks.handlers:
        return None
    if tags := config.get("tags"):
        callbacks.add_tags(tags)
    inherited, own = callbacks.inheritable_metadata, config.get("metadata") or {}
    if dict in map(type, inherited.values()):
        callbacks.add_metadata(own)  # values that are merged, not replaced
        metadata = callbacks.inheritable_metadata
    else:
        metadata = {**inherited, **own}
    return Unheard(kind, config.get("run_id") or uuid7(), callbacks.inheritable_tags, metadata)
