"""What `sidecar run` checks before anything runs: the input, and where the record goes."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

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
    """Refuse what LangGraph would drop without a word, or stumble over in the first node."""
    if value is None:
        raise Failure("the input is null; expected what the graph takes, or --resume to go on with a thread")
    schema = getattr(getattr(graph, "builder", None), "input_schema", None)
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        _check_model(schema, value)
    elif hasattr(schema, "__total__") or dataclasses.is_dataclass(schema):
        _check_keys(_keys(schema), value)


def _keys(schema: Any) -> set[str]:
    """Names of a typed dict, inherited ones included, or of a dataclass."""
    if dataclasses.is_dataclass(schema):
        return {field.name for field in dataclasses.fields(schema)}
    return set(schema.__annotations__)


def _check_keys(keys: set[str], value: Any) -> None:
    takes = f"expected an object with {', '.join(sorted(keys))}"
    if not isinstance(value, Mapping):
        raise Failure(f"{takes}, got {json.dumps(value)[:80]}")
    if not value:
        raise Failure(f"the input is empty; {takes}")
    for key in value:
        if key not in keys:
            raise Failure(f"the graph takes no {key!r}; {nearest(key, keys)}")


def _check_model(schema: type[BaseModel], value: Any) -> None:
    try:
        schema.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the input"
        raise Failure(f"{place}: {first['msg']}, got {json.dumps(first['input'])[:80]}") from None


def check_ledger(sidecar: Sidecar, ledger: Path | None, control: Path | None) -> None:
    """Refuse options that a graph with a Sidecar of its own would not follow."""
    for option, given, used in (
        ("--ledger", ledger, sidecar.ledger.path),
        ("--control", control, sidecar.control.path),
    ):
        if given is not None and given.resolve() != used.resolve():
            raise Failure(f"the graph brings a Sidecar of its own on {used}; leave {option} out")
