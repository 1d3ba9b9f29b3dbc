"""Which errors are a reason to undo a session."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.errors import GraphInterrupt, GraphRecursionError

from governance import errors
from governance.saga_causes import cause_of


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (ValueError("wrong"), "failed"),
        (GraphRecursionError("too many steps"), "failed"),
        (errors.BudgetExceeded("too much"), "failed"),
        (errors.ContractViolation("not allowed"), "failed"),
        (errors.ApprovalDenied("no"), "denied"),
        (errors.Halted("stopped", scope="session", name="t"), "stopped"),
        (errors.Halted("stopped", scope="all", name="*"), None),
        (errors.Shed("later"), None),
        (errors.EffectInDoubt("who knows"), None),
        (errors.LedgerError("no disk"), None),
        (errors.DoorClosed("a rewind"), None),
        (errors.SessionUndone("undone"), None),
        (GraphInterrupt(), None),
    ],
)
def test_a_cause_is_found_for_errors_after_which_a_session_is_over(error: Exception, cause: Any) -> None:
    assert cause == cause_of(error)
