"""What long sessions cost, and whether they forget: recorded sessions, chained, through the governed boundary.

Each model call of a recorded session is made once in a governed graph whose contract bounds the context, with the
recorded answer. Counted is what the model was really shown. Before, one would have shown it the whole history.
Summaries are made without a model, so there are no calls of theirs to be charged.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypedDict

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.graph import START, StateGraph
from pydantic import Field

from benchmarks.options import options_of
from benchmarks.report import Target, report
from benchmarks.tokens_needed import Needed
from benchmarks.tokens_sessions import DOMAINS, Desk, Session, desk, sessions
from governance import Context, Contract, Sidecar, govern
from governance.filters.context import ContextFilter
from governance.tokens import COUNTER

HISTORY = 3_500
CALLS = 244
MARKED = (58, 122, 244)
SHORT = 30
"""Calls below which the provider's cache may cost no more than this much of what it would without us."""
CACHED = 0.25
"""What a token costs that the provider has in its cache."""
EARLY, LATE, STEPS, PARTS, TRIES = 50, 5_000, 160, 2, 5
COLD = bytes(8_000_000)
"""More than the caches of a core hold."""
TARGETS = {
    "ratio_58": Target(0.50),
    "ratio_122": Target(0.30),
    "ratio_244": Target(0.15),
    "peak_over_prefix": Target(HISTORY),
    "step_cost_growth": Target(1.20),
    "needed_later_kept": Target(0.98, "at least"),
    "cache_priced_below_30": Target(1.05),
}


class State(TypedDict):
    history: list[BaseMessage]


