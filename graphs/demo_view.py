"""How the demo looks on a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.prompt import Prompt
from rich.table import Table

if TYPE_CHECKING:
    from graphs.demo import Story

BUSY = {
    "intake": "triage: the model judges the alerts",
    "triage": "investigate: the model chooses what to look at",
    "investigate": "diagnose: the model names the cause, gates check it",
    "diagnose": "plan: the model chooses an action",
    "plan": "act: the action is checked, and a person asked",
    "act": "verify: real checkouts are measured",
}
NAMES = 12
WORDS = {
    "gate.revise": "gate refused, asked again",
    "gate.escalate": "gate asks a person",
    "tool.answered": "action refused",
    "tool.refused": "action refused",
    "node.refused": "step refused",
}


class View:
    """Writes the story as it goes; quiet, it writes nothing but the JSON at the end."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(quiet=quiet, highlight=False)

    def title(self, model: str, *, live: bool) -> None:
        what = f"asking {model}" if live else f"recorded answers of {model}: no key, no network"
        self.console.print(f"[bold]Sidecar heals a broken service[/bold]  [dim]({escape(what)})[/dim]")

    def busy(self, what: str) -> AbstractContextManager[Any]:
        return self.console.status(what)

    def following(self, updates: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Pass updates on, and say meanwhile what the next step does."""
        waiting = iter(updates)
        doing = "intake: the incident is checked, and health measured"
        while True:
            with self.busy(doing):
                update = next(waiting, None)
            if update is None:
                return
            doing = BUSY.get(next(iter(update)), "closing")
            yield update

    def row(self, name: str, told: str, *, style: str = "cyan") -> None:
        """Print one line with its name in the first column; long text stays in the second."""
        rows = Table.grid(padding=(0, 1))
        rows.add_column(width=NAMES, style=f"bold {style}")
        rows.add_column(overflow="fold")
        rows.add_row(name, told)
        self.console.print(rows)

    def note(self, name: str, told: str) -> None:
        self.row(name, escape(told), style="white")

    def health(self, when: str, health: Mapping[str, Any]) -> None:
        colour = "green" if health["success_rate"] > 0.99 else "red"
        rate = f"[{colour}]{health['success_rate']:.0%}[/{colour}] of checkouts succeed"
        why = f"  [dim]{escape(health['failures'][0])}[/dim]" if health["failures"] else ""
        self.row(when, f"{rate}, p95 {health['p95_ms']:.0f} ms{why}", style=colour)

    def step(self, name: str, wrote: Mapping[str, Any]) -> None:
        self.row(name, escape(TOLD[name](wrote) if name in TOLD else ""))

    def refusal(self, refusal: Mapping[str, str]) -> None:
        word = WORDS.get(refusal["kind"], refusal["kind"])
        reason, _, _ = refusal["reason"].partition("; there is:")
        self.row(refusal["where"], f"[red]{word}:[/red] {escape(reason)}", style="red")

    def card(self, card: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """Show what is to be decided, exactly, and the evidence for it."""
        what, rows = card["what"], Table.grid(padding=(0, 2))
        if "tool" in what:
            rows.add_row("action", escape(f"{what['tool']} {json.dumps(what['args'])}"))
            rows.add_row("dry run", escape(str(card["evidence"]["dry_run"])))
            found = state["diagnosis"]
            rows.add_row("cause", escape(f"{found['service']}: {found['cause']}"))
            for name in found["evidence"]:
                rows.add_row("evidence", escape(f"{name}: {state['evidence'].get(name, 'unknown')}"))
        else:
            rows.add_row("answer", escape(json.dumps(what["update"])))
        rows.add_row("asked by", escape(f"{card['proposer']}: {what['reason']}"))
        self.console.print(
            Panel(rows, title="approval needed", title_align="left", border_style="yellow", expand=False)
        )

    def ask(self) -> tuple[str, str]:
        decision = Prompt.ask("  decide", choices=["approve", "deny"], default="approve", console=self.console)
        return decision, "decided at the terminal"

    def end(self, story: Story) -> None:
        self.health("after", story.after)
        chain = "every hash holds" if story.verified else "DAMAGED"
        self.note("cost", f"{story.tokens} tokens in {story.model_calls} model calls")
        self.note("ledger", f"{story.rows} rows, {chain} ({story.ledger})")
        word = (
            "[bold green]healed[/bold green]"
            if story.healed
            else f"[bold red]not healed: {escape(story.outcome)}[/bold red]"
        )
        self.console.print(f"{word} in {story.seconds:.0f} s")

    def as_json(self, story: Story) -> None:
        sys.stdout.write(json.dumps(asdict(story)) + "\n")


TOLD: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "intake": lambda wrote: (
        f"{wrote['incident']['title']}; {wrote['health_before']['success_rate']:.0%} of probes succeed"
    ),
    "triage": lambda wrote: f"{wrote['triage']['severity']}: {wrote['triage']['summary']}",
    "investigate": lambda wrote: f"found {', '.join(wrote['evidence'])}",
    "diagnose": lambda wrote: (
        f"{wrote['diagnosis']['service']}: {wrote['diagnosis']['cause']} "
        f"(evidence {', '.join(wrote['diagnosis']['evidence'])})"
    ),
    "plan": lambda wrote: f"{wrote['plan']['tool']} {json.dumps(wrote['plan']['args'])}",
    "act": lambda wrote: f"{wrote['action']['tool']} done" if "action" in wrote else "nothing done; plan again",
    "verify": lambda wrote: f"{wrote['health_after']['success_rate']:.0%} of probes succeed",
    "roll_back": lambda wrote: "the action did not help and was taken back",
    "close": lambda wrote: wrote["outcome"],
}
