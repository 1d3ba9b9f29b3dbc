"""Questions to people: only a named person's answer to exactly this card lets exactly this happen, and once."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, RetryPolicy, interrupt

from governance import (
    Approval,
    Contract,
    Policy,
    Principal,
    Sidecar,
    SideEffect,
    Tool,
    Verdict,
    at_most,
    declares,
    govern,
)
from governance.errors import ApprovalDenied, AuthorityRefused, GovernanceError, Refusal
from governance.gates import custom, schema
from governance.policy import ApprovalPolicy

ALICE = Principal("alice", "local")
CONFIG: Any = {"configurable": {"thread_id": "t"}}
LOCAL = Policy(approvals=ApprovalPolicy(local_operators=("alice",)))


def paying(till: Any, *, name: str = "pay", **rule: Any) -> Contract:
    return Contract(tools=[Tool(name, approval=Approval("money moves", **rule)), "lookup"])


def asked(graph: Any, given: Any = {"out": ""}) -> Any:  # noqa: B006
    """Runs until a person is asked; the card's id."""
    return graph.invoke(given, CONFIG)["__interrupt__"][0].id


@pytest.fixture
def waiting(sidecar: Sidecar, till: Any, one: Any) -> Any:
    """A graph that waits for a decision about paying 100."""
    node = lambda s: {"out": str(till.pay.invoke({"amount": 100}))}  # noqa: E731
    graph = govern(
        one(node, checkpointer=InMemorySaver()), contracts={"n": paying(till)}, policy=LOCAL, sidecar=sidecar
    )
    return graph, asked(graph)


ANSWERS: dict[str, Any] = {
    "true": lambda card: True,
    "yes": lambda card: "yes",
    "approved: no": lambda card: {"approved": "no"},
    "approved: true": lambda card: {"approved": True},
    "approve": lambda card: "approve",
    "one": lambda card: 1,
    "empty": lambda card: {},
    "list": lambda card: [{"type": "accept"}],
    "by id, true": lambda card: {card: True},
    "by id, approved": lambda card: {card: {"approved": True}},
    "by id, no card": lambda card: {card: {"decision": "approve", "by": "alice"}},
    "another card": lambda card: {"card": "0" * 32, "decision": "approve", "by": "alice"},
    "by id, another card": lambda card: {card: {"card": "0" * 32, "decision": "approve", "by": "alice"}},
    "beginning of the id": lambda card: {"card": card[:8], "decision": "approve", "by": "alice"},
    "nobody": lambda card: {"card": card, "decision": "approve"},
    "a stranger": lambda card: {"card": card, "decision": "approve", "by": "mallory"},
    "the proposer": lambda card: {"card": card, "decision": "approve", "by": "agent:n"},
    "a list of people": lambda card: {"card": card, "decision": "approve", "by": ["alice"]},
    "no decision": lambda card: {"card": card, "by": "alice"},
    "another word": lambda card: {"card": card, "decision": "yes", "by": "alice"},
    "a truth": lambda card: {"card": card, "decision": True, "by": "alice"},
    "capitals": lambda card: {"card": card, "decision": "APPROVE", "by": "alice"},
    "how": lambda card: {"card": card, "decision": "approve", "by": "mallory", "how": "server"},
}


@pytest.mark.parametrize("answer", list(ANSWERS))
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_nothing_but_a_named_persons_answer_to_this_card_counts(
    mode: str, answer: str, waiting: Any, till: Any
) -> None:
    graph, card = waiting
    command = Command(resume=ANSWERS[answer](card))

    try:
        graph.invoke(command, CONFIG) if mode == "sync" else asyncio.run(graph.ainvoke(command, CONFIG))
    except (Refusal, GovernanceError, RuntimeError):
        pass

    assert [] == till.done
    assert "out" not in graph.get_state(CONFIG).values or "" == graph.get_state(CONFIG).values["out"]


def test_the_named_persons_answer_counts_once(waiting: Any, till: Any) -> None:
    graph, card = waiting
    graph.invoke(Command(resume={"card": card, "decision": "approve", "by": "alice"}), CONFIG)

    assert [100] == till.ran("pay")


