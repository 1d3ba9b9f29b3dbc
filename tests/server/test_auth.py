"""On a server that authenticates, its users decide under their own names and reach their own threads only."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from langgraph_sdk.errors import AuthenticationError


def test_the_authenticated_user_is_the_principal_whatever_the_answer_says(guarded: Any) -> None:
    parked = guarded.as_user("carol").parked()

    parked.resume(parked.approval(by="alice"))

    assert "server:carol" == guarded.sidecar.approvals.get(parked.card).principal
    assert 1 == parked.paid


def test_nobody_reaches_the_thread_of_somebody_else(guarded: Any) -> None:
    parked = guarded.as_user("carol").parked()

    with pytest.raises(httpx.HTTPStatusError, match="404"):
        guarded.as_user("mallory").run(parked.thread, command={"resume": parked.approval()})

    assert 0 == parked.paid


def test_a_large_refund_is_not_the_customers_to_approve(guarded: Any) -> None:
    """The customer can resume the thread, but the approval of the shop's contract names who may decide."""
    ada = guarded.as_user("ada")
    thread, said = ada.thread(), [{"role": "user", "content": "large, please"}]
    ada.run(thread, "chatbot", input={"messages": said, "email": "bruno@example.com", "postcode": "69002"})
    (question,) = ada.client.threads.get_state(thread)["interrupts"]
    answer = {"card": question["value"]["card"], "decision": "approve", "by": "shop-lead", "reason": "please"}

    ada.run(thread, "chatbot", command={"resume": answer})

    (asked_again,) = ada.client.threads.get_state(thread)["interrupts"]
    assert "ada is not among the approvers: shop-lead" in asked_again["value"]["error"]


def test_a_stranger_gets_nothing(guarded: Any) -> None:
    with pytest.raises(AuthenticationError):
        guarded.thread()
