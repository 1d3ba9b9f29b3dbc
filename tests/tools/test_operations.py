"""The operations tools really change the running services, say so beforehand, and can take it back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool

from examples.services.admin import serve_admin
from examples.services.client import RemotePlatform
from examples.services.platform import Platform
from governance.contracts import SideEffect, effect_of
from tools.incident import ToolInputError
from tools.operations import operation_tools, recorded

WRITES = ("rollback_deploy", "restart_service", "set_config")
BAD_SIZE = {"service": "inventory", "key": "pool_size", "value": "1"}
BACK = {"service": "orders", "to_version": "1.4.0"}


@pytest.fixture(scope="module")
def platform() -> Iterator[RemotePlatform]:
    """Services in processes of their own, seen through the admin API as from another process."""
    with Platform() as running, serve_admin(running) as admin:
        yield RemotePlatform(admin.url)


@pytest.fixture
def tools(platform: RemotePlatform) -> Iterator[dict[str, BaseTool]]:
    yield {tool.name: tool for tool in operation_tools(platform, incident="one")}
    platform.deploy("orders", "1.4.0")
    platform.set_config("inventory", "pool_size", 8)


def effect(tool: BaseTool) -> SideEffect:
    found = effect_of(tool)
    assert found is not None
    return found


def test_every_tool_declares_what_it_does_to_the_world(tools: dict[str, BaseTool]) -> None:
    """Three write, one reads; only the restart does something new each time."""
    declared = {name: (effect(tool).kind, effect(tool).idempotent) for name, tool in tools.items()}

    assert {
        "rollback_deploy": ("write", True),
        "restart_service": ("write", False),
        "set_config": ("write", True),
        "measure_health": ("read", True),
    } == declared


def test_a_rollback_heals_what_the_deploy_broke(platform: RemotePlatform, tools: dict[str, BaseTool]) -> None:
    """Measured by real requests before and after."""
    platform.break_("bad_deploy")
    before = tools["measure_health"].invoke({"requests": 20})
    done = tools["rollback_deploy"].invoke(BACK)
    after = tools["measure_health"].invoke({"requests": 20})

    assert (0.6, 1.0) == (before["success_rate"], after["success_rate"])
    assert ("1.5.0", "1.4.0", True) == (done["before"], done["after"], done["changed"])


def test_a_dry_run_tells_and_changes_nothing(platform: RemotePlatform, tools: dict[str, BaseTool]) -> None:
    """Not even the history."""
    platform.break_("bad_deploy")
    before = platform.state("orders")
    told = _dry(tools["rollback_deploy"], BACK)

    assert "would replace orders 1.5.0 by 1.4.0 and restart it; undo: back to 1.5.0" == told
    assert before == platform.state("orders")


def test_a_dry_run_says_when_nothing_would_change(tools: dict[str, BaseTool]) -> None:
    """So that nobody approves an empty action."""
    same = {**BAD_SIZE, "value": "8"}

    assert "nothing would change: inventory pool_size is 8" == _dry(tools["set_config"], same)
    assert "nothing would change: orders runs 1.4.0" == _dry(tools["rollback_deploy"], BACK)


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("rollback_deploy", {**BACK, "to_version": "9"}, "a version that ran before"),
        ("set_config", {**BAD_SIZE, "key": "colour"}, "a setting of inventory"),
    ],
)
def test_a_dry_run_refuses_what_cannot_be_done(
    tools: dict[str, BaseTool], name: str, arguments: dict[str, Any], says: str
) -> None:
    """The person who would approve it sees why."""
    with pytest.raises(ToolInputError, match=says):
        _dry(tools[name], arguments)


@pytest.mark.parametrize("kept", ["data", "text", "message"])
def test_undo_sets_the_old_value_however_the_outcome_was_kept(
    platform: RemotePlatform, tools: dict[str, BaseTool], kept: str
) -> None:
    """As plain data, as JSON text, or as the tool message that a ledger holds."""
    tool = tools["set_config"]
    outcome = tool.invoke(BAD_SIZE)
    text = json.dumps(outcome)
    forms = {"data": outcome, "text": text, "message": ToolMessage(text, tool_call_id="1")}
    _undo(tool, BAD_SIZE, forms[kept])

    assert 8 == platform.state("inventory").config["pool_size"]


def test_undo_of_a_rollback_puts_the_newer_version_back(platform: RemotePlatform, tools: dict[str, BaseTool]) -> None:
    """Where the rollback made things worse."""
    platform.break_("bad_deploy")
    _undo(tools["rollback_deploy"], BACK, tools["rollback_deploy"].invoke(BACK))

    assert "1.5.0" == platform.state("orders").version


def test_undo_of_what_changed_nothing_changes_nothing(platform: RemotePlatform, tools: dict[str, BaseTool]) -> None:
    """An action that found its goal reached leaves nothing to take back."""
    outcome = tools["rollback_deploy"].invoke(BACK)
    before = platform.state("orders")
    _undo(tools["rollback_deploy"], BACK, outcome)

    assert before == platform.state("orders")


def test_undo_of_a_restart_leaves_the_service_running(platform: RemotePlatform, tools: dict[str, BaseTool]) -> None:
    """There is nothing else to take back."""
    arguments = {"service": "payments"}
    outcome = tools["restart_service"].invoke(arguments)

    assert "payments runs; a restart changes nothing else" == _undo(tools["restart_service"], arguments, outcome)
    assert platform.state("payments").running


def test_reconcile_finds_an_effect_whose_end_nobody_saw(tools: dict[str, BaseTool]) -> None:
    """The history of the platform knows; before the effect it knows nothing of it."""
    tool = tools["set_config"]
    reconcile = effect(tool).reconcile
    assert reconcile is not None
    unknown = reconcile({**BAD_SIZE, "value": "3"})
    outcome = tool.invoke(BAD_SIZE)

    assert unknown is None
    assert outcome == reconcile(BAD_SIZE)


def test_a_repeated_idempotent_effect_changes_nothing_more(
    platform: RemotePlatform, tools: dict[str, BaseTool]
) -> None:
    """Idempotent is said of it truthfully."""
    tools["set_config"].invoke(BAD_SIZE)
    history = platform.state("inventory").history
    again = tools["set_config"].invoke(BAD_SIZE)

    assert not again["changed"]
    assert history == platform.state("inventory").history


@pytest.mark.parametrize(
    ("incident", "expected"),
    [("one", "one:rollback:orders:1.4.0"), ("a{b}", "a{b}:rollback:orders:1.4.0"), (None, None)],
)
def test_the_business_key_is_unique_to_the_incident(
    platform: RemotePlatform, incident: str | None, expected: str | None
) -> None:
    """The next incident may roll the same service back again."""
    key = effect(operation_tools(platform, incident=incident)[0]).key

    assert expected == (key.format(**BACK) if key is not None else None)


def test_an_outcome_of_something_else_is_refused() -> None:
    """An undo never acts on a guess."""
    with pytest.raises(ToolInputError, match="expected what one of these tools returned"):
        recorded("[]")


def _dry(tool: BaseTool, arguments: dict[str, Any]) -> str:
    dry_run = effect(tool).dry_run
    assert dry_run is not None
    return dry_run(arguments)


def _undo(tool: BaseTool, arguments: dict[str, Any], outcome: Any) -> Any:
    undo = effect(tool).undo
    assert undo is not None
    return undo(arguments, outcome)
