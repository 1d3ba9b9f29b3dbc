"""One execution of a governed node or task: where it begins, and what is final when it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from langgraph._internal._config import recast_checkpoint_ns
from langgraph._internal._constants import CONF, CONFIG_KEY_CHECKPOINT_NS, CONFIG_KEY_SEND
from langgraph.errors import GraphBubbleUp, GraphInterrupt, ParentCommand
from langgraph.types import Command, Interrupt

from governance.call import Call, NodeCall
from governance.current import CURRENT, mark_place, unmark_place
from governance.errors import ContractViolation, Refusal
from governance.filters.contract import grant
from governance.reruns import left_node
from governance.seams.identity import RUN


class entered:
    """One execution of a governed node, from its first step to its last write."""

    __slots__ = ("call", "mark", "run", "token")

    def __init__(self, call: NodeCall) -> None:
        self.call = call

    def __enter__(self) -> None:
        self.token = CURRENT.set(self.call)
        self.run = RUN.get()
        self.mark = mark_place(self.call)

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        call = self.call
        unmark_place(self.mark)
        RUN.set(self.run)  # its nested runs are no business of the nodes after it
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
        elif error is not None:
            left_node(error, call)
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
    """A refusal that leaves a nested run or task is final for the node it leaves into; a question has to be asked."""

    __slots__ = ("parent",)

    def __init__(self, parent: Call) -> None:
        self.parent = parent

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Refusal):
            self.parent.node.refuse(error)
        elif isinstance(error, GraphInterrupt) and any(map(_asks_about_a_card, error.args[0])):
            self.parent.node.question = error


def taken_over(call: NodeCall, raised: ParentCommand) -> Command[Any]:
    """What a nested graph sent to this one, as an update of the node it is; what is meant for another goes on.

    LangGraph would write it without the node's chain; as an update it passes gates, approval and contract.
    """
    command: Command[Any] = raised.args[0]
    if not (call.bound.enforced and _is_for(call, command)):
        raise raised
    return replace(command, graph=None)


def check_parent_command(call: NodeCall, raised: ParentCommand) -> None:
    """A command from a graph that ran outside of the node's chain: in a router, or in a task."""
    command: Command[Any] = raised.args[0]
    if not (call.bound.enforced and _is_for(call, command)):
        return
    if call.contract.gates or call.contract.approval is not None:
        problem: str | None = "was sent an update where its gates cannot see it"
    else:
        problem = grant(Command(update=command.update, goto=command.goto), call)
    if problem is not None:
        raise call.refuse(ContractViolation(f"{call.place} {problem} (from inside its nested graph)")) from None


def _is_for(call: NodeCall, command: Command[Any]) -> bool:
    """Whether LangGraph would carry a command out in the graph of this node."""
    namespace = call.config[CONF].get(CONFIG_KEY_CHECKPOINT_NS, "")
    return command.graph in (namespace, recast_checkpoint_ns(namespace), call.name)


def _asks_about_a_card(asked: Interrupt) -> bool:
    """Whether a question is ours; what the author's code asks, it may also answer."""
    return isinstance(asked.value, Mapping) and asked.value.get("card") == asked.id


def _drop_writes(call: NodeCall) -> None:
    written: Any = getattr(call.config.get(CONF, {}).get(CONFIG_KEY_SEND), "__self__", None)
    if hasattr(written, "clear"):
        written.clear()
