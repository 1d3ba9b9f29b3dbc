"""The `sidecar` command."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, cast

import typer

from governance.cli import approvals, coverage, demo, effects, ledger, policy, replay, run, saga, stops
from governance.cli.exits import CODES, CommandLine

app = typer.Typer(
    name="sidecar",
    cls=CommandLine,
    help=f"Run, watch, stop and audit governed LangGraph graphs.\n\n{CODES}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("run")(run.run)
app.add_typer(demo.app, name="demo")
app.add_typer(approvals.app, name="approvals")
app.add_typer(effects.app, name="effects")
app.add_typer(saga.app, name="saga")
app.command("stop")(stops.stop)
app.command("resume")(stops.resume)
app.command("status")(stops.status)
app.add_typer(policy.app, name="policy")
app.add_typer(ledger.app, name="ledger")
app.command("replay")(replay.replay)
app.command("coverage")(coverage.coverage)


def _version(wanted: bool) -> None:
    if wanted:
        try:
            print(f"sidecar {version('langgraph-sidecar')}")
        except PackageNotFoundError:
            print("sidecar, run from its source")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", hidden=True)] = False,
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    cast(CommandLine, context.command).debug = debug


__all__ = ["app"]
