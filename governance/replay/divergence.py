"""What a replay found: where it first went another way than the record."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from governance import canonical
from governance.replay.values import Object

SHOWN = 400
What = Literal[
    "input", "update", "prompt", "options", "arguments", "question", "outcome", "state", "order", "unrecorded",
    "missing", "connection", "incomplete",
]  # fmt: skip
"""What differs; `unrecorded`: it happened only now; `missing`: only then; `incomplete`: the record lacks it."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first place where a replay differs: exactly which step, and what was there on both sides."""

    path: str
    """The node, model or tool call; empty for what belongs to a run as a whole."""
    what: What
    n: int | None
    """The row of the record that says otherwise; None where there is none."""
    reason: str
    where: str = ""
    """The place within the value that differs, such as `messages[2].content`."""
    recorded: str = ""
    came: str = ""

    def __str__(self) -> str:
        lines = [f"{self.path or 'the run'}{f' (row {self.n})' if self.n is not None else ''}: {self.reason}"]
        if self.where:
            lines.append(f"  at        {self.where}")
        if self.recorded or self.came:
            lines += [f"  recorded  {self.recorded}", f"  came      {self.came}"]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of a replay."""

    session: str
    runs: int
    nodes: int
    calls: int
    divergence: Divergence | None

    @property
    def equal(self) -> bool:
        return self.divergence is None

    def as_data(self) -> dict[str, Any]:
        return {"equal": self.equal, **asdict(self)}

    def __str__(self) -> str:
        did = f"{_many(self.runs, 'run')}, {_many(self.nodes, 'node')}, {_many(self.calls, 'model and tool call')}"
        if self.divergence is None:
            return f"{self.session}: equal; {did}"
        return f"{self.session}: diverged after {did}\n{self.divergence}"


def shown(value: Any) -> str:
    """A side of a difference, as people read it."""
    text = value if isinstance(value, str) else canonical.text(_plain(value))
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text)} characters)"


def _plain(value: Any) -> Any:
    if isinstance(value, Object):
        return {value.kind.rpartition(".")[2]: _plain(value.parts)}
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
