"""Every way past an approval that a client of the server has: each is tried on a thread that waits for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from langgraph_sdk.errors import InternalServerError

FORGED = {"paid": "forged", "note": "forged"}
Attack = Callable[[Any], Any]


def config(**configurable: Any) -> dict[str, Any]:
    return {"configurable": configurable}


def run(parked: Any, **given: Any) -> Any:
    return parked.served.run(parked.thread, **given)


def update(parked: Any, values: Any, **where: Any) -> Any:
    return parked.served.client.threads.update_state(parked.thread, values, **where)


def old(parked: Any) -> Any:
    """The first checkpoint of the thread."""
    return parked.served.client.threads.get_history(parked.thread)[-1]["checkpoint"]


def mapped(parked: Any, namespace: str) -> dict[str, Any]:
    """The first checkpoint, in the form that LangGraph prefers to an id."""
    return {"checkpoint_ns": namespace, "checkpoint_map": {"": old(parked)["checkpoint_id"]}}


def through_an_assistant(parked: Any) -> Any:
    made = parked.served.client.assistants.create("till", config=config(checkpoint_id=old(parked)["checkpoint_id"]))
    return parked.served.run(parked.thread, made["assistant_id"])


def as_another_graph(parked: Any) -> Any:
    threads = parked.served.client.threads
    threads.update(parked.thread, metadata={"graph_id": "speaker"})
    try:
        return update(parked, {"messages": [], **FORGED})
    finally:
        threads.update(parked.thread, metadata={"graph_id": "till"})


def answer_to_another_card(parked: Any, *, named: bool) -> Any:
    other = parked.served.parked()
    answer = other.approval()
    return parked.resume({parked.card: answer} if named else answer)


STATE: dict[str, Attack] = {
    "update_state": lambda p: update(p, FORGED),
    "update_state, no values": lambda p: update(p, None),
    "update_state as the paying node": lambda p: update(p, FORGED, as_node="settle"),
    "update_state as the last node": lambda p: update(p, FORGED, as_node="close"),
    "update_state as the start": lambda p: update(p, {"amount": 100}, as_node="__start__"),
    "update_state as the end": lambda p: update(p, None, as_node="__end__"),
    "update_state as a copy": lambda p: update(p, None, as_node="__copy__"),
    "update_state at an old checkpoint": lambda p: update(p, FORGED, checkpoint=old(p)),
    "update_state as another graph": as_another_graph,
    "Command(update)": lambda p: run(p, command={"update": FORGED}),
    "Command(update) in pairs": lambda p: run(p, command={"update": [["paid", "forged"]]}),
    "Command(goto)": lambda p: run(p, command={"goto": "close"}),
    "Command(goto) to the paying node": lambda p: run(p, command={"goto": "settle"}),
    "Command(goto=Send)": lambda p: run(p, command={"goto": {"node": "settle", "input": {"amount": 100}}}),
    "Command(goto) with a real approval": lambda p: p.resume(p.approval(), goto="close"),
    "Command(update) with a real approval": lambda p: p.resume(p.approval(), update={"amount": 100}),
    "input of a key the graph does not take": lambda p: run(p, input=FORGED),
}
REWINDS: dict[str, Attack] = {
    "checkpoint": lambda p: run(p, checkpoint=old(p)),
    "checkpoint_id": lambda p: run(p, checkpoint_id=old(p)["checkpoint_id"]),
    "checkpoint with other input": lambda p: run(p, checkpoint=old(p), input={"amount": 100}),
    "checkpoint with an approval": lambda p: run(p, checkpoint=old(p), command={"resume": p.approval()}),
    "checkpoint in the config": lambda p: run(p, config=config(checkpoint_id=old(p)["checkpoint_id"])),
    "checkpoint in the config of an assistant": through_an_assistant,
    "checkpoint_map": lambda p: run(p, checkpoint=mapped(p, "")),
    "checkpoint_map in a namespace": lambda p: run(p, checkpoint=mapped(p, "settle")),
    "checkpoint_map in the config": lambda p: run(p, config=config(**mapped(p, ""))),
    "checkpoint_map of a nested run": lambda p: run(p, config=config(__pregel_task_id="x", **mapped(p, ""))),
}
ANSWERS: dict[str, Attack] = {
    "true": lambda p: p.resume(True),
    "yes": lambda p: p.resume("yes"),
    "approve": lambda p: p.resume("approve"),
    "a number": lambda p: p.resume(1),
    "a list": lambda p: p.resume([p.approval()]),
    "approved: no": lambda p: p.resume({"approved": "no"}),
    "approved: true": lambda p: p.resume({"approved": True}),
    "no card": lambda p: p.resume({"decision": "approve", "by": "alice"}),
    "true under the card": lambda p: p.resume({p.card: True}),
    "yes under the card": lambda p: p.resume({p.card: "yes"}),
    "approved: no under the card": lambda p: p.resume({p.card: {"approved": "no"}}),
    "the beginning of the card": lambda p: p.resume(p.approval(card=p.card[:8])),
    "an empty card": lambda p: p.resume(p.approval(card="")),
    "another card": lambda p: answer_to_another_card(p, named=False),
    "another card under this card": lambda p: answer_to_another_card(p, named=True),
    "somebody unknown": lambda p: p.resume(p.approval(by="mallory")),
    "nobody": lambda p: p.resume({"card": p.card, "decision": "approve"}),
    "an empty name": lambda p: p.resume(p.approval(by="")),
    "a list of names": lambda p: p.resume(p.approval(by=["alice"])),
    "the proposer": lambda p: p.resume(p.approval(by="agent:settle")),
    "a name in the config": lambda p: run(
        p, command={"resume": p.approval(by="mallory")}, config=config(langgraph_auth_user={"identity": "alice"})
    ),
    "a name in the checkpoint": lambda p: run(
        p, command={"resume": p.approval(by="mallory")}, checkpoint={"langgraph_auth_user": {"identity": "alice"}}
    ),
    "another word": lambda p: p.resume(p.approval(decision="yes")),
    "true as the word": lambda p: p.resume(p.approval(decision=True)),
    "LangGraph's resume map": lambda p: run(p, config=config(__pregel_resume_map={p.card: True})),
    "LangGraph's resume flag": lambda p: run(p, config=config(__pregel_resuming=True)),
    "a nested run": lambda p: run(p, config=config(__pregel_task_id="x", checkpoint_ns="settle:x")),
    "nothing, once more": lambda p: run(p),
    "a break before the node": lambda p: run(p, interrupt_before=["settle"]),
    "a break after the node": lambda p: run(p, interrupt_after=["plan"]),
}
ATTACKS = {
    **{f"state: {name}": attack for name, attack in STATE.items()},
    **{f"rewind: {name}": attack for name, attack in REWINDS.items()},
    **{f"answer: {name}": attack for name, attack in ANSWERS.items()},
}


@dataclass
class Outcome:
    """What an attack on a waiting thread has led to."""

    error: str
    paid: int
    before: dict[str, Any]
    after: dict[str, Any]
    card: str
    pending: bool


def tried(served: Any, attack: Attack) -> Outcome:
    parked, error = served.parked(), ""
    before = parked.state
    card = parked.card
    try:
        attack(parked)
    except Exception as refused:
        error = f"{type(refused).__name__}: {refused}"
    after = parked.state
    pending = served.sidecar.approvals.get(card).open
    return Outcome(error, parked.paid + served.paid(100), seen(before), seen(after), card, pending)


def seen(state: Any) -> dict[str, Any]:
    return {"values": state["values"], "next": state["next"]}


@pytest.fixture(scope="module")
def outcomes(served: Any) -> Iterator[dict[str, Outcome]]:
    """All attacks, many at a time, each on a thread of its own."""
    with ThreadPoolExecutor(16) as pool:
        tries = {name: pool.submit(tried, served, attack) for name, attack in ATTACKS.items()}
        yield {name: one.result() for name, one in tries.items()}


@pytest.mark.parametrize("attack", list(ATTACKS))
def test_nothing_is_paid_and_nothing_has_changed(attack: str, outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes[attack]

    assert 0 == outcome.paid
    assert outcome.before == outcome.after
    assert outcome.pending


@pytest.mark.parametrize("attack", [name for name in ATTACKS if name.startswith(("state: Command", "rewind: "))])
def test_a_closed_door_says_so(attack: str, outcomes: dict[str, Outcome]) -> None:
    assert "changes state past the contracts" in outcomes[attack].error


def test_a_thread_cannot_be_born_with_a_state_of_its_own(served: Any) -> None:
    thread = str(uuid4())
    forged = [{"updates": [{"values": FORGED, "as_node": "settle"}]}]

    with pytest.raises(InternalServerError):
        served.client.threads.create(thread_id=thread, supersteps=forged, graph_id="till")

    assert "paid" not in (served.client.threads.get_state(thread)["values"] or {})


def test_a_refused_change_of_state_is_on_record(served: Any) -> None:
    """The server tells its client nothing but "internal error"; the ledger has who tried what."""
    parked = served.parked()
    with pytest.raises(InternalServerError):
        update(parked, FORGED, as_node="settle")

    parked.resume(parked.approval())

    assert ["update_state"] == served.refused(parked.thread)


def test_an_edit_is_held_to_the_contract(served: Any) -> None:
    parked = served.parked()

    with pytest.raises(Exception, match="amount must be a number up to 100"):
        parked.resume(parked.approval(decision="edit", edited={"amount": 5000}))

    assert 0 == served.paid(5000) + parked.paid


def test_new_input_leaves_the_old_question_unanswered(served: Any) -> None:
    parked = served.parked()

    served.run(parked.thread, input={"amount": parked.amount})

    assert 0 == parked.paid
    assert ["settle"] == parked.state["next"]


def test_after_all_refusals_the_real_approval_still_counts_once(served: Any) -> None:
    parked = served.parked()
    for attack in ("state: update_state", "state: Command(goto)", "rewind: checkpoint", "answer: somebody unknown"):
        try:
            ATTACKS[attack](parked)
        except Exception:
            pass

    parked.resume(parked.approval())

    assert 1 == parked.paid
    assert f"paid {parked.amount}" == parked.state["values"]["paid"]
