"""The ops graph on real services: what it heals, what it may not do, and what it takes back."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
from blockbuster import blockbuster_ctx
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from examples.services.admin import serve_admin
from examples.services.changes import PlatformError
from examples.services.client import RemotePlatform
from examples.services.platform import Platform
from governance import Contract, NodeCall, Sidecar, coverage, govern, load_policy, operator
from governance.errors import ApprovalDenied
from governance.policy import ApprovalPolicy
from governance.testing.cassettes import replaying
from graphs.models import ModelNotConfigured
from graphs.ops import POLICY, build, graph
from graphs.ops_contracts import CONTRACTS, a_cause
from tools.incident import ToolInputError

ROOT = Path(__file__).parents[2]
INCIDENTS = ROOT / "examples/incidents"
BAD_DEPLOY = ROOT / "cassettes/demo/ops.yaml"
RECORDED_MODEL = "qwen2.5-coder-1.5b-instruct"
RULES = replace(load_policy(POLICY), approvals=ApprovalPolicy(local_operators=("alice",)))
FOUND = {"service": "orders", "cause": "a release", "evidence": ["deploy:orders:2"]}
BACK = {"tool": "rollback_deploy", "args": {"service": "orders", "to_version": "1.4.0"}}


@pytest.fixture(scope="module")
def running() -> Iterator[RemotePlatform]:
    """Services in processes of their own, seen as the graph sees them."""
    with Platform() as platform, serve_admin(platform) as admin:
        yield RemotePlatform(admin.url)


@pytest.fixture
def platform(running: RemotePlatform, monkeypatch: pytest.MonkeyPatch) -> Iterator[RemotePlatform]:
    """The services, whole at the start of every test."""
    monkeypatch.setenv("SERVICES_URL", running.url)
    yield running
    running.deploy("orders", "1.4.0")
    running.set_config("inventory", "pool_size", 8)


@dataclass
class Desk:
    """One governed session of the graph, with the person who answers its questions."""

    graph: Any
    sidecar: Sidecar
    thread: str = "incident"

    @property
    def config(self) -> dict[str, Any]:
        return {"configurable": {"thread_id": self.thread}}

    @property
    def state(self) -> dict[str, Any]:
        return dict(self.graph.get_state(self.config).values)

    @property
    def card(self) -> dict[str, Any]:
        (interrupt,) = self.graph.get_state(self.config).interrupts
        return dict(interrupt.value)

    def take(self, incident: Any) -> None:
        self.graph.invoke({"incident": incident}, self.config)

    def answer(self, decision: str) -> dict[str, str]:
        return {"card": self.card["card"], "decision": decision, "by": "alice", "reason": "looked at it"}

    def decide(self, decision: str, **more: Any) -> None:
        self.graph.invoke(Command(resume=self.answer(decision)), self.config, **more)

    def planned(self, plan: dict[str, Any], **more: Any) -> None:
        """Run a plan as if a model had made it, up to what `act` makes of it."""
        incident = json.loads((INCIDENTS / "bad-deploy.json").read_text())
        made = {"incident": incident, "triage": {"severity": "sev1", "summary": "It fails."}, **more}
        with operator("alice", reason="a plan of her own"):
            self.graph.update_state(
                self.config, {**made, "evidence": {}, "diagnosis": FOUND, "plan": plan}, as_node="plan"
            )
        self.graph.invoke(None, self.config, interrupt_after=["act"])

    def record(self, kind: str) -> list[dict[str, Any]]:
        self.sidecar.ledger.flush()
        with closing(sqlite3.connect(self.sidecar.ledger.path)) as db:
            rows = db.execute("SELECT body FROM events WHERE kind=? ORDER BY n", (kind,))
            return [json.loads(body) for (body,) in rows]


@pytest.fixture
def desk(tmp_path: Path, platform: RemotePlatform) -> Iterator[Desk]:
    with desk_with(tmp_path, CONTRACTS) as desk:
        yield desk


@contextmanager
def desk_with(tmp_path: Path, contracts: dict[str, Contract]) -> Iterator[Desk]:
    sidecar = Sidecar(ledger=tmp_path / "ledger.db")
    try:
        yield Desk(govern(build(InMemorySaver()), contracts=contracts, policy=RULES, sidecar=sidecar), sidecar)
    finally:
        sidecar.close()


@dataclass
class Seen:
    """As much of a node call as a gate looks at."""

    state: dict[str, Any]

    def read(self, key: str) -> Any:
        return self.state[key]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name under which the recordings were made; where they are made anew, the endpoint stays."""
    monkeypatch.setenv("OPENAI_BASE_URL", os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:1/v1"))
    monkeypatch.setenv("SIDECAR_MODEL", RECORDED_MODEL)


@pytest.mark.cassette("demo/ops")
@pytest.mark.allow_hosts("127.0.0.1")
def test_a_bad_deploy_is_rolled_back_and_the_service_heals(desk: Desk, platform: RemotePlatform, model: None) -> None:
    """Real checkouts fail before and succeed after; the model's answers are a real model's."""
    platform.break_("bad_deploy")
    desk.take(str(INCIDENTS / "bad-deploy.json"))
    desk.decide("approve")
    rates = [desk.state[when]["success_rate"] for when in ("health_before", "health_after")]

    assert ("healed", [0.6, 1.0]) == (desk.state["outcome"], rates)
    assert "1.4.0" == platform.state("orders").version


@pytest.mark.cassette("graphs/test_ops/pool-exhausted")
@pytest.mark.allow_hosts("127.0.0.1")
def test_an_exhausted_pool_gets_its_size_back(desk: Desk, platform: RemotePlatform, model: None) -> None:
    """Another cause, another action: the model first blamed who only suffers, and a gate told it so."""
    platform.break_("pool_exhausted")
    desk.take(json.loads((INCIDENTS / "pool-exhausted.json").read_text()))
    desk.decide("approve")

    assert "gateway only suffers from inventory" in desk.record("gate.revise")[0]["reason"]
    assert "healed" == desk.state["outcome"]
    assert 8 == platform.state("inventory").config["pool_size"]


def test_it_heals_in_async_code_too(desk: Desk, platform: RemotePlatform, model: None) -> None:
    """As the server runs it; nothing of it blocks the event loop."""
    platform.break_("bad_deploy")

    async def session() -> None:
        await desk.graph.ainvoke({"incident": str(INCIDENTS / "bad-deploy.json")}, desk.config)
        await desk.graph.ainvoke(Command(resume=desk.answer("approve")), desk.config)

    with replaying(BAD_DEPLOY, allow=("127.0.0.1",)), blockbuster_ctx():
        asyncio.run(session())

    assert "healed" == desk.state["outcome"]


def test_an_action_that_does_not_help_is_taken_back(desk: Desk, platform: RemotePlatform, model: None) -> None:
    """A second fault, of which the incident knows nothing, keeps the service broken."""
    platform.break_("bad_deploy")
    platform.break_("pool_exhausted")
    with replaying(BAD_DEPLOY, allow=("127.0.0.1",)):
        desk.take(str(INCIDENTS / "bad-deploy.json"))
        desk.decide("approve")

    assert "rolled back" == desk.state["outcome"]
    assert ["1.4.0", "1.5.0"] == [change.after for change in platform.state("orders").history[-2:]]


def test_evidence_that_the_model_invented_is_stopped_by_a_gate(
    desk: Desk, platform: RemotePlatform, model: None
) -> None:
    """It cited a log line that no tool had shown; told so, it cited one that exists."""
    with replaying(BAD_DEPLOY, allow=("127.0.0.1",)):
        desk.take(str(INCIDENTS / "bad-deploy.json"))

    assert [["log:orders:2"]] == [row["evidence"] for row in desk.record("gate.revise")]
    assert set(desk.state["diagnosis"]["evidence"]) <= set(desk.state["evidence"])


def test_a_version_that_the_model_invented_is_refused(desk: Desk, platform: RemotePlatform, model: None) -> None:
    """The refusal names the way back, and the next plan takes it."""
    with replaying(BAD_DEPLOY, allow=("127.0.0.1",)):
        desk.take(str(INCIDENTS / "bad-deploy.json"))

    assert "(only rollback_deploy to 1.4.0 does that), not to 'previous_version'" in desk.state["refused"][0]
    assert {"service": "orders", "to_version": "1.4.0"} == desk.card["what"]["args"]


def test_a_diagnosis_that_stays_wrong_goes_to_a_person(tmp_path: Path, platform: RemotePlatform, model: None) -> None:
    """With no attempt left to the model, somebody is asked; a no ends it, and nothing was changed."""
    once = {**CONTRACTS, "diagnose": CONTRACTS["diagnose"].narrowed(attempts=1)}
    with desk_with(tmp_path, once) as desk:
        with replaying(BAD_DEPLOY, allow=("127.0.0.1",), complete=False):
            desk.take(str(INCIDENTS / "bad-deploy.json"))

        assert "cites evidence that does not exist: 'log:orders:2'" in desk.card["what"]["reason"]
        with pytest.raises(ApprovalDenied, match="diagnose was denied by local:alice: looked at it"):
            desk.decide("deny")


@pytest.mark.parametrize(
    ("service", "reason"),
    [
        ("gateway", "gateway only suffers from orders, see deploy:orders:2"),
        ("database", "database is none of the services: gateway, inventory, orders, payments"),
        ("orders", None),
    ],
)
def test_who_only_suffers_is_not_accepted_as_the_cause(service: str, reason: str | None) -> None:
    """The gate follows the symptoms to where they begin, by the evidence that was seen."""
    incident = json.loads((INCIDENTS / "bad-deploy.json").read_text())
    seen = Seen({"incident": incident, "evidence": {"deploy:orders:2": "a release"}})

    assert reason == a_cause(cast(NodeCall, seen), {"diagnosis": {**FOUND, "service": service}})


def test_the_card_shows_the_exact_action_and_what_it_would_do(desk: Desk, platform: RemotePlatform) -> None:
    """The dry run looked at the running service."""
    platform.break_("bad_deploy")
    desk.planned(BACK)

    assert BACK == {name: desk.card["what"][name] for name in ("tool", "args")}
    assert {
        "dry_run": "would replace orders 1.5.0 by 1.4.0 and restart it; undo: back to 1.5.0",
        "undo": True,
    } == desk.card["evidence"]


def test_a_denied_action_changes_nothing(desk: Desk, platform: RemotePlatform) -> None:
    """The next plan is made knowing who said no, and why."""
    platform.break_("bad_deploy")
    desk.planned(BACK)
    before = platform.state("orders")
    desk.decide("deny", interrupt_after=["act"])

    assert ["Refused: rollback_deploy was denied by local:alice: looked at it"] == desk.state["refused"]
    assert before == platform.state("orders")


def test_after_three_refusals_a_person_takes_over(desk: Desk, platform: RemotePlatform) -> None:
    """Nothing was changed, and the report says what was tried."""
    desk.planned({"tool": "restart_service", "args": {"service": "payments"}}, refused=["one", "two"])
    desk.graph.invoke(None, desk.config)

    assert "handed over" == desk.state["outcome"]
    assert "nothing was changed; refused: one; two; Refused: act may not call" in desk.state["report"]


@pytest.mark.parametrize(
    ("tool", "args", "reason"),
    [
        ("restart_service", {"service": "payments"}, "service must come from the state key 'diagnosis'"),
        ("rollback_deploy", {"service": "orders", "to_version": "9.9.9"}, "only rollback_deploy to 1.4.0 does that"),
        (
            "set_config",
            {"service": "orders", "key": "pool_size", "value": "100"},
            "only rollback_deploy to 1.4.0 does that",
        ),
    ],
)
def test_an_action_outside_the_contract_is_refused_before_anybody_is_asked(
    desk: Desk, platform: RemotePlatform, tool: str, args: dict[str, Any], reason: str
) -> None:
    """Another service, another version, a new setting: the model reads why and may plan again."""
    before = [platform.state(name) for name in platform.services()]
    desk.planned({"tool": tool, "args": args})

    assert reason in desk.state["refused"][0]
    assert reason in desk.record("tool.answered")[0]["reason"]
    assert before == [platform.state(name) for name in platform.services()]


def test_an_action_that_cannot_be_done_is_told_and_not_tried(
    desk: Desk, platform: RemotePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dry run finds it out, and nobody is asked to approve it."""
    monkeypatch.setenv("SERVICES_URL", "http://127.0.0.1:9")
    desk.planned(BACK)

    assert "no services answer at http://127.0.0.1:9" in desk.state["refused"][0]


def test_an_incident_file_that_is_missing_says_so(desk: Desk) -> None:
    """One line, before anything was spent."""
    with pytest.raises(ToolInputError, match=r"none\.json: expected an incident file, got No such file"):
        desk.take("none.json")


def test_an_input_without_an_incident_says_what_to_give(desk: Desk) -> None:
    """With an example that can be typed."""
    with pytest.raises(ToolInputError, match=r'give \{"incident": "examples/incidents/bad-deploy.json"\}'):
        desk.graph.invoke({}, desk.config)


def test_a_malformed_alert_is_named_with_its_place(desk: Desk) -> None:
    """Field, what was expected, what came."""
    incident = json.loads((INCIDENTS / "bad-deploy.json").read_text())
    incident["alerts"][0]["severity"] = "loud"
    with pytest.raises(ToolInputError, match=r"alerts\[0\].severity: expected 'critical', 'warning' or 'info'"):
        desk.take(incident)


def test_services_that_do_not_run_are_said_to_not_run(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that starts them."""
    monkeypatch.setenv("SERVICES_URL", "http://127.0.0.1:9")
    with pytest.raises(PlatformError, match=r"start them with `python -m examples\.services up`"):
        desk.take(str(INCIDENTS / "bad-deploy.json"))


def test_without_an_endpoint_the_error_says_what_to_set(desk: Desk) -> None:
    """Nothing reached a network."""
    with pytest.raises(ModelNotConfigured, match="expected OPENAI_API_KEY, or OPENAI_BASE_URL"):
        desk.take(str(INCIDENTS / "bad-deploy.json"))


def test_every_step_of_the_served_graph_is_enforced() -> None:
    """The graph of langgraph.json, imported without a key, waives nothing."""
    report = coverage(graph)

    assert set(CONTRACTS) == {node.place for node in report.nodes}
    assert {("enforce", ())} == {(node.state, node.waived) for node in report.nodes}
