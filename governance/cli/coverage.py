"""`sidecar coverage`: what is governed in a graph, before it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from governance import sidecar
from governance.cli.places import AsJson, print_json
from governance.loading import load_graph

Graph = Annotated[str, typer.Argument(metavar="GRAPH", help="A name in langgraph.json, ./file.py:attr or module:attr.")]


def coverage(graph: Graph, as_json: AsJson = False) -> None:
    """Say which nodes of a graph are governed, by which seam, what is waived and what only run time can tell."""
    found = sidecar.coverage(load_graph(graph))
    if as_json:
        print_json(found.as_dict())
    else:
        print(found)
