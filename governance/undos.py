"""How effects are taken back: what contracts, tools and blocks of code say, found again by the name of the tool.

An effect may have to be taken back by another process than the one that did it, to which only the name
of its tool is known. Importing a graph declares its tools. Where two say different things under one
name, nobody knows which of them did it, and a person has to look.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import PurePath
from types import CellType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from governance.contracts import Contract, SideEffect

_declared: dict[str, list[SideEffect]] = {}
_lock = threading.Lock()
PLAIN = (str, int, float, bytes, PurePath)
DEEPEST = 5
KEPT = 4096
"""Names remembered: code may make up a new one for each of its effects."""


def declare(tool: str, effect: SideEffect) -> None:
    """Remember what a tool of this process says about its effect."""
    _add(_declared, tool, effect)


class Undos:
    """What one governed graph knows of taking effects back."""

    def __init__(self, contracts: Mapping[str, Contract]) -> None:
        self._contracts = contracts
        self._seen: dict[str, list[SideEffect]] = {}

    def saw(self, tool: str, effect: SideEffect) -> None:
        """An effect that happens in this process."""
        _add(self._seen, tool, effect)

    def of(self, tool: str) -> SideEffect | str:
        """What is declared for a tool: by the contracts, else by what ran here, else anywhere in this process.

        Where that is nothing, or not one thing, the reason.
        """
        ruled: dict[str, list[SideEffect]] = {}
        for contract in self._contracts.values():
            if tool in contract.effects:
                _add(ruled, tool, contract.effects[tool])
        for known in (ruled, self._seen, _declared):
            found = known.get(tool, ())
            if len(found) == 1:
                return found[0]
            if found:
                return f"different code declares an undo for {tool}; say in the `effects` of a contract which is meant"
        return f"{tool} declares no undo, or the code that does was not imported here"


def _add(known: dict[str, list[SideEffect]], tool: str, effect: SideEffect) -> None:
    """Two that differ are enough to know that nothing is known."""
    with _lock:
        others = [one for one in known.get(tool, ()) if not _alike(one, effect)]
        while tool not in known and len(known) >= KEPT:
            del known[next(iter(known))]
        known[tool] = [*others[-1:], effect]


def _alike(one: SideEffect, other: SideEffect) -> bool:
    pairs = ((one.undo, other.undo), (one.undone, other.undone), (one.reconcile, other.reconcile))
    return one.undo_idempotent == other.undo_idempotent and all(_same(*pair) for pair in pairs)


def _same(one: Any, other: Any, depth: int = 0) -> bool:
    """Whether two are the same code on the same things, as of one function that was defined again.

    Things are compared by what they are, not by what they hold: that could take long, or fail.
    """
    if one is other:
        return True
    if type(one) is not type(other) or depth > DEEPEST:
        return False
    if isinstance(one, PLAIN):
        return bool(one == other)
    if isinstance(one, MethodType):
        return one.__self__ is other.__self__ and one.__func__ is other.__func__
    if isinstance(one, FunctionType) and one.__code__ == other.__code__:
        mine, its = _held(one), _held(other)
        return len(mine) == len(its) and all(_same(*pair, depth + 1) for pair in zip(mine, its, strict=True))
    return False


def _held(function: FunctionType) -> list[Any]:
    """What code stands on: what is around it, and its defaults."""
    cells = function.__closure__ or ()
    return [
        *(_content(cell) for cell in cells),
        *(function.__defaults__ or ()),
        *(function.__kwdefaults__ or {}).values(),
    ]


def _content(cell: CellType) -> Any:
    """One that is not filled yet is like no other."""
    try:
        return cell.cell_contents
    except ValueError:
        return object()
