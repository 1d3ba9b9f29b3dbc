"""A recorded session as a test: what `sidecar replay --as-test` writes calls this."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from governance.loading import load_graph
from governance.replay.elsewhere import elsewhere
from governance.replay.recording import about, from_file
from governance.replay.run import replay


def assert_replays(recording: str | os.PathLike[str], *, graph: Any, root: str | os.PathLike[str] = ".") -> None:
    """Replay a recorded session, offline; fails with the first place that differs.

    `graph` is a compiled graph, or names one as `langgraph.json` does; `root` is the directory of such names.
    """
    __tracebackhide__ = True
    file = Path(recording)
    with elsewhere():
        loaded = load_graph(graph, root=root) if isinstance(graph, str) else graph
        found = replay(loaded, from_file(file), redact=about(file).get("redact", ()))
    if not found.equal:
        raise AssertionError(f"{file.name} diverged at {found.divergence}")
