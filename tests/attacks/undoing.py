"""A desk whose tools leave a mark when they act and when they are undone, and graphs under a policy with sagas."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool

from governance import Contract, Policy, Sidecar, SideEffect, declares, govern
from governance.policy_saga import SagaPolicy

MAY = {"*": Contract.permissive(), "*/*": Contract.permissive()}
SAGA = Policy(saga=SagaPolicy())


class Refused(Exception):
    """What the last node of a graph says that fails."""


def fails(state: Any = None) -> Any:
    raise Refused("not like this")


class Desk:
    """`marks` is what happened to the world, in the order of time."""

    def __init__(self) -> None:
        self.marks: list[str] = []
        self.lock = threading.Lock()

    def mark(self, what: str) -> str:
        with self.lock:
            self.marks.append(what)
        return what

    def tool(self, name: str, then: Callable[[], Any] = lambda: None, **effect: Any) -> BaseTool:
        """Does something, then `then`; its undo leaves a mark of its own, unless `undo` says otherwise."""

        def act(order: str = "") -> str:
            said = self.mark(f"{name} {order}".strip())
            then()
            return said

        def undo(args: Any, outcome: Any) -> None:
            self.mark(f"undo {outcome}")

        made = StructuredTool.from_function(act, name=name, description=name)
        return declares(SideEffect("write", **{"undo": undo, **effect}))(made)


def acts(tool: BaseTool, order: str = "") -> Any:
    """A node that calls a tool."""
    return lambda state: {"out": tool.invoke({"order": order})}


def under_saga(graph: Any, sidecar: Sidecar, policy: Policy = SAGA, **options: Any) -> Any:
    return govern(graph, contracts=MAY, policy=policy, sidecar=sidecar, **options)
