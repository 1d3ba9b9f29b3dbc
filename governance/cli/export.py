"""`sidecar ledger export`: a session for another program, or as a page for people."""

from __future__ import annotations

import sys
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from governance import canonical
from governance.cli.exits import Failure
from governance.cli.explain import shown, texts
from governance.cli.places import ERR
from governance.cli.records import Source, of_session, opened, reading
from governance.cli.timeline import page
from governance.errors import LedgerError
from governance.loading import nearest
from governance.plane.ledger import Ledger


class Format(StrEnum):
    """What is written."""

    JSONL = "jsonl"
    HTML = "html"


def export(
    session: Annotated[str, typer.Argument(metavar="SESSION", help="The session.")],
    format: Annotated[
        Format, typer.Option("--format", help="jsonl: one event a line; html: a timeline.")
    ] = Format.JSONL,
    to: Annotated[str, typer.Option("--to", metavar="FILE|-", help="Where to; else it is printed.")] = "-",
    ledger: Source = None,
) -> None:
    """Write a session out: JSON Lines with its payloads, or a page of HTML that needs nothing else."""
    with closing(opened(ledger)) as record:
        with reading(record.place) as reader:
            rows = of_session(reader, session)
            known = [name for (name,) in reader.rows("SELECT session FROM heads LIMIT 1000")]
        if not rows:
            raise Failure(f"the ledger has no rows of session {session!r}; {nearest(session, known)}")
        if format is Format.HTML:
            text = page(session, rows, texts(record))
        else:
            text = "".join(f"{canonical.text(_with_payloads(record, row))}\n" for row in rows)
    _write(text, to)
    if to != "-":
        ERR.print(f"{len(rows)} events of {session} in {to}", markup=False)


def _with_payloads(record: Ledger, row: dict[str, Any]) -> dict[str, Any]:
    """The row, with what its payloads hold beside what names them."""
    body = row["body"]
    named = {
        name: value["sha256"]
        for name, value in (body.items() if isinstance(body, dict) else ())
        if isinstance(value, dict) and value.keys() == {"sha256", "bytes"}
    }
    found = {name: _plain(record, row["session"], digest) for name, digest in named.items()}
    return {**row, "payloads": found} if found else row


def _plain(record: Ledger, session: str, digest: str) -> Any:
    try:
        return orjson.loads(canonical.encode(shown(record.payload(session, digest))))
    except LedgerError:
        return None


def _write(text: str, to: str) -> None:
    if to == "-":
        sys.stdout.write(text)
        return
    file = Path(to)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Failure(f"{to} cannot be written: {error}; name another file") from error