def test_an_approval_written_into_the_state_approves_nothing(sidecar: Sidecar, till: Any, one: Any) -> None:
    """A key any node can write is no approval."""
    state: Any = dict
    graph = govern(
        one(lambda s: {"out": str(till.pay.invoke({"amount": 1}))}, state, checkpointer=InMemorySaver()),
        contracts={"n": paying(till)},
        sidecar=sidecar,
    )

    graph.invoke({"human_approved": True, "approved": True, "approvals": ["alice"]}, CONFIG)

    assert [] == till.done


def test_a_question_asked_again_and_again_stays_a_question(waiting: Any, till: Any) -> None:
    """Resuming without an answer asks again; it neither approves nor counts as a loop."""
    graph, card = waiting

    asked_again = [graph.invoke(None, CONFIG)["__interrupt__"][0].id for _ in range(6)]

    assert {card} == set(asked_again)
    assert [] == till.done


def test_a_denial_is_final_at_its_place(waiting: Any, sidecar: Sidecar, till: Any) -> None:
    graph, card = waiting
    sidecar.approvals.decide(card, "deny", by=ALICE, reason="no")

    for _ in range(2):
        with pytest.raises(ApprovalDenied):
            graph.invoke(None, CONFIG)
    with pytest.raises(ApprovalDenied):
        sidecar.approvals.decide(card, "approve", by=ALICE)

    assert [] == till.done


