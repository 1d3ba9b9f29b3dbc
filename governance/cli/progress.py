"""What a run shows while it goes on: each node as it ends, and what runs now."""

from __future__ import annotations

import json
import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from governance.cli.places import plain


class View:
    """The progress of one run, on stderr; a quiet one shows nothing."""

    def __init__(self, console: Console, *, quiet: bool) -> None:
        self._console = console
        self._quiet = quiet
        self._running: dict[str, tuple[str, float]] = {}
        self._status: Status | None = None

    def __enter__(self) -> View:
        if not self._quiet and self._console.is_terminal:
            self._status = self._console.status("starting")
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def see(self, place: tuple[str, ...], piece: dict[str, Any]) -> None:
        """A task of LangGraph that began or ended, in the graph or in one nested in it."""
        name = "/".join([*(part.partition(":")[0] for part in place), piece["name"]])
        if "triggers" in piece:
            self._running[piece["id"]] = (name, time.monotonic())
        else:
            _, began = self._running.pop(piece["id"], (name, time.monotonic()))
            self._line(name, time.monotonic() - began, piece)
        if self._status is not None:
            self._status.update(escape(", ".join(name for name, _ in self._running.values())) or "between steps")

    def say(self, text: str) -> None:
        if not self._quiet:
            self._console.print(text, markup=False)

    def note(self, text: str) -> None:
        if not self._quiet:
            self._console.print(f"[dim]{escape(text)}[/dim]")

    def question(self, value: Any) -> None:
        self.say(f"waits for an answer: {json.dumps(plain(value), ensure_ascii=False)[:600]}")

    def _line(self, name: str, seconds: float, piece: dict[str, Any]) -> None:
        if self._quiet:
            return
        if piece.get("error"):
            mark = "[red]failed[/red] "
        elif piece.get("interrupts"):
            mark = "[yellow]waits[/yellow]  "
        else:
            mark = "[green]done[/green]   "
        self._console.print(f"{mark} {escape(name)} [dim]{seconds:.1f} s[/dim]")
