"""Whose work a run is, where one installation serves several: what is theirs alone is stopped and left alone alone."""

from __future__ import annotations

from governance.call import Call
from governance.plane.requests import outermost


def tenant_of(call: Call) -> str:
    """The tenant that the run of a call names in `config["configurable"]`; empty where none is named or asked for.

    The outermost graph's policy says by which key (`[tenants] key`); graphs inside belong to the same tenant.
    """
    root = outermost(call)
    tenants = root.governance.policy.tenants
    if tenants is None:
        return ""
    named = (root.config.get("configurable") or {}).get(tenants.key)
    return "" if named is None else str(named)
