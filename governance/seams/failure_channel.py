"""Where a graph keeps the failures it has isolated, and where control goes after one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from langgraph.channels import BinaryOperatorAggregate
from langgraph.constants import END, START
from langgraph.pregel._write import PASSTHROUGH, ChannelWrite, ChannelWriteEntry

from governance.bound import BRANCH
from governance.errors import ContractError
from governance.isolation import CHANNEL
from governance.seams.declared import Graph
from governance.seams.governed import GovernedSeq

if TYPE_CHECKING:
    from governance.contracts import Contract

KEPT = 1_000
"""Failures of one run; the oldest go first."""
JOIN = "join:"
CLEARS = ChannelWriteEntry(CHANNEL, None)


def gathered(kept: list[Any], came: list[Any] | None) -> list[Any]:
    """A new input clears what is kept; a failure is added to it."""
    return [] if came is None else [*kept, *came][-KEPT:]


def give_channel(graph: Graph) -> None:
    """Give a graph the channel, and its entry the write that clears it; once."""
    if CHANNEL in graph.channels:
        return
    # Another dictionary: a run of the same graph may be going through the old one.
    graph.channels = {**graph.channels, CHANNEL: BinaryOperatorAggregate(list, gathered)}
    entry = graph.nodes[START]
    entry.writers.append(ChannelWrite((CLEARS,)))
    entry.__dict__.pop("flat_writers", None)
    ran = entry.__dict__.pop("node", None)
    if isinstance(ran, GovernedSeq):
        entry.__dict__["node"] = GovernedSeq(ran.step, entry)


def keeps(channels: Any) -> bool:
    """Whether a run has the channel: a copy that was made of a graph before it was governed has not."""
    return CHANNEL in channels


def plain_edges(writers: Sequence[Any]) -> list[tuple[str, Any]]:
    """The edges of a node that nothing decides: what it writes to wake the next ones, whatever it returned."""
    return [(one.channel, one.value) for one in _entries(writers) if one.channel.startswith((BRANCH, JOIN))]


def onward(writers: Sequence[Any], route: str | None) -> list[tuple[str, Any]]:
    """The writes that carry control on after a failure: along the plain edges, or to one node."""
    edges = plain_edges(writers)
    if route is None:
        return edges
    if route == END:
        return []
    # A join waits for each of those that lead to it, also for one that failed.
    joins = [(key, value) for key, value in edges if key.startswith(JOIN) and key.endswith(f":{route}")]
    return joins or [(BRANCH + route, None)]


def check_isolation(place: str, contract: Contract, graph: Graph) -> None:
    """Raise where nobody could say where control goes after the failure of a node."""
    name, builder = place.rpartition("/")[2], getattr(graph, "builder", None)
    spec = builder.nodes.get(name) if builder is not None else None
    if builder is None or spec is None:
        raise ContractError(f"{place!r} is no node of a StateGraph; only these can be isolated")
    if spec.error_handler_node is not None:
        raise ContractError(f"{place!r} has an error_handler of LangGraph, which an isolation would keep from running")
    route = contract.failure_route
    if route is not None and route != END and route not in graph.nodes:
        known = ", ".join(sorted(one for one in graph.nodes if one != START))
        raise ContractError(f"the contract of {place!r} has the failure_route {route!r}, but the graph has: {known}")
    if route is None and (builder.branches.get(name) or spec.ends):
        raise ContractError(
            f"{place!r} decides by what it returns where control goes, and returns nothing when it fails; "
            "name a node in failure_route"
        )


def check_fallback(place: str, contract: Contract, graph: Graph) -> None:
    """Raise where a contract names a node as a fallback that is not there."""
    name, named = place.rpartition("/")[2], contract.fallback
    if isinstance(named, str) and (named not in graph.nodes or named in (name, START)):
        known = ", ".join(sorted(one for one in graph.nodes if one not in (name, START)))
        raise ContractError(f"the contract of {place!r} has the fallback {named!r}; other nodes are: {known or 'none'}")


def _entries(writers: Sequence[Any]) -> Iterator[ChannelWriteEntry]:
    for writer in writers:
        for one in writer.writes if isinstance(writer, ChannelWrite) else ():
            if isinstance(one, ChannelWriteEntry) and one.value is not PASSTHROUGH:
                yield one
