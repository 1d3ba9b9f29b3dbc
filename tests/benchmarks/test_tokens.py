"""The benchmark's rulers: what counts as needed, what a cache makes cheaper, and data in the form it has."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from benchmarks.tokens import Bill, FullBill, main, ratio
from benchmarks.tokens_needed import Needed, leaves
from benchmarks.tokens_sessions import Session, sessions


def call(**args: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": "pay", "args": args, "id": "c", "type": "tool_call"}])


MESSAGES = [
    HumanMessage("My card is card_7."),
    AIMessage("Good."),
    HumanMessage("Pay W5."),
    call(card="card_7", order="W5"),
]


def test_a_value_is_needed_where_its_first_turn_is_not_shown() -> None:
    needed = Needed(Session("d", list(MESSAGES), [0]), "the policy")
    needed.ask(3, MESSAGES[2:3])

    assert {"needed": 1, "kept": 0, "needed, in no turn that is shown": 1, "kept, in no turn that is shown": 0} == dict(
        needed.count
    )
    assert ["pay card_7: said 3 messages before"] == needed.missed


def test_a_value_that_a_summary_holds_is_kept_and_a_part_of_one_is_not() -> None:
    for summary, kept in (("they pay with card_7", 1), ("they pay with card_77", 0)):
        needed = Needed(Session("d", list(MESSAGES), [0]), "the policy")
        needed.ask(3, [HumanMessage(summary), MESSAGES[2]])
        assert kept == needed.count["kept"]


def test_a_value_that_only_another_run_holds_is_not_counted() -> None:
    needed = Needed(Session("d", list(MESSAGES), [0, 2]), "the policy")
    needed.ask(3, MESSAGES[2:3])

    assert 0 == needed.count["needed"]


def test_a_value_of_the_policy_is_not_counted() -> None:
    needed = Needed(Session("d", list(MESSAGES), [0]), "Never take card_7.")
    needed.ask(3, MESSAGES[2:3])

    assert 0 == needed.count["needed"]


def test_leaves_are_the_single_values_of_arguments() -> None:
    assert ["W5", "12", "JFK"] == list(leaves({"order": "W5", "deep": [{"n": 12, "yes": True}], "to": "JFK", "x": "-"}))


def test_what_is_in_the_cache_costs_a_quarter() -> None:
    bill, full, text = Bill(100), FullBill(100), HumanMessage("hello")
    bill.add([text])
    bill.add([text, HumanMessage("again")])
    full.grow(104)
    full.grow(108)

    assert [0, 104, 104 + 4 + 0.25 * 104] == bill.price
    assert bill.price == full.price
    assert bill.tokens == full.tokens
    assert 1 == ratio([(bill, full)], 2)
    assert ratio([(bill, full)], 3) is None


def test_runs_are_chained_until_there_are_enough_calls(tmp_path: Path) -> None:
    run = {
        "messages": [
            {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "name": "find", "arguments": {"n": 1}}]},
            {"role": "tool", "content": "found", "tool_call_id": "a", "requestor": "assistant"},
            {"role": "tool", "content": "the user's own", "tool_call_id": "b", "requestor": "user"},
            {"role": "user", "content": "thanks"},
        ]
    }
    folder = tmp_path / "chatbot" / "trajectories"
    folder.mkdir(parents=True)
    with gzip.open(folder / "shop__m.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(run) + "\n" for _ in range(5))

    found = list(sessions(tmp_path, "shop", 2))
    assert [6, 6, 3] == [len(one.messages) for one in found]
    assert [0, 3] == found[0].starts
    assert isinstance(found[0].messages[1], ToolMessage) and "find" == found[0].messages[1].name


def test_without_data_it_says_what_it_needs(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.delenv("SIDECAR_BENCH_DATA", raising=False)

    assert 2 == main(["--quick"])
    assert "benchmarks.tokens needs --data" in capsys.readouterr().out
