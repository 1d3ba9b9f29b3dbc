"""One execution of a governed node or task: where it begins, and what is final when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph._internal._constants import (
    CONF,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_SEND,
    NS_SEP,
)
from langgraph.errors import GraphBubbleUp, ParentCommand
from langgraph.types import Command

from governance.boundary import (
    CURRENT,
    mark_place,
    unmark_place,
)
from governance.call import Call, NodeCall
from governance.errors import (
    ContractViolation,
    Refusal,
)
from governance.filters.contract import grant

if TYPE_CHECKING:
    pass


class entered:
    """One execution of a governed node, from its first step to its last write."""

    __slots__ = ("call", "mark", "token")

    def __init__(self, call: NodeCall) -> None:
        self.call = call

    def __enter__(self) -> None:
        self.token = CURRENT.set(self.call)
        self.mark = mark_place(self.call)

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        call = self.call
        unmark_place(self.mark)
        call.input = None  # a view that nobody holds any more can be lent again
        try:
            CURRENT.reset(self.token)
        except ValueError:
            pass  # an abandoned stream is closed in another context, which never saw the call
        call.state = "over"
        if error is None and call.refusal is None and call.question is None:
            return
        if isinstance(error, ParentCommand):
            check_parent_command(call, error)
        if call.refusal is None and call.question is not None and (error is None or isinstance(error, Exception)):
            if error is not call.question and not isinstance(error, GraphBubbleUp):
                _drop_writes(call)
                raise call.question from error  # the node's code may have swallowed it, and nobody has answered
        if call.refusal is None or error is call.refusal:
            return
        if error is not None and not isinstance(error, Exception):
            return
        _drop_writes(call)
        raise call.refusal from error


class final:
    """A refusal that leaves a nested run or task is final for the node it leaves into."""

    __slots__ = ("parent",)

    def __init__(self, parent: Call) -> None:
        self.parent = parent

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Refusal):
            self.parent.node.refuse(error)


class configured:
    """Makes a config the one that LangGraph finds in this context."""

    def __init__(self, config: RunnableConfig) -> None:
        self.config = config

    def __enter__(self) -> None:
        self.token = var_child_runnable_config.set(self.config)

    def __exit__(self, *error: object) -> None:
        var_child_runnable_config.reset(self.token)


def check_parent_command(call: NodeCall, command: ParentCommand) -> None:
    """A command from inside a nested graph that this graph will follow: judged like the node's own."""
    given: Command[Any] = command.args[0]
    namespace = call.config[CONF].get(CONFIG_KEY_CHECKPOINT_NS, "")
    own = {
        namespace,
        NS_SEP.join(p.partition(":")[0] for p in namespace.split(NS_SEP) if not p.isdigit()),
        call.name,
    }
    if given.graph not in own or not (call.governance.enforcing and call.contract.enforced):
        return
    problem = grant(Command(update=given.update, goto=given.goto), call)
    if problem is not None:
        raise call.refuse(ContractViolation(f"{call.place} {problem} (from inside its nested graph)")) from None


def _drop_writes(call: NodeCall) -> None:
    written: Any = getattr(call.config.get(CONF, {}).get(CONFIG_KEY_SEND), "__self__", None)
    if hasattr(written, "clear"):
        written.clear()
