"""Whose work a run is: named by the run, by the key that the outermost graph's policy says."""

from __future__ import annotations

from typing import Any

import pytest

from governance import Contract, Sidecar, govern
from governance.current import current_call
from governance.errors import Halted
from governance.policy import Policy, TenantPolicy
from governance.tenants import tenant_of

BY_CUSTOMER = Policy(tenants=TenantPolicy(key="customer"))


def seen_in(one: Any, sidecar: Sidecar, policy: Policy, **configurable: Any) -> str:
    seen = []

    def node(state: Any) -> Any:
        call = current_call()
        assert call is not None
        seen.append(tenant_of(call))

    inner = one(node)
    graph = one(lambda state: inner.invoke(state))
    contracts = {"n": Contract(), "n/*": Contract()}
    govern(graph, contracts=contracts, policy=policy, sidecar=sidecar).invoke(
        {"out": ""}, {"configurable": configurable}
    )
    return str(seen[0])


def test_a_run_inside_is_its_outermost_tenants(one: Any, sidecar: Sidecar) -> None:
    assert "acme" == seen_in(one, sidecar, BY_CUSTOMER, customer="acme")
    assert "7" == seen_in(one, sidecar, BY_CUSTOMER, customer=7)


def test_there_are_none_where_nobody_asks_or_none_is_named(one: Any, sidecar: Sidecar) -> None:
    assert "" == seen_in(one, sidecar, Policy(), customer="acme")
    assert "" == seen_in(one, sidecar, BY_CUSTOMER, tenant_id="acme")


def test_a_stopped_tenant_leaves_the_others_alone(one: Any, sidecar: Sidecar) -> None:
    sidecar.control.stop("tenant", "acme", reason="unpaid", by="alice")

    with pytest.raises(Halted, match="unpaid"):
        seen_in(one, sidecar, BY_CUSTOMER, customer="acme")
    assert "emca" == seen_in(one, sidecar, BY_CUSTOMER, customer="emca")
