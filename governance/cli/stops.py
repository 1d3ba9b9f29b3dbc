"""`sidecar stop`, `resume` and `status`: the halt switch, and what stands or waits."""

from __future__ import annotations

import time
from contextlib import closing
from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table

from governance.cli.approvals import described, waiting_table
from governance.cli.exits import Failure
from governance.cli.places import (
    OPERATOR,
    OUT,
    AsJson,
    By,
    ControlPath,
    LedgerPath,
    Reason,
    local_principal,
    places,
    print_json,
)
from governance.loading import nearest
from governance.plane.approvals import Approvals, Card
from governance.plane.control import Control
from governance.plane.stops import Stop


class Scope(StrEnum):
    """What a stop holds back."""

    ALL = "all"
    SESSION = "session"
    AGENT = "agent"
    TOOL = "tool"
    TENANT = "tenant"


Which = Annotated[Scope, typer.Argument(metavar="SCOPE", help="all, session, agent, tool or tenant.")]
Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="The session, agent, tool or tenant; not for all.")]


def stop(
    scope: Which,
    name: Name = None,
    reason: Reason = "",
    by: By = None,
    ledger: LedgerPath = None,
    control: ControlPath = None,
    as_json: AsJson = False,
) -> None:
    """Forbid a session, an agent, a tool, a tenant or everything, in all processes, from now on."""
    where, who, target = places(ledger, control), local_principal(by), _target(scope, name)
    if not reason.strip():
        raise Failure("a stop needs --reason TEXT: whoever meets it must learn why")
    with closing(where.open_control(create=True)) as switch:
        # The stop first: it must hold even where the ledger cannot be written.
        order = switch.stop(scope.value, target, reason=reason, by=f"{who.how}:{who.name}")
    where.record(OPERATOR, "control.stopped", by=who, body={"scope": scope, "name": target, "reason": reason})
    print_json(order._asdict()) if as_json else OUT.print(f"stopped: {_words(order)}", markup=False)


def resume(
    scope: Which,
    name: Name = None,
    reason: Reason = "",
    by: By = None,
    ledger: LedgerPath = None,
    control: ControlPath = None,
    as_json: AsJson = False,
) -> None:
    """Lift a stop."""
    where, who, target = places(ledger, control), local_principal(by), _target(scope, name)
    with closing(where.open_control()) as switch:
        standing = _standing(switch)
        if (scope.value, target) not in {(s.scope, s.name) for s in standing}:
            known = [f"{s.scope} {s.name}" for s in standing]
            raise Failure(f"there is no stop on {scope.value} {target}; {nearest(f'{scope.value} {target}', known)}")
        where.check()
        switch.resume(scope.value, target)
    where.record(OPERATOR, "control.resumed", by=who, body={"scope": scope, "name": target, "reason": reason})
    print_json({"scope": scope, "name": target}) if as_json else print(f"resumed: {scope.value} {target}")


def status(ledger: LedgerPath = None, control: ControlPath = None, as_json: AsJson = False) -> None:
    """Show the stops that stand and the approvals that wait."""
    where = places(ledger, control)
    stops: list[Stop] = []
    cards: list[Card] = []
    if where.control.exists():
        with closing(where.open_control()) as switch:
            stops, cards = _standing(switch), Approvals(switch).cards()
    if as_json:
        print_json({"stops": [s._asdict() for s in stops], "approvals": [described(c) for c in cards]})
        return
    OUT.print(_stops_table(stops) if stops else "nothing is stopped")
    OUT.print(waiting_table(cards) if cards else "no approval waits")


def _target(scope: Scope, name: str | None) -> str:
    if scope is Scope.ALL:
        if name not in (None, "*"):
            raise Failure(f"`all` takes no name, got {name!r}; stop one with `session`, `agent`, `tool` or `tenant`")
        return "*"
    if not name:
        raise Failure(f"`{scope.value}` needs the name of the {scope.value}")
    return name


def _standing(switch: Control) -> list[Stop]:
    with switch.transaction() as db:
        return [Stop(*row) for row in db.execute("SELECT scope, name, reason, by, at FROM stops ORDER BY at")]


def _words(order: Stop) -> str:
    name = "" if order.name == "*" else f" {order.name}"
    return f"{order.scope}{name}, until `sidecar resume {order.scope}{name}`"


def _stops_table(stops: list[Stop]) -> Table:
    table = Table("scope", "name", "since", "by", "reason", title="stopped", title_justify="left")
    for order in stops:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(order.at))
        table.add_row(order.scope, order.name, since, order.by, order.reason)
    return table