def test_an_expired_question_is_a_no(sidecar: Sidecar, till: Any, one: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = govern(
        one(lambda s: {"out": till.pay.invoke({"amount": 1})}, checkpointer=InMemorySaver()),
        contracts={"n": paying(till, expires=10)},
        policy=LOCAL,
        sidecar=sidecar,
    )
    card = asked(graph)
    import time

    later = time.time() + 60
    monkeypatch.setattr("time.time", lambda: later)

    with pytest.raises(GovernanceError):
        graph.invoke(Command(resume={"card": card, "decision": "approve", "by": "alice"}), CONFIG)

    assert [] == till.done


def test_nobody_approves_what_they_proposed(sidecar: Sidecar, waiting: Any) -> None:
    _, card = waiting

    with pytest.raises(AuthorityRefused):
        sidecar.approvals.decide(card, "approve", by=Principal("agent:n", "code"))


def test_only_the_approvers_of_a_rule_decide(sidecar: Sidecar, till: Any, one: Any) -> None:
    graph = govern(
        one(lambda s: {"out": till.pay.invoke({"amount": 1})}, checkpointer=InMemorySaver()),
        contracts={"n": paying(till, by=["bob"])},
        policy=LOCAL,
        sidecar=sidecar,
    )
    card = asked(graph)
    graph.invoke(Command(resume={"card": card, "decision": "approve", "by": "alice"}), CONFIG)

    assert [] == till.done


@pytest.mark.parametrize("edited", [{"amount": 5000}, {"amount": "5"}, {}, {"total": 5}, "5000", [5000], 5000])
def test_an_edit_stays_within_the_contract(edited: Any, sidecar: Sidecar, till: Any, one: Any) -> None:
    rule = Tool("pay", where={"amount": at_most(50)}, approval=Approval("money moves"))
    graph = govern(
        one(lambda s: {"out": till.pay.invoke({"amount": 40})}, checkpointer=InMemorySaver()),
        contracts={"n": Contract(tools=[rule])},
        policy=LOCAL,
        sidecar=sidecar,
    )
    card = asked(graph)

    with pytest.raises((GovernanceError, TypeError, ValueError)):
        graph.invoke(Command(resume={"card": card, "decision": "edit", "by": "alice", "edited": edited}), CONFIG)
        raise AuthorityRefused("asked again")

    assert [] == [amount for amount in till.ran("pay") if amount != 1]


@pytest.mark.parametrize(
    "edited", [{"amount": "lots"}, {"secret": "x"}, {"unknown": 1}, "text", {"amount": {"__overwrite__": 1}}]
)
def test_an_edited_update_stays_within_the_contract(edited: Any, sidecar: Sidecar, one: Any) -> None:
    """A person may change what is written, not what the node may write."""
    graph = govern(
        one(lambda s: {"amount": 1}, checkpointer=InMemorySaver()),
        contracts={"n": Contract(writes=["amount", "out"], approval=Approval("look at it"))},
        policy=LOCAL,
        sidecar=sidecar,
    )
    card = asked(graph)

    with pytest.raises(Exception):  # noqa: B017 - a text is refused by LangGraph itself
        graph.invoke(Command(resume={"card": card, "decision": "edit", "by": "alice", "edited": edited}), CONFIG)
        raise AuthorityRefused("asked again")

    assert {"out": ""} == {k: v for k, v in graph.get_state(CONFIG).values.items() if k != "messages"}


def test_what_was_shown_is_what_is_committed(sidecar: Sidecar, one: Any) -> None:
    """The node runs again on resume and samples another amount; the person approved the first one."""
    counter = itertools.count(1)
    graph = govern(
        one(lambda s: {"amount": 100 * next(counter)}, checkpointer=InMemorySaver()),
        contracts={"n": Contract(approval=Approval("look at it"))},
        policy=LOCAL,
        sidecar=sidecar,
    )
    card = asked(graph)
    result = graph.invoke(Command(resume={"card": card, "decision": "approve", "by": "alice"}), CONFIG)

    assert 100 == result["amount"]


def test_other_arguments_than_those_shown_are_asked_about_anew(sidecar: Sidecar, till: Any, one: Any) -> None:
    amounts = itertools.count(100, 100)
    graph = govern(
        one(lambda s: {"out": till.pay.invoke({"amount": next(amounts)})}, checkpointer=InMemorySaver()),
        contracts={"n": paying(till)},
        policy=LOCAL,
        sidecar=sidecar,
    )
    card = asked(graph)
    result = graph.invoke(Command(resume={"card": card, "decision": "approve", "by": "alice"}), CONFIG)

    assert [] == till.done
    assert card != result["__interrupt__"][0].id


def test_one_approval_pays_once_when_the_node_runs_again(sidecar: Sidecar, till: Any, one: Any) -> None:
    """A tool that says nothing about its effect, but needs a person, has one."""
    tries: list[int] = []

    def node(state: Any) -> Any:
        till.pay.invoke({"amount": 100})
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("weather")

    patient = {"retry_policy": RetryPolicy(max_attempts=5, initial_interval=0, jitter=False)}
    graph = govern(
        one(node, options=patient, checkpointer=InMemorySaver()),
        contracts={"n": paying(till)},
        policy=LOCAL,
        sidecar=sidecar,
    )
    card = asked(graph)
    sidecar.approvals.decide(card, "approve", by=ALICE)
    graph.invoke(None, CONFIG)

    assert [100] == till.ran("pay")


def test_one_approval_pays_once_on_another_saver_and_after_the_checkpoints_are_lost(
    sidecar: Sidecar, till: Any, one: Any, waiting: Any
) -> None:
    """The thread begins anew at the same place, and the old answer is spent."""
    graph, card = waiting
    sidecar.approvals.decide(card, "approve", by=ALICE)
    graph.invoke(None, CONFIG)
    graph.copy(update={"checkpointer": InMemorySaver()}).invoke({"out": ""}, CONFIG)

    assert [100] == till.ran("pay")


def test_one_approval_pays_once_for_a_tool_call_made_again(sidecar: Sidecar, till: Any, one: Any) -> None:
    message = AIMessage("", tool_calls=[{"name": "pay", "args": {"amount": 100}, "id": "c1"}])

    def node(state: Any) -> Any:
        call = {**message.tool_calls[0], "type": "tool_call"}
        return {"messages": [till.pay.invoke(call) for _ in range(3)]}

    graph = govern(
        one(node, checkpointer=InMemorySaver()), contracts={"n": paying(till)}, policy=LOCAL, sidecar=sidecar
    )
    card = asked(graph, {"messages": [message]})
    sidecar.approvals.decide(card, "approve", by=ALICE)
    graph.invoke(None, CONFIG)

    assert [100] == till.ran("pay")


def test_what_ran_before_the_question_does_not_run_again_on_resume(sidecar: Sidecar, till: Any, one: Any) -> None:
    def node(state: Any) -> Any:
        till.refund.invoke({"amount": 5})
        till.pay.invoke({"amount": 100})

    graph = govern(
        one(node, checkpointer=InMemorySaver()),
        contracts={"n": Contract(tools=["refund", Tool("pay", approval=Approval("money moves"))])},
        policy=LOCAL,
        sidecar=sidecar,
    )
    card = asked(graph)
    graph.invoke(None, CONFIG)
    graph.invoke(Command(resume={"card": card, "decision": "approve", "by": "alice"}), CONFIG)

    assert [("refund", 5), ("pay", 100)] == till.done


def test_what_says_nothing_about_its_effect_does_not_run_again_on_resume_either(
    sidecar: Sidecar, till: Any, one: Any
) -> None:
    """An undeclared tool may do anything; repeating it because a person answered another question is a guess."""
    free = till.tool("free")

    def node(state: Any) -> Any:
        free.invoke({"amount": 5})
        till.pay.invoke({"amount": 100})

    graph = govern(
        one(node, checkpointer=InMemorySaver()),
        contracts={"n": Contract(tools=["free", Tool("pay", approval=Approval("money moves"))])},
        policy=LOCAL,
        sidecar=sidecar,
    )
    card = asked(graph)
    graph.invoke(Command(resume={"card": card, "decision": "approve", "by": "alice"}), CONFIG)

    assert [5] == till.ran("free")


def test_two_questions_of_one_tool_node_are_two_decisions(sidecar: Sidecar, till: Any, one: Any) -> None:
    message = AIMessage(
        "",
        tool_calls=[
            {"name": "pay", "args": {"amount": 1}, "id": "c1"},
            {"name": "pay", "args": {"amount": 2}, "id": "c2"},
        ],
    )
    graph = govern(
        one(ToolNode([till.pay], handle_tool_errors=True), checkpointer=InMemorySaver()),
        contracts={"n": paying(till)},
        policy=LOCAL,
        sidecar=sidecar,
    )
    graph.invoke({"messages": [message]}, CONFIG)
    cards = {card.what["args"]["amount"]: card for card in sidecar.approvals.cards()}
    one_card = cards.get(1) or next(iter(cards.values()))
    amount = one_card.what["args"]["amount"]
    graph.invoke(Command(resume={"card": one_card.id, "decision": "approve", "by": "alice"}), CONFIG)

    assert set(till.ran("pay")) <= {amount}

    for _ in range(2):
        for card in sidecar.approvals.cards():
            graph.invoke(Command(resume={"card": card.id, "decision": "approve", "by": "alice"}), CONFIG)

    assert [1, 2] == sorted(till.ran("pay"))


def test_a_question_swallowed_by_the_node_approves_nothing(sidecar: Sidecar, till: Any, one: Any) -> None:
    def node(state: Any) -> Any:
        try:
            till.pay.invoke({"amount": 100})
        except Exception:
            return {"out": "paid, I suppose"}

    graph = govern(
        one(node, checkpointer=InMemorySaver()), contracts={"n": paying(till)}, policy=LOCAL, sidecar=sidecar
    )
    result = graph.invoke({"out": ""}, CONFIG)

    assert [] == till.done
    assert "paid, I suppose" != result.get("out")


FORGERIES: dict[str, Any] = {
    "decide": lambda sidecar, graph, card: sidecar.approvals.decide(card, "approve", by=ALICE),
    "edit": lambda sidecar, graph, card: sidecar.approvals.decide(card, "edit", by=ALICE, edited={"amount": 1}),
    "commit": lambda sidecar, graph, card: sidecar.approvals.commit(sidecar.approvals.get(card)),
    "resume": lambda sidecar, graph, card: graph.invoke(
        Command(resume={"card": card, "decision": "approve", "by": "alice"}), CONFIG
    ),
    "resume by id": lambda sidecar, graph, card: graph.invoke(
        Command(resume={card: {"card": card, "decision": "approve", "by": "alice"}}), CONFIG
    ),
}


@pytest.mark.parametrize("how", list(FORGERIES))
@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_code_of_a_node_decides_nothing(
    mode: str, how: str, sidecar: Sidecar, till: Any, one: Any, waiting: Any
) -> None:
    """Neither for another session nor for its own: an agent that can call the book would approve itself."""
    graph, card = waiting

    def forge(state: Any) -> Any:
        FORGERIES[how](sidecar, graph, card)
        return {"out": "done"}

    contracts = {"*": Contract.permissive()} if mode == "enforce" else None
    forger = govern(one(forge), contracts=contracts, sidecar=sidecar)
    try:
        forger.invoke({"out": ""})
    except GovernanceError:
        pass

    assert "pending" == sidecar.approvals.get(card).state
    assert [] == till.done


def test_code_of_a_node_lifts_no_stop(sidecar: Sidecar, till: Any, one: Any) -> None:
    sidecar.control.stop("tool", "pay", reason="enough", by="alice")

    def node(state: Any) -> Any:
        sidecar.control.resume("tool", "pay")
        till.pay.invoke({"amount": 1})

    graph = govern(one(node), contracts={"n": Contract(tools=["pay"])}, sidecar=sidecar)
    try:
        graph.invoke({"out": ""})
    except GovernanceError:
        pass

    assert [] == till.done
    assert ("tool", "pay") in sidecar.control.stops


def test_an_answer_slipped_into_langgraphs_resume_map_is_not_seen(sidecar: Sidecar, till: Any, one: Any) -> None:
    """The node is given a config of its own; what it puts there answers no card."""
    from langgraph.config import get_config

    known: list[str] = []

    def node(state: Any) -> Any:
        answers = get_config()["configurable"].get("__pregel_resume_map")
        if answers is not None and known:
            answers[known[0]] = {"card": known[0], "decision": "approve", "by": "alice"}
        if not known:
            interrupt("name?")
        till.pay.invoke({"amount": 100})

    graph = govern(
        one(node, checkpointer=InMemorySaver()), contracts={"n": paying(till)}, policy=LOCAL, sidecar=sidecar
    )
    first = graph.invoke({"out": ""}, CONFIG)["__interrupt__"][0].id
    card = graph.invoke(Command(resume={first: "bob"}), CONFIG)["__interrupt__"][0].id
    known.append(card)
    graph.invoke(Command(resume={first: "bob"}), CONFIG)

    assert [] == till.done


def test_an_answer_to_a_question_is_no_answer_to_another(sidecar: Sidecar, one: Any) -> None:
    """The policy drops the approval while a person is asked; the yes must not become the customer's name."""
    node = lambda s: {"out": str(interrupt("what is your name?"))}  # noqa: E731
    saver = InMemorySaver()
    asking = govern(
        one(lambda s: {"out": "x"}, checkpointer=saver),
        contracts={"n": Contract(approval=Approval("?"))},
        policy=LOCAL,
        sidecar=sidecar,
    )
    card = asked(asking)
    reloaded = govern(one(node, checkpointer=saver), contracts={"n": Contract()}, policy=LOCAL, sidecar=sidecar)
    try:
        reloaded.invoke(Command(resume={"card": card, "decision": "approve", "by": "alice"}), CONFIG)
    except GovernanceError:
        pass

    assert "approve" not in str(reloaded.get_state(CONFIG).values)


def tight(limit: int) -> Contract:
    return Contract(tools=[Tool("pay", where={"amount": at_most(limit)}, approval=Approval("money moves"))])


def test_a_contract_that_changed_while_a_question_waited_is_applied(sidecar: Sidecar, till: Any, one: Any) -> None:
    saver = InMemorySaver()
    node = lambda s: {"out": till.pay.invoke({"amount": 100})}  # noqa: E731
    card = asked(govern(one(node, checkpointer=saver), contracts={"n": tight(1000)}, policy=LOCAL, sidecar=sidecar))
    sidecar.approvals.decide(card, "approve", by=ALICE)
    stricter = govern(one(node, checkpointer=saver), contracts={"n": tight(50)}, policy=LOCAL, sidecar=sidecar)

    with pytest.raises(AuthorityRefused):
        stricter.invoke(None, CONFIG)

    assert [] == till.done


def at_least_words(least: int) -> Any:
    return custom(lambda call, update: None if len(update["out"].split()) >= least else "too short", otherwise="halt")


def test_gates_that_changed_while_a_question_waited_are_applied(sidecar: Sidecar, one: Any) -> None:
    """Only a number inside a gate changed; the stored update is still judged by the new one."""
    saver = InMemorySaver()

    def graph_with(least: int) -> Any:
        contract = Contract(approval=Approval("look"), gates=[at_least_words(least)])
        return govern(
            one(lambda s: {"out": "two words"}, checkpointer=saver),
            contracts={"n": contract},
            policy=LOCAL,
            sidecar=sidecar,
        )

    card = asked(graph_with(1))
    sidecar.approvals.decide(card, "approve", by=ALICE)

    with pytest.raises(Refusal):
        graph_with(5).invoke(None, CONFIG)


@pytest.mark.parametrize(
    ("one_way", "other"),
    [
        (
            lambda: Contract(tools=[Tool("pay", where={"amount": at_most(50)})]),
            lambda: Contract(tools=[Tool("pay", where={"amount": at_most(51)})]),
        ),
        (lambda: Contract(gates=[at_least_words(1)]), lambda: Contract(gates=[at_least_words(2)])),
        (
            lambda: Contract(gates=[lambda c, u: Verdict.passed()]),
            lambda: Contract(gates=[lambda c, u: Verdict.halt("no")]),
        ),
        (lambda: Contract(tokens=1), lambda: Contract(tokens=2)),
        (lambda: Contract(writes={"out": str}), lambda: Contract(writes={"out": int})),
        (lambda: Contract(writes={"out": str | None}), lambda: Contract(writes={"out": int | None})),
        (lambda: Contract(writes={"out": list[str]}), lambda: Contract(writes={"out": list[int]})),
        (lambda: Contract(gates=[schema("out", str)]), lambda: Contract(gates=[schema("out", int)])),
        (
            lambda: Contract(effects={"pay": SideEffect("write", undo=lambda a, o: 1)}),
            lambda: Contract(effects={"pay": SideEffect("write", undo=lambda a, o: 2)}),
        ),
    ],
    ids=["limit", "gate", "lambda", "tokens", "type", "union", "generic", "schema", "undo"],
)
def test_contracts_that_decide_differently_have_different_digests(one_way: Any, other: Any) -> None:
    """A changed rule is seen while a session waits, also where only a captured value changed."""
    assert one_way().digest == one_way().digest
    assert one_way().digest != other().digest


def test_a_gate_that_escalates_waits_for_a_person(sidecar: Sidecar, one: Any) -> None:
    graph = govern(
        one(lambda s: {"out": "x"}, checkpointer=InMemorySaver()),
        contracts={"n": Contract(gates=[lambda c, u: Verdict.escalate("unsure")])},
        policy=LOCAL,
        sidecar=sidecar,
    )
    card = asked(graph)
    assert "" == graph.get_state(CONFIG).values["out"]

    result = graph.invoke(Command(resume={"card": card, "decision": "approve", "by": "alice"}), CONFIG)

    assert "x" == result["out"]


def test_a_broad_except_in_a_users_filter_does_not_swallow_a_question(sidecar: Sidecar, one: Any) -> None:
    from governance import Proceed

    def fallback(call: Any) -> Any:
        try:
            return (yield Proceed(call))
        except Exception:
            return {"out": "fallback"}

    graph = govern(
        one(lambda s: {"out": str(interrupt("name?"))}, checkpointer=InMemorySaver()),
        contracts={"n": Contract()},
        filters=[fallback],
        sidecar=sidecar,
    )

    assert "name?" == graph.invoke({"out": ""}, CONFIG)["__interrupt__"][0].value


def test_a_broad_except_in_a_users_filter_does_not_swallow_a_refusal(sidecar: Sidecar, till: Any, one: Any) -> None:
    from governance import Proceed

    def fallback(call: Any) -> Any:
        try:
            return (yield Proceed(call))
        except Exception:
            return {"out": "fallback"}

    graph = govern(
        one(lambda s: {"out": till.pay.invoke({"amount": 1})}),
        contracts={"n": Contract()},
        filters=[fallback],
        sidecar=sidecar,
    )

    with pytest.raises(AuthorityRefused):
        graph.invoke({"out": ""})


def test_declared_effects_are_marked_on_the_tool_itself(till: Any) -> None:
    assert till.refund is declares(SideEffect("write"))(till.refund)
