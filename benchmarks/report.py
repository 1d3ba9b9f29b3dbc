"""How every benchmark reports: a table for people, then one JSON line; exit status 1 where a target is missed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on one figure."""

    bound: float
    side: Literal["at most", "at least"] = "at most"

    def met(self, value: float | None) -> bool:
        if value is None:
            return False
        return value <= self.bound if self.side == "at most" else value >= self.bound


def report(
    name: str,
    figures: Mapping[str, float | None],
    targets: Mapping[str, Target],
    *,
    notes: str = "",
    only_json: bool = False,
) -> int:
    """Print the result; the exit status of the benchmark is returned."""
    ok = all(target.met(figures.get(key)) for key, target in targets.items())
    if not only_json:
        _print_table(name, figures, targets, notes)
    bounds = {key: f"{t.side} {t.bound:g}" for key, t in targets.items()}
    print(json.dumps({"benchmark": name, "figures": dict(figures), "targets": bounds, "ok": ok}))
    return 0 if ok else 1


def _print_table(name: str, figures: Mapping[str, float | None], targets: Mapping[str, Target], notes: str) -> None:
    table = Table(title=f"{name} (load {os.getloadavg()[0]:.1f})")
    for column in ("figure", "value", "target", ""):
        table.add_column(column)
    for key, value in figures.items():
        target = targets.get(key)
        shown = "not measured" if value is None else f"{value:.4g}"
        bound = f"{target.side} {target.bound:g}" if target else ""
        verdict = "" if target is None else ("ok" if target.met(value) else "MISSED")
        table.add_row(key, shown, bound, verdict)
    console = Console()
    console.print(table)
    if notes:
        console.print(notes)
