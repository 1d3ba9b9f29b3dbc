"""`sidecar demo`: the example applications of a clone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from governance.cli.exits import Failure
from governance.cli.places import AsJson
from governance.errors import ConfigurationError
from governance.loading import expose, import_named

HOW = "get a clone of Sidecar's repository and run `make demo` in it"

app = typer.Typer(help="Show what governance does, on a real service.", no_args_is_help=True)


@app.callback()
def demo() -> None:
    """Show what governance does, on a real service."""


@app.command("ops")
def ops(
    live: Annotated[
        bool, typer.Option("--live", help="Ask a real model instead of replaying recorded answers.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Break a small service and watch the governed ops graph heal it."""
    main = _entry(Path.cwd())
    raise typer.Exit(main(live=live, json_output=as_json))


def _entry(here: Path) -> Any:
    """`graphs.demo.main` of the clone we are in, and of nothing else."""
    if not (here / "graphs" / "demo.py").is_file():
        found = "graphs.py is another module" if (here / "graphs.py").is_file() else "it is not"
        raise Failure(f"expected graphs/demo.py in {here}, {found}; {HOW}")
    expose(here)
    try:
        module = import_named("graphs.demo")
    except ConfigurationError as error:
        raise Failure(error.reason) from error
    if Path(module.__file__ or "").resolve() != (here / "graphs" / "demo.py").resolve():
        raise Failure(f"`graphs` is {module.__file__} here, which hides the one in {here}; rename or uninstall it")
    return module.main
