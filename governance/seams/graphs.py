"""Puts the seams on a whole graph, and on the nested graphs that can be found in it."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import TYPE_CHECKING, Any, NamedTuple

from langgraph.constants import START
from langgraph.pregel import Pregel
from langgraph.pregel._read import PregelNode
from langgraph.pregel._write import ChannelWrite

from governance.contracts import Contract
from governance.current import current_call
from governance.errors import (
    AuthorityRefused,
    ContractError,
)

if TYPE_CHECKING:
    from governance.sidecar import Governance
from governance.seams import last_attempt
from governance.seams.declared import Graph, declare
from governance.seams.failure_channel import check_fallback, check_isolation, give_channel
from governance.seams.governed import GovernedAlone, GovernedSeq
from governance.seams.retries import REVISIONS, shielded
from governance.seams.steps import Step, keeps_its_own


def step_of(node: PregelNode) -> Step | None:
    ran = node.__dict__.get("node")
    return ran.step if isinstance(ran, (GovernedSeq, GovernedAlone)) else None


def governance_of(graph: Graph) -> Governance | None:
    """What `govern` bound to this graph or to the graph it is a copy of."""
    for node in graph.nodes.values():
        step = step_of(node)
        if step is not None and step.root is not None:
            return step.root.in_force.now
    return None


def attach(graph: Any, governance: Governance) -> None:
    """Seam 1 for a whole graph and the nested graphs LangGraph finds in it; all or nothing."""
    if not isinstance(graph, Pregel):
        given = type(graph).__name__
        raise ContractError(f"govern() takes a compiled graph (builder.compile(), create_agent(...)), not {given}")
    if (call := current_call()) is not None:
        raise call.node.refuse(AuthorityRefused(f"{call.node.place} tried to govern a graph again", code="operator"))
    _validate(graph, governance)
    attach_steps(graph, governance)


def attach_steps(graph: Graph, governance: Governance, *, nested: bool = False, above: str = "") -> None:
    """Seam 1 for a graph and those in it; `above` is the place of the node that it runs in."""
    followed = _followed(graph, governance, above)
    _attach_each(graph, governance, seen=set(), nested=nested)
    for node in followed:
        node.__dict__["node"].followed = True


def _attach_each(graph: Graph, governance: Governance, *, seen: set[int], nested: bool) -> None:
    if id(graph) in seen:
        return
    seen.add(id(graph))
    for name, node in graph.nodes.items():
        if node.node is None or (name == START and not _chooses(node)):
            continue
        step = step_of(node)
        if step is None:
            step = Step(name, graph.nodes, declare(graph, name, node))
            node.__dict__["node"] = GovernedSeq(step, node) if node.flat_writers else GovernedAlone(step)
        if not nested:
            step.root = governance
        if governance.enforcing:
            _own_retries(graph, node)
        for subgraph in node.subgraphs:
            if isinstance(subgraph, Pregel):
                _attach_each(subgraph, governance, seen=seen, nested=True)


def _followed(graph: Graph, governance: Governance, above: str) -> list[PregelNode]:
    """The nodes whose contracts say what follows their last attempt; their graphs get what an isolation needs."""
    if not governance.outlives_failures:
        return []
    last_attempt.install()
    found: list[PregelNode] = []
    for _, (inner, node, binding, place) in list(places(graph, governance, above, above)):
        contract = binding.contract(place) if binding is not None and binding.enforcing else None
        if contract is None or not contract.outlives:
            continue
        found.append(node)
        if contract.isolates:
            check_isolation(place, contract, inner)
            give_channel(inner)
    return found


def _chooses(entry: PregelNode) -> bool:
    """Whether the graph's entry runs code of the author's: a conditional edge that picks the first node."""
    return any(not isinstance(writer, ChannelWrite) for writer in entry.writers)


def _own_retries(graph: Graph, node: PregelNode) -> None:
    current = tuple(node.retry_policy or graph.retry_policy or ())
    if REVISIONS not in current:
        node.retry_policy = (REVISIONS, *shielded(current))


def _validate(graph: Graph, governance: Governance) -> None:
    """Contracts must fit the graph before anything is changed."""
    found = dict(places(graph, governance))
    top = {place for place in found if "/" not in place}
    if not governance.enforcing:
        return
    for pattern, given in governance.contracts.items():
        exact = not any(sign in pattern for sign in "*?[")
        if exact and pattern not in found and pattern.split("/")[0] not in top:
            raise ContractError(f"there is a contract for {pattern!r}, but the graph has: {', '.join(sorted(found))}")
        if exact and "/" not in pattern and pattern not in found:
            raise ContractError(f"there is a contract for {pattern!r}, but the graph has: {', '.join(sorted(found))}")
        if not isinstance(given, Contract):
            raise ContractError(f"the contract for {pattern!r} is a {type(given).__name__}, not a Contract")
    for place, (inner, node, binding, _) in sorted(found.items()):
        if binding is not governance:
            continue  # a nested graph that was governed by itself brings its own contracts
        contract = governance.contract(place)
        if contract is None:
            own = step_of(node) if "/" in place else None
            if own is not None and own.root is not None:
                continue
            raise ContractError(
                f"node {place!r} has no contract; give it one, a pattern, or Contract.observe(reason=...)",
                place=place,
            )
        if contract.enforced:
            _validate_node(place, contract, inner, node)


def _validate_node(place: str, contract: Contract, graph: Graph, node: PregelNode) -> None:
    declared = declare(graph, place.rpartition("/")[2], node)
    if declared.keys is not None:
        named = {
            "reads": contract.reads,
            "writes": contract.writes,
            "feedback": contract.feedback and {contract.feedback},
        }
        for field, keys in named.items():
            for key in keys or ():
                if key not in declared.keys:
                    known = ", ".join(sorted(declared.keys))
                    raise ContractError(
                        f"the contract of {place!r} names {key!r} in {field}, but the state has: {known}"
                    )
    if (node.cache_policy or graph.cache_policy) and "cache" not in contract.waives:
        raise ContractError(
            f"node {place!r} has a cache policy: a hit would pass its contract by; remove it or waive 'cache'"
        )
    check_fallback(place, contract, graph)
    if contract.isolates:
        check_isolation(place, contract, graph)


class Placed(NamedTuple):
    """A node of a graph or of a nested one: whose contracts bind it, and the place by which they name it."""

    graph: Graph
    node: PregelNode
    governance: Governance | None
    place: str


def places(
    graph: Graph, governance: Governance | None, above: str = "", known_as: str = "", seen: Set[int] = frozenset()
) -> Iterator[tuple[str, Placed]]:
    if id(graph) in seen:
        return
    for name, node in graph.nodes.items():
        if name == START or node.node is None:
            continue
        step, binding, place = step_of(node), governance, known_as + name
        own = step.root if step is not None and above else None
        if own is not None and (governance is None or keeps_its_own(own, governance, place)):
            binding, place = own, name
        yield above + name, Placed(graph, node, binding, place)
        for subgraph in node.subgraphs:
            if isinstance(subgraph, Pregel):
                yield from places(subgraph, binding, f"{above}{name}/", f"{place}/", seen | {id(graph)})
