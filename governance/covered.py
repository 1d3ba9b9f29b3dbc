"""The coverage report: which nodes are governed, by which seam, what is waived, what is unknown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Covered:
    """One node: where it is, which seam governs it, and what its contract waives."""

    place: str
    seam: str
    state: str
    waived: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Coverage:
    """Everything known about a graph before it runs."""

    mode: str
    nodes: tuple[Covered, ...]
    seams: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"mode: {self.mode}"]
        for node in self.nodes:
            waived = f"  waives {', '.join(node.waived)}" if node.waived else ""
            reason = f"  ({node.reason})" if node.reason else ""
            lines.append(f"  {node.place:30s} {node.state:10s} by {node.seam}{waived}{reason}")
        lines += [f"  seam {name}: {what}" for name, what in self.seams.items()]
        lines += [f"  unknown until run time: {what}" for what in self.unknown]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        return {
            "mode": self.mode,
            "nodes": [
                {
                    "place": n.place,
                    "seam": n.seam,
                    "state": n.state,
                    "waived": list(n.waived),
                    "reason": n.reason,
                }
                for n in self.nodes
            ],
            "seams": dict(self.seams),
            "unknown": list(self.unknown),
        }
