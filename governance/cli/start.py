"""What `sidecar run` checks before anything runs: the input, and where the record goes."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from governance.cli.exits import Failure
from governance.loading import nearest
from governance.sidecar import Sidecar


def read_input(given: str) -> Any:
    """The JSON of a file, or of stdin for `-`."""
    name = "stdin" if given == "-" else given
    try:
        text = sys.stdin.read() if given == "-" else Path(given).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Failure(f"expected a JSON file at {given}, found nothing; check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{name} cannot be read as text: {error}") from None
    try:
        return json.loads(text)
    except ValueError as error:
        raise Failure(f"{name} is not JSON: {error}") from None


def check_input(graph: Any, value: Any) -> None:
    """Refuse what LangGraph would drop without a word: keys that the graph does not take."""
    if value is None:
        raise Failure("the input is null; expected what the graph takes, or --resume to go on with a thread")
    keys = _keys(graph)
    if keys is None:
        return
    if not isinstance(value, Mapping):
        raise Failure(f"expected an object with {', '.join(sorted(keys))}, got {json.dumps(value)[:80]}")
    for key in value:
        if key not in keys:
            raise Failure(f"the graph takes no {key!r}; {nearest(key, keys)}")
    if not value:
        raise Failure(f"the input is empty; expected an object with {', '.join(sorted(keys))}")


def _keys(graph: Any) -> set[str] | None:
    """Names a graph takes at its start; None where it takes any JSON."""
    try:
        schema = graph.get_input_jsonschema()
    except Exception:  # types that JSON schema cannot say: the graph judges for itself
        return None
    if schema.get("type") != "object" or schema.get("additionalProperties", False) or "properties" not in schema:
        return None
    return set(schema["properties"])


def check_ledger(sidecar: Sidecar, ledger: Path | None, control: Path | None) -> None:
    """Refuse options that a graph with a Sidecar of its own would not follow."""
    for option, given, used in (
        ("--ledger", ledger, sidecar.ledger.path),
        ("--control", control, sidecar.control.path),
    ):
        if given is not None and given.resolve() != used.resolve():
            raise Failure(f"the graph brings a Sidecar of its own on {used}; leave {option} out")