class Recorded(BaseChatModel):
    """Answers as it did, and remembers what it was shown."""

    shown: list[list[BaseMessage]] = Field(default_factory=list)
    answer: AIMessage = AIMessage("")

    @property
    def _llm_type(self) -> str:
        return "recorded"

    def _generate(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        self.shown.append(messages)
        return ChatResult(generations=[ChatGeneration(message=self.answer)])


class Desks:
    """A governed graph of one node for each domain; its node asks the model with the whole history."""

    def __init__(self, data: Path, sidecar: Sidecar) -> None:
        self.data, self.sidecar, self.model = data, sidecar, Recorded()
        self._made: dict[str, tuple[Desk, Any]] = {}

    def of(self, domain: str) -> tuple[Desk, Any]:
        if domain not in self._made:
            found = desk(self.data, domain)
            first = SystemMessage(found.policy)

            def agent(state: State) -> dict[str, Any]:
                self.model.invoke([first, *state["history"]], tools=found.tools)
                return {}

            graph = StateGraph(State).add_node("agent", agent).add_edge(START, "agent").compile()
            contracts = {"agent": Contract(context=Context(history=HISTORY))}
            self._made[domain] = found, govern(graph, contracts=contracts, sidecar=self.sidecar)
        return self._made[domain]

    def ask(self, domain: str, history: list[BaseMessage], thread: str) -> list[BaseMessage]:
        """What the model is shown of a history."""
        self.model.shown.clear()
        self.of(domain)[1].invoke({"history": history}, {"configurable": {"thread_id": thread}})
        return self.model.shown[0]


class Bill:
    """Tokens of the prompts of one session, cumulated, and at the price of a cache."""

    def __init__(self, fixed: int) -> None:
        self.fixed = fixed
        self.tokens, self.price = [0], [0.0]
        self.peak = 0
        self._before: list[tuple[str, str]] = []

    def add(self, prompt: Sequence[BaseMessage]) -> None:
        sizes = [COUNTER.message(message) for message in prompt]
        told = [(message.type, str(message.content) + str(getattr(message, "tool_calls", ""))) for message in prompt]
        same = next((n for n, (a, b) in enumerate(zip(told, self._before, strict=False)) if a != b), None)
        same = min(len(told), len(self._before)) if same is None else same
        cached = sum(sizes[:same]) + (self.fixed if self._before else 0)
        total = sum(sizes) + self.fixed
        self._before = told
        self.peak = max(self.peak, total)
        self.tokens.append(self.tokens[-1] + total)
        self.price.append(self.price[-1] + total - (1 - CACHED) * cached)


class FullBill(Bill):
    """The same for the whole history, of which every prompt is the beginning of the next."""

    def grow(self, tokens: int) -> None:
        before = self.tokens[-1] - self.tokens[-2] if len(self.tokens) > 1 else 0
        self.tokens.append(self.tokens[-1] + tokens)
        self.price.append(self.price[-1] + tokens - (1 - CACHED) * before)


def follow(desks: Desks, session: Session, thread: str) -> tuple[Bill, FullBill, Needed]:
    """Every model call of a session, with what it costs and what it was shown."""
    found, _ = desks.of(session.domain)
    first = SystemMessage(found.policy)
    fixed = COUNTER.options({"tools": found.tools}) + 3
    bill, full = Bill(fixed), FullBill(fixed)
    needed = Needed(session, f"{found.policy} {found.tools}")
    whole = fixed + COUNTER.message(first)
    prefix = whole
    for number, message in enumerate(session.messages):
        if isinstance(message, AIMessage):
            desks.model.answer = message
            shown = desks.ask(session.domain, session.messages[:number], thread)
            bill.add(shown)
            full.grow(whole)
            if message.tool_calls:
                needed.ask(number, shown)
        whole += COUNTER.message(message)
    bill.peak -= prefix
    return bill, full, needed


def ratio(those: Sequence[tuple[Bill, FullBill]], calls: int) -> float | None:
    """Of all sessions with so many calls together: what they cost until then, as a part of what they would have."""
    long = [(ours.tokens[calls], full.tokens[calls]) for ours, full in those if len(full.tokens) > calls]
    return sum(ours for ours, _ in long) / sum(full for _, full in long) if long else None


def dearest(those: Sequence[tuple[Bill, FullBill]]) -> float:
    """The worst of all sessions at any call below thirty, by the price of a cache."""
    return max(ours.price[n] / full.price[n] for ours, full in those for n in range(1, min(SHORT, len(full.price))))


class Clock:
    """CPU time that the filter takes, in whatever call it stands; it begins with cold caches.

    What runs before it reads all of a history, and would leave them warm after a short one alone.
    """

    def __init__(self) -> None:
        self.seconds = list[float]()
        inner = ContextFilter.__call__

        def timed(one: ContextFilter, call: Any) -> Any:
            COLD.count(1)
            began = time.thread_time()
            try:
                return inner(one, call)
            finally:
                self.seconds.append(time.thread_time() - began)

        ContextFilter.__call__ = timed  # type: ignore[method-assign]  # there is no other way to see it alone


def growth(desks: Desks, clock: Clock, session: Session) -> tuple[float, float, float]:
    """What a step costs early and late in a session, and how much more that is; the same turns each time.

    Each step is taken several times in turn, and the least counts: whatever else the machine does only adds to it.
    """
    early, late = 0.0, 0.0
    gc.collect()
    gc.disable()  # it charges whoever happens to allocate for all the objects of this process
    for part in range(PARTS):
        tries = [
            [_steps(desks, clock, session, base, part, f"{part}.{number}") for base in (EARLY, LATE)]
            for number in range(TRIES)
        ]
        early += _least([one for one, _ in tries]) / PARTS
        late += _least([other for _, other in tries]) / PARTS
    gc.enable()
    return early, late, late / early


def _least(tries: Sequence[Sequence[float]]) -> float:
    """What a step takes on average, each in its best try."""
    steps = [min(seconds) for seconds in zip(*tries, strict=True)]
    return sum(steps) / len(steps)


def _steps(desks: Desks, clock: Clock, session: Session, base: int, part: int, name: str) -> list[float]:
    """Seconds of CPU for each step after `base` messages; the new messages are new to every cache."""
    history = list(session.messages[:base])
    newest = session.messages[LATE + part * STEPS : LATE + (part + 1) * STEPS]
    thread, seconds = f"steps-{base}-{name}", list[float]()
    desks.ask(session.domain, history, thread)
    for message in newest:
        fresh = f"{message.content} ({base}.{name})" if message.content else ""
        history = [*history, message.model_copy(update={"content": fresh})]
        if not isinstance(message, AIMessage):
            clock.seconds.clear()
            desks.ask(session.domain, history, thread)
            seconds.append(sum(clock.seconds))
    return seconds


def chosen(data: Path, quick: bool) -> Iterator[Session]:
    """All sessions; with `quick`, the first of each domain."""
    for domain in DOMAINS:
        for number, session in enumerate(sessions(data, domain, CALLS)):
            if not quick or number < (3 if domain == "airline" else 1):
                yield session


def main(argv: list[str] | None = None) -> int:
    told = "a half of the recorded sessions (chatbot/trajectories/*.jsonl.gz), beside which lies env/chatbot"
    options = options_of("tokens", __doc__, quick="the first sessions of each domain only", data=told).parse_args(argv)
    where = options.data or os.environ.get("SIDECAR_BENCH_DATA")
    if where is None or not (Path(where) / "chatbot" / "trajectories").is_dir():
        print(f"benchmarks.tokens needs --data: {told}")
        return 2
    logging.getLogger("langgraph").setLevel(logging.ERROR)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        sidecar = Sidecar(ledger=Path(folder) / "ledger.db")
        desks = Desks(Path(where), sidecar)
        endless = Session("airline", [m for one in sessions(Path(where), "airline", CALLS) for m in one.messages], [0])
        early, late, grown = growth(desks, clock, endless)
        counts, bills, missed = Counter[str](), dict[str, list[tuple[Bill, FullBill]]](), list[str]()
        for number, session in enumerate(chosen(Path(where), options.quick)):
            ours, full, needed = follow(desks, session, f"session-{number}")
            bills.setdefault(session.domain, []).append((ours, full))
            counts += needed.count
            missed += needed.missed
        sidecar.close()
    every = [one for those in bills.values() for one in those]
    figures: dict[str, float | None] = {f"ratio_{n}": ratio(bills["airline"], n) for n in MARKED}
    figures |= {
        "peak_over_prefix": max(ours.peak for ours, _ in every),
        "step_cost_growth": grown,
        "needed_later_kept": counts["kept"] / counts["needed"],
        "cache_priced_below_30": dearest(every),
        "sessions": len(every),
        "calls": sum(len(ours.tokens) - 1 for ours, _ in every),
        "needed": counts["needed"],
        "kept_of_those_in_no_turn_shown": _part(counts, "in no turn that is shown"),
        "step_us": 1e6 * late,
    }
    notes = [f"{domain}: {_told(those)}" for domain, those in bills.items()]
    notes.append(f"step: {1e6 * early:.0f} us after {EARLY} messages, {1e6 * late:.0f} us after {LATE}")
    notes += ["not shown when needed:", *missed[:20]]
    return report("tokens", figures, TARGETS, notes="\n".join(notes), only_json=options.json)


def _part(counts: Counter[str], which: str) -> float | None:
    needed = counts[f"needed, {which}"]
    return counts[f"kept, {which}"] / needed if needed else None


def _told(those: Sequence[tuple[Bill, FullBill]]) -> str:
    parts = [f"{n} calls {found:.3f}" for n in MARKED if (found := ratio(those, n)) is not None]
    worst = max(ours.tokens[-1] / full.tokens[-1] for ours, full in those)
    return f"{len(those)} sessions, {', '.join(parts)} of the whole history, the worst session {worst:.3f} at its end"


if __name__ == "__main__":
    sys.exit(main())
