"""Where the record and the control file are, who is asking, and how answers are printed."""

from __future__ import annotations

import getpass
import json
import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from governance import canonical
from governance.cli.exits import Failure
from governance.plane.approvals import Principal
from governance.plane.control import Control
from governance.plane.ledger import COMPANIONS, Ledger
from governance.plane.ledger_settings import ledger_by
from governance.plane.ledger_store import Place, is_server
from governance.policy import Policy, load_policy

POLICY = "sidecar.toml"
OPERATOR = "operator"
"""The session that holds what operators do to all sessions."""

LedgerPath = Annotated[
    Path | None,
    typer.Option("--ledger", metavar="PATH", help="The ledger; else SIDECAR_LEDGER, sidecar.toml, .sidecar/ledger.db."),
]
ControlPath = Annotated[
    Path | None,
    typer.Option("--control", metavar="PATH", help="The control file; else SIDECAR_CONTROL, or beside the ledger."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")]
By = Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who decides; else the user of this system.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept in the ledger.")]

OUT = Console(soft_wrap=True, highlight=False)
ERR = Console(stderr=True, soft_wrap=True, highlight=False)


@dataclass(frozen=True, slots=True)
class Places:
    """The two files of an installation, and the options that lead to them again."""

    ledger: Path
    control: Path
    options: tuple[str, ...] = ()
    server: str | None = None
    """The URL of the ledger where it is on a server; `ledger` then says where its companions stand."""

    def record_at(self) -> Place:
        return self.server or self.ledger

    def opened(self) -> Ledger:
        """The ledger as the policy here describes it: with its key, and its rules of redaction."""
        return ledger_by(local_policy().ledger, self.record_at())

    def record(self, session: str, kind: str, *, by: Principal, body: dict[str, Any]) -> None:
        """Put an operator's act on record; raises `LedgerError` where it cannot be."""
        with closing(self.opened()) as ledger:
            ledger.record(session, kind, actor=f"{by.how}:{by.name}", body=body)
            ledger.flush()

    def check(self) -> None:
        """Raise `LedgerError` now rather than after the act that must be on record."""
        with closing(self.opened()) as ledger:
            ledger.flush()

    def open_control(self, *, create: bool = False) -> Control:
        if not create and not self.control.exists():
            raise Failure(f"no control file at {self.control}; go to the directory the graph runs in or give --control")
        return Control(self.control)


def places(ledger: Path | None, control: Path | None) -> Places:
    """The files by option, environment, `sidecar.toml` and default, in this order."""
    policy = local_policy().ledger
    url = os.environ.get("SIDECAR_LEDGER") or policy.path
    server = url if ledger is None and is_server(url) else None
    named = COMPANIONS if server else ledger or _path("SIDECAR_LEDGER")
    record = named or Path(policy.path)
    switch = control or _path("SIDECAR_CONTROL")
    if switch is None:
        switch = named.with_name("control.db") if named else Path(policy.control)
    given = {"--ledger": ledger, "--control": control}
    options = tuple(part for name, path in given.items() if path for part in (name, str(path)))
    return Places(record, switch, options, server)


def lend(where: Places, ledger: Path | None, control: Path | None) -> None:
    """A graph that is governed when it is imported must find the files that were asked for."""
    if ledger is not None:
        os.environ["SIDECAR_LEDGER"] = str(where.ledger)
    if control is not None or ledger is not None:
        os.environ["SIDECAR_CONTROL"] = str(where.control)


def local_policy() -> Policy:
    return load_policy(POLICY if Path(POLICY).exists() else None)


def local_principal(name: str | None) -> Principal:
    """The person at this machine; the operating system says who, unless a name is given."""
    if name is None:
        try:
            name = getpass.getuser()
        except (KeyError, OSError):
            raise Failure("this system has no name for its user; say who decides with --by NAME") from None
    if not name.strip():
        raise Failure("--by needs a name")
    return Principal(name, "local")


def plain(value: Any) -> Any:
    """Any value as JSON holds it."""
    return json.loads(canonical.text(value))


def print_json(value: Any) -> None:
    print(json.dumps(plain(value), indent=2, ensure_ascii=False), flush=True)


def _path(variable: str) -> Path | None:
    found = os.environ.get(variable)
    return Path(found) if found else None
