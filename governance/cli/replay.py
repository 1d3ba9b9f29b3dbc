"""`sidecar replay`: run a recorded session again, offline, and say where it first goes another way."""

from __future__ import annotations

import json
import re
import sys
from contextlib import closing, redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from governance.cli.exits import Code, Failure
from governance.cli.places import ERR, OUT, AsJson, local_policy, print_json
from governance.cli.records import Source, opened, reading
from governance.errors import RecordIncomplete
from governance.loading import CONFIG, load_graph, nearest
from governance.plane.ledger import Ledger
from governance.replay.elsewhere import elsewhere
from governance.replay.recording import Recording, from_ledger, to_file
from governance.replay.run import replay as run_again

TEST = '''"""The session {session}, recorded and replayed: `sidecar replay` wrote this and the file beside it."""

from __future__ import annotations

from pathlib import Path

from governance.testing import assert_replays

HERE = Path(__file__).resolve()


def test_{name}() -> None:
    """Each node is given and returns what it did, and asks its models and tools the same."""
    assert_replays(HERE.with_suffix(".jsonl"), graph={graph!r}, root=HERE.parents[{up}])
'''


def replay(
    session: Annotated[str, typer.Argument(metavar="SESSION", help="The session.")],
    graph: Annotated[
        str | None,
        typer.Option("--graph", metavar="GRAPH", help="A name in langgraph.json, ./file.py:attr or module:attr."),
    ] = None,
    as_test: Annotated[
        Path | None, typer.Option("--as-test", metavar="FILE", help="Write a test, with all it needs beside it.")
    ] = None,
    ledger: Source = None,
    as_json: AsJson = False,
) -> None:
    """Run a session again, offline: nodes run, models and tools answer as they did; exit code 5 where it diverges.

    Needs what `[ledger] payloads = "all"` keeps. The record is only read.
    """
    with closing(opened(ledger)) as record:
        recording = _recording(record, session)
    name = graph or _graph_of(recording)
    with elsewhere(), redirect_stdout(sys.stderr):  # what nodes print is not what is asked for
        loaded = load_graph(name)
        try:
            found = run_again(loaded, recording, redact=local_policy().ledger.redact)
        except RecordIncomplete as error:
            raise Failure(error.reason) from error
    if as_json:
        print_json(found.as_data())
    else:
        OUT.print(str(found), markup=False)
    if not found.equal:
        raise typer.Exit(Code.FAILED)
    if as_test is not None:
        _write_test(as_test, name, recording)


def _recording(record: Ledger, session: str) -> Recording:
    with reading(record.place) as reader:
        known = [name for (name,) in reader.rows("SELECT session FROM heads LIMIT 1000")]
    if session not in known:
        raise Failure(f"the ledger has no rows of session {session!r}; {nearest(session, known)}")
    return from_ledger(record, session)


def _graph_of(recording: Recording) -> str:
    """The graph that the command ran, or the only one there is."""
    ran = [str(row.body["graph"]) for row in recording.rows if row.kind == "run.begun" and row.body.get("graph")]
    if ran:
        return ran[-1]
    listed = _listed(Path(CONFIG))
    if len(listed) == 1:
        return listed[0]
    raise Failure(
        f"which graph was it? expected --graph NAME or ./file.py:attr; langgraph.json has: {listed or 'none'}"
    )


def _listed(config: Path) -> list[str]:
    try:
        return [str(name) for name in json.loads(config.read_text(encoding="utf-8"))["graphs"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []  # whoever loads the graph says what is wrong with it


def _write_test(file: Path, graph: str, recording: Recording) -> None:
    name = file.stem.removeprefix("test_")
    if file.suffix != ".py" or not file.stem.startswith("test_") or not name.isidentifier():
        raise Failure(f"expected --as-test FILE as tests/test_something.py, got {file}")
    if file.exists():
        raise Failure(f"{file} is there already; name another, or remove it")
    root = Path.cwd().resolve()
    try:
        up = len(file.resolve().relative_to(root).parts) - 1
    except ValueError:
        raise Failure(f"{file} is outside of {root}: the test would not find the graph; name a file inside") from None
    fixture = file.with_suffix(".jsonl")
    about: dict[str, Any] = {"graph": graph, "redact": list(local_policy().ledger.redact)}
    to_file(recording, fixture, about)
    file.write_text(
        TEST.format(session=re.sub(r"[^\w.:-]", "?", recording.session), name=name, graph=graph, up=up),
        encoding="utf-8",
    )
    ERR.print(f"{file} replays it, from {fixture}", markup=False)
