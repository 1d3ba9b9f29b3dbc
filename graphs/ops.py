"""The ops graph: from an alert to a healed service, every step inside its contract.

    intake -> triage -> investigate -> diagnose -> plan -> act -> verify -> close
                                                     ^      |        |        ^
                                                     +refused        +roll_back

`ops_steps` holds the steps, plain functions; `ops_contracts` what each of them may do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from governance import govern
from graphs import ops_steps as steps
from graphs.ops_contracts import CONTRACTS

POLICY = Path(__file__).parents[1] / "sidecar.toml"
Graph = CompiledStateGraph[steps.Ops, None, steps.Input, steps.Ops]


def build(checkpointer: BaseCheckpointSaver[Any] | None = None) -> Graph:
    """Wire the steps; nothing in here knows that it will be governed."""
    builder = StateGraph(steps.Ops, input_schema=steps.Input)
    for step in (
        steps.intake,
        steps.triage,
        steps.investigate,
        steps.diagnose,
        steps.plan,
        steps.act,
        steps.verify,
        steps.roll_back,
        steps.close,
    ):
        builder.add_node(step)
    builder.add_edge(START, "intake")
    builder.add_edge("intake", "triage")
    builder.add_edge("triage", "investigate")
    builder.add_edge("investigate", "diagnose")
    builder.add_edge("diagnose", "plan")
    builder.add_edge("plan", "act")
    builder.add_conditional_edges("act", steps.after_act)
    builder.add_conditional_edges("verify", steps.after_verify)
    builder.add_edge("roll_back", "close")
    builder.add_edge("close", END)
    return builder.compile(checkpointer=checkpointer)


graph = govern(build(), contracts=CONTRACTS, policy=POLICY)
