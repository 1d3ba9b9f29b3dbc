"""What a compiled graph says about its nodes: keys, types, reducers, edges."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from langgraph.errors import ParentCommand
from langgraph.pregel import Pregel
from langgraph.pregel._read import PregelNode
from langgraph.pregel._write import ChannelWriteTupleEntry
from langgraph.types import Send

from governance.bound import BRANCH, UNDECLARED, Declared

if TYPE_CHECKING:
    pass

Graph = Pregel[Any, Any, Any, Any]


def declare(graph: Graph, name: str, node: PregelNode) -> Declared:
    builder = getattr(graph, "builder", None)
    spec = builder.nodes.get(name) if builder is not None else None
    if builder is None or spec is None:
        return UNDECLARED
    routes = {end for start, end in builder.edges if start == name}
    routes |= {end for starts, end in builder.waiting_edges if name in starts}
    ends = [branch.ends for branch in builder.branches.get(name, {}).values()]
    for known in (*ends, spec.ends):
        routes |= set(known.values() if isinstance(known, Mapping) else known or ())
    types: dict[str, Any] = {}
    for kind in builder.schemas:
        types.update(_hints(kind))
    channels = builder.channels
    keyed = "__root__" not in channels
    return Declared(
        keys=frozenset(channels) | frozenset(builder.managed) if keyed else None,
        types={key: types[key] for key in channels if key in types} if keyed else {},
        routes=frozenset(routes),
        reducers=frozenset(k for k, c in channels.items() if type(c).__name__ != "LastValue"),
        writes=_splitter(node),
        open_ended=any(known is None for known in ends),
    )


def _hints(kind: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(kind)
    except Exception:  # names that exist only while type checking; such keys are not type-checked
        return {}


def _splitter(node: PregelNode) -> Callable[[Any], tuple[list[tuple[str, Any]], list[str]]] | None:
    """LangGraph's own mapping of an update to writes, asked before it is carried out."""
    entries = getattr(node.writers[0], "writes", ()) if node.writers else ()
    mappers = [e.mapper for e in entries if isinstance(e, ChannelWriteTupleEntry)]
    if len(mappers) != 2:
        return None
    updates, control = mappers

    def split(update: Any) -> tuple[list[tuple[str, Any]], list[str]]:
        pairs = list(updates(update) or ())
        if type(update) is dict:
            return pairs, []
        try:
            sent = control(update) or ()
        except ParentCommand:
            return pairs, []
        return pairs, [v.node if isinstance(v, Send) else k[len(BRANCH) :] for k, v in sent]

    return split
