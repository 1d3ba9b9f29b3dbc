"""The demo: a real service is broken, and the governed ops graph heals it while you watch.

The services, the fault, the load and what is measured are real. The model's answers were recorded from
a real model and are replayed, so that neither a key nor a network is needed; live, a model is asked.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from openai import OpenAIError

from examples.services.admin import serve_admin
from examples.services.changes import PlatformError
from examples.services.load import drive
from examples.services.platform import Platform
from examples.services.worker import StartError
from governance import GovernanceError, Sidecar, govern, load_policy
from governance.plane.verify import Verification, verify
from governance.policy import ApprovalPolicy
from governance.testing.cassettes import CassetteError, replaying
from graphs.demo_view import View
from graphs.models import endpoint, missing, model_name
from graphs.ops import POLICY, build
from graphs.ops_contracts import CONTRACTS
from graphs.ops_steps import HEALTHY

ROOT = Path(__file__).parents[1]
INCIDENT = ROOT / "examples/incidents/bad-deploy.json"
CASSETTE = ROOT / "cassettes/demo/ops.yaml"
RECORDED_MODEL = "qwen2.5-coder-1.5b-instruct"
RECORDS = Path(".sidecar/demo")
RECORDS_KEPT = 5
OPERATOR = "demo"
CHECKOUTS = 120
NOTABLE = ("gate.revise", "gate.escalate", "gate.halt", "tool.answered", "tool.refused", "node.refused")


@dataclass
class Story:
    """What the demo saw, for people and for `--json`."""

    model: str
    ledger: str
    healthy: dict[str, Any] = field(default_factory=dict)
    broken: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    refusals: list[dict[str, str]] = field(default_factory=list)
    approvals: list[dict[str, str]] = field(default_factory=list)
    action: dict[str, Any] | None = None
    outcome: str = "unfinished"
    tokens: int = 0
    model_calls: int = 0
    rows: int = 0
    verified: bool = False
    healed: bool = False
    seconds: float = 0.0


def main(live: bool = False, json_output: bool = False) -> int:
    """Run the demo; 0 only if the service was broken and is healed, by real requests, and the ledger holds."""
    problem = missing() if live else None
    if problem is not None:
        print(f"demo: {problem}", file=sys.stderr)
        return 2
    view = View(quiet=json_output)
    try:
        story = run(view, live=live)
    except KeyboardInterrupt:
        view.note("stopped", "the services are down")
        return 130
    except (CassetteError, PlatformError, StartError, OSError) as failed:
        print(f"demo: {one_line(failed)}", file=sys.stderr)
        return 1
    if json_output:
        view.as_json(story)
    return 0 if story.healed and story.verified else 1


def run(view: View, *, live: bool) -> Story:
    """Tell the story from the first checkout to the verified ledger; every process ends with it."""
    started = time.monotonic()
    directory = records()
    story = Story(model_name() if live else RECORDED_MODEL, str(directory / "ledger.db"))
    view.title(story.model, live=live)
    with ExitStack() as stack:
        with view.busy("starting four services"):
            platform = stack.enter_context(Platform())
            admin = stack.enter_context(serve_admin(platform))
        sidecar = Sidecar(ledger=story.ledger, control=directory / "control.db")
        stack.callback(sidecar.close)
        stack.enter_context(environment(SERVICES_URL=admin.url))
        break_it(platform, story, view)
        if not live:
            stack.enter_context(recorded_answers())
        heal(sidecar, story, view, live=live)
        with view.busy("measuring"):
            story.after = checkouts(platform)
        story.healed = story.after["success_rate"] >= HEALTHY > story.broken["success_rate"]
    sum_up(story, view, seconds=time.monotonic() - started)
    return story


def break_it(platform: Platform, story: Story, view: View) -> None:
    """Show that it works, then deploy the bad release."""
    with view.busy("customers check out"):
        story.healthy = checkouts(platform)
    view.health("healthy", story.healthy)
    with view.busy("deploying a bad release"):
        change = platform.break_("bad_deploy")
        story.broken = checkouts(platform)
    view.note("deployed", f"{change.service} {change.before} -> {change.after}")
    view.health("broken", story.broken)


def checkouts(platform: Platform) -> dict[str, Any]:
    """Send real checkouts through the gateway and count what comes back."""
    health = drive(platform.state("gateway"), requests=CHECKOUTS, rate=CHECKOUTS / 2)
    return {"success_rate": health.success_rate, "p95_ms": health.p95_ms, "failures": list(health.failures)}


def heal(sidecar: Sidecar, story: Story, view: View, *, live: bool) -> None:
    """Run the governed graph, answer its questions, and note what was refused."""
    policy = replace(load_policy(POLICY), approvals=ApprovalPolicy(local_operators=(OPERATOR,)))
    graph = govern(build(InMemorySaver()), contracts=CONTRACTS, policy=policy, sidecar=sidecar)
    config: Any = {"configurable": {"thread_id": "demo"}}
    given: Any = {"incident": str(INCIDENT)}
    seen = 0
    while given is not None:
        pending, given = given, None
        try:
            for update in view.following(graph.stream(pending, config, stream_mode="updates")):
                seen = notice(sidecar, story, view, seen)
                for step, wrote in update.items():
                    if step == "__interrupt__":
                        given = Command(
                            resume=answer(wrote[0].value, graph.get_state(config).values, story, view, live=live)
                        )
                    else:
                        view.step(step, wrote or {})
                        keep(story, wrote or {})
        except OpenAIError as problem:
            view.note("ended", f"{story.model} at {endpoint()}: {one_line(problem)}")
        except (GovernanceError, ValueError) as problem:
            view.note("ended", one_line(problem))
        seen = notice(sidecar, story, view, seen)


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def keep(story: Story, wrote: Mapping[str, Any]) -> None:
    story.action = wrote.get("action", story.action)
    story.outcome = wrote.get("outcome", story.outcome)


def notice(sidecar: Sidecar, story: Story, view: View, seen: int) -> int:
    """Show what was refused since row `seen` of the ledger, in the ledger's own words."""
    rows = list(ledger_rows(sidecar, seen))
    for _, kind, place, body in rows:
        if kind == "model.ended":
            story.model_calls += 1
            story.tokens += body["tokens"]
        if kind in NOTABLE:
            refusal = {"kind": kind, "where": place.partition("#")[0], "reason": str(body.get("reason", ""))}
            story.refusals.append(refusal)
            view.refusal(refusal)
    return rows[-1][0] if rows else seen


