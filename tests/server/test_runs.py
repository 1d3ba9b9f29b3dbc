"""What a client of the server does every day: run, stream, be asked, answer, cancel."""

from __future__ import annotations

from typing import Any

import pytest


def test_a_run_stops_at_the_question_and_shows_the_exact_action(served: Any) -> None:
    parked = served.parked()

    (question,) = parked.state["interrupts"]
    assert {"tool": "pay", "args": {"amount": parked.amount}, "reason": "moves money"} == question["value"]["what"]
    assert "interrupted" == served.client.threads.get(parked.thread)["status"]
    assert 0 == parked.paid


def test_an_operator_approves_in_the_resume(served: Any) -> None:
    parked = served.parked()

    values = parked.resume(parked.approval())

    assert f"paid {parked.amount}" == values["paid"]
    assert "closed" == values["note"]
    assert 1 == parked.paid


def test_a_decision_recorded_elsewhere_counts_when_the_run_goes_on(served: Any) -> None:
    """What `sidecar approvals approve` does in another process."""
    parked = served.parked()

    served.decide(parked.card, "approve")
    values = served.run(parked.thread)

    assert f"paid {parked.amount}" == values["paid"]
    assert 1 == parked.paid


def test_a_denial_ends_the_run_and_nothing_is_paid(served: Any) -> None:
    parked = served.parked()

    with pytest.raises(Exception, match="denied by local:alice"):
        parked.resume(parked.approval(decision="deny"))

    assert 0 == parked.paid


def test_an_approval_is_used_up(served: Any) -> None:
    parked = served.parked()
    parked.resume(parked.approval())

    served.run(parked.thread, input={"amount": parked.amount})

    assert 1 == parked.paid
    assert ["settle"] == parked.state["next"]


def test_every_streaming_mode_brings_what_the_nodes_did(served: Any) -> None:
    modes = ["values", "updates", "messages-tuple", "custom", "debug"]

    pieces = list(served.client.runs.stream(served.thread(), "speaker", input={}, stream_mode=modes))

    assert {"metadata", "values", "updates", "messages", "debug"} <= {piece.event for piece in pieces}
    spoken = "".join(piece.data[0]["content"] for piece in pieces if piece.event == "messages")
    assert "one two three" == spoken


@pytest.mark.parametrize("action", ["interrupt", "rollback"])
def test_a_cancelled_run_pays_nothing(action: Any, served: Any) -> None:
    """It is cancelled while its node waits; a rollback leaves no checkpoint of it either."""
    thread, started = served.thread(), []
    stream = served.client.runs.stream(
        thread, "waiter", input={"amount": 99}, stream_mode="custom", on_run_created=started.append
    )
    assert "waiting" == next(piece.data for piece in stream if piece.event == "custom")

    served.client.runs.cancel(thread, started[0]["run_id"], wait=True, action=action)

    history = served.client.threads.get_history(thread)
    assert (action == "rollback") == (history == [])
    assert 0 == served.paid(99)


def test_a_copied_thread_asks_for_itself(served: Any) -> None:
    parked = served.parked()

    copied = served.client.threads.copy(parked.thread)
    served.run(copied["thread_id"])

    (question,) = served.client.threads.get_state(copied["thread_id"])["interrupts"]
    assert parked.card != question["value"]["card"]


def test_a_blocking_call_in_a_node_is_found(served: Any) -> None:
    """The detector is on, so that every other run of these tests proves that governance blocks nowhere."""
    with pytest.raises(Exception, match="BlockingError"):
        served.run(served.thread(), "blocker", input={})

    assert "Blocking call to time.sleep" in served.log()


def test_a_customer_confirms_a_refund_of_the_shop(served: Any) -> None:
    """The chatbot of langgraph.json, on its own policy file, with a decision recorded beside the server."""
    thread, said = served.thread(), [{"role": "user", "content": "My board is chipped."}]
    served.run(thread, "chatbot", input={"messages": said, "email": "ada@example.com", "postcode": "1017 XK"})
    (question,) = served.client.threads.get_state(thread)["interrupts"]

    served.decide(question["value"]["card"], "approve", by="ada")
    values = served.run(thread, "chatbot")

    assert question["value"]["evidence"]["dry_run"].startswith("would refund 2995 cents")
    assert "It is done." == values["messages"][-1]["content"]
    assert "refunded 2995 cents" in values["messages"][-2]["content"]


def test_the_graphs_of_the_repository_are_served(served: Any) -> None:
    names = {assistant["graph_id"] for assistant in served.client.assistants.search(limit=100)}

    assert {"ops", "chatbot"} <= names


def test_graphs_and_schemas_of_a_governed_graph_can_be_read(served: Any) -> None:
    (assistant,) = served.client.assistants.search(graph_id="chatbot")

    drawn = served.client.assistants.get_graph(assistant["assistant_id"])
    schemas = served.client.assistants.get_schemas(assistant["assistant_id"])

    assert {"login", "answer", "serve", "refer"} <= {node["id"] for node in drawn["nodes"]}
    assert {"messages", "email", "postcode"} == set(schemas["input_schema"]["properties"])
