"""Whose work a run is: named by the run, by the key that the outermost graph's policy says."""

from __future__ import annotations

from typing import Any

import pytest

from governance import Sidecar
from governance.errors import Halted
from governance.policy import Policy, TenantPolicy
from governance.tenants import tenant_of

BY_CUSTOMER = Policy(tenants=TenantPolicy(key="customer"))


def test_a_run_inside_is_its_outermost_tenants(asked_inside: Any) -> None:
    assert "acme" == asked_inside(tenant_of, BY_CUSTOMER, customer="acme")
    assert "7" == asked_inside(tenant_of, BY_CUSTOMER, customer=7)


def test_there_are_none_where_nobody_asks_or_none_is_named(asked_inside: Any) -> None:
    assert "" == asked_inside(tenant_of, Policy(), customer="acme")
    assert "" == asked_inside(tenant_of, BY_CUSTOMER, tenant_id="acme")


def test_a_stopped_tenant_leaves_the_others_alone(asked_inside: Any, sidecar: Sidecar) -> None:
    sidecar.control.stop("tenant", "acme", reason="unpaid", by="alice")

    with pytest.raises(Halted, match="unpaid"):
        asked_inside(tenant_of, BY_CUSTOMER, customer="acme")
    assert "emca" == asked_inside(tenant_of, BY_CUSTOMER, customer="emca")
