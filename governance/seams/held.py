"""Nothing that happens inside a node whose gates have yet to speak leaves by a stream."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.tracers._streaming import _StreamingCallbackHandler
from langgraph._internal._constants import CONF, CONFIG_KEY_STREAM
from langgraph.pregel.protocol import StreamProtocol

from governance.call import Call, NodeCall


def _nowhere(piece: Any) -> None:
    pass


NOWHERE = StreamProtocol(_nowhere, set())
"""Where a nested graph streams to: present, so that custom words still find their writer, and it takes nothing."""


def holding(call: NodeCall) -> bool:
    """Whether this node, or one that it runs in, keeps back what happens inside until its gates have passed."""
    above: Call | None = call
    while above is not None:
        if above.node.bound.holds:
            return True
        above = above.node.parent
    return False


def silent(config: Any) -> Any:
    """The same config for code whose nested graphs must not reach the streams of the graphs above."""
    conf = config[CONF]
    return {**config, CONF: {**conf, CONFIG_KEY_STREAM: NOWHERE}} if CONFIG_KEY_STREAM in conf else config


def quiet(config: RunnableConfig) -> RunnableConfig:
    """The same config without the handlers that feed token and event streams; others, like tracers, stay."""
    manager = config.get("callbacks")
    if not isinstance(manager, BaseCallbackManager):
        return config
    muted = manager.copy()
    for name in ("handlers", "inheritable_handlers"):
        # By inheritance: the protocol's isinstance also matches exporters that merely have its methods.
        setattr(muted, name, [h for h in getattr(manager, name) if _StreamingCallbackHandler not in type(h).__mro__])
    return {**config, "callbacks": muted}


class shown:
    """The config with which a node's code runs, and which it finds around it: quiet where its gates hold."""

    __slots__ = ("call", "config", "token")

    def __init__(self, call: NodeCall, config: RunnableConfig | None) -> None:
        self.call = call
        self.config = config
        self.token: Any = None

    def __enter__(self) -> RunnableConfig | None:
        if self.config is None or not self.call.bound.holds:
            return self.config
        muted = quiet(self.config)
        self.token = var_child_runnable_config.set(muted)
        return muted

    def __exit__(self, *error: object) -> None:
        if self.token is not None:
            var_child_runnable_config.reset(self.token)