def answer(
    card: Mapping[str, Any], state: Mapping[str, Any], story: Story, view: View, *, live: bool
) -> dict[str, str]:
    """Decide as the operator named `demo`: a person where one is there, else yes to the action as shown."""
    view.card(card, state)
    if live and sys.stdin.isatty():
        decision, reason = view.ask()
    elif "tool" in card["what"]:
        decision, reason = "approve", "as shown"
    else:
        decision, reason = "deny", "no person is here to judge it"
    view.note(f"{decision} by", f"{OPERATOR}, the local operator of this demo: {reason}")
    story.approvals.append({"what": card["path"], "decision": decision, "by": OPERATOR, "reason": reason})
    return {"card": card["card"], "decision": decision, "by": OPERATOR, "reason": reason}


def sum_up(story: Story, view: View, *, seconds: float) -> None:
    """Count what it cost and check the record."""
    checked: Verification = verify(story.ledger)
    story.verified, story.rows, story.seconds = checked.ok, checked.events, round(seconds, 1)
    view.end(story)


def ledger_rows(sidecar: Sidecar, after: int) -> Iterator[tuple[int, str, str, dict[str, Any]]]:
    """Read the session's rows after number `after`, everything that is under way included."""
    sidecar.ledger.flush()
    with closing(sqlite3.connect(sidecar.ledger.path)) as db:
        query = "SELECT n, kind, path, body FROM events WHERE session='demo' AND n>? ORDER BY n"
        for n, kind, path, body in db.execute(query, (after,)):
            yield n, kind, path, json.loads(body)


def records() -> Path:
    """Make a folder for this run's ledger; the newest few are kept, so that they can be looked at."""
    RECORDS.mkdir(parents=True, exist_ok=True)
    for old in sorted(RECORDS.iterdir())[: 1 - RECORDS_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    directory = RECORDS / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    directory.mkdir()
    return directory


@contextmanager
def recorded_answers() -> Iterator[None]:
    """Answer model calls from the cassette; nothing but this machine can be reached meanwhile."""
    with replaying(CASSETTE, allow=("127.0.0.1",)) as player:
        endpoint = player.base_url or ""
        with environment(OPENAI_BASE_URL=endpoint, OPENAI_API_KEY="none", SIDECAR_MODEL=RECORDED_MODEL):
            yield


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Set environment variables for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
