"""An incident as it was recorded: alerts, logs, metrics, traces, changes and who calls whom.

A file is JSON; times are seconds since 1970. What is wrong with one is said in a single line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from langchain_core.tools import ToolException
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

Name = Annotated[str, Field(min_length=1, max_length=200)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
STRICT = ConfigDict(extra="forbid")
LARGEST_BYTES = 20_000_000


class ToolInputError(ToolException, ValueError):
    """What a tool was given cannot be used; the message says which field, what was expected and what came.

    Args:
        field: the place of the wrong value, such as `alerts[0].severity`.
        expected: what would have been right.
        got: what came instead.
        remedy: what to do next.
    """

    def __init__(self, field: str, *, expected: str, got: str, remedy: str) -> None:
        super().__init__(f"{field}: expected {expected}, got {got}; {remedy}")
        self.field = field
        self.expected = expected
        self.got = got
        self.remedy = remedy

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.field, self.expected, self.got, self.remedy)


def _restored(field: str, expected: str, got: str, remedy: str) -> ToolInputError:
    return ToolInputError(field, expected=expected, got=got, remedy=remedy)


@dataclass(frozen=True)
class Window:
    """The time that was looked at."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    start: Seconds
    end: Seconds


@dataclass(frozen=True)
class Alert:
    """One alert: `at` is when its condition began to hold."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    id: Name
    at: Seconds
    service: Name
    name: Name
    severity: Literal["critical", "warning", "info"]
    summary: str
    value: Finite | None = None
    threshold: Finite | None = None


@dataclass(frozen=True)
class LogLine:
    """One line that a service logged."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    at: Seconds
    service: Name
    level: Literal["DEBUG", "INFO", "WARN", "ERROR"]
    message: str
    trace_id: str | None = None
    traceback: str | None = None


@dataclass(frozen=True)
class Series:
    """One metric of one service over time.

    `about` says what it measures: the service's own answers (errors, latency), its waiting for others
    (downstream), what it uses (resource) or what it is asked (traffic). `worse` says which way trouble
    moves it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    service: Name
    metric: Name
    unit: str
    points: tuple[tuple[Seconds, Finite], ...]
    about: Literal["errors", "latency", "downstream", "resource", "traffic"] = "resource"
    worse: Literal["up", "down", "either"] = "up"


@dataclass(frozen=True)
class Span:
    """One piece of work of one service within a trace."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    trace_id: Name
    span_id: Name
    parent_id: str | None
    service: Name
    operation: Name
    start: Seconds
    duration_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    status: Literal["ok", "error"] = "ok"


@dataclass(frozen=True)
class OperationStats:
    """Durations of one operation in the `seconds` from `at`, from a source that keeps no single spans."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    service: Name
    operation: Name
    at: Seconds
    count: Annotated[int, Field(ge=0)]
    p50_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    p95_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60.0


@dataclass(frozen=True)
class Change:
    """A deploy, a changed setting or a restart of one service."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    id: Name
    at: Seconds
    service: Name
    kind: Literal["deploy", "config", "restart"]
    after: str | int
    before: str | int | None = None
    key: str | None = None


@dataclass(frozen=True)
class Edge:
    """`caller` sends requests to `callee`."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    caller: Name
    callee: Name


@dataclass(frozen=True)
class Incident:
    """Everything known of one incident; `sampled` says what of it is a sample."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    title: Name
    window: Window
    alerts: tuple[Alert, ...]
    logs: tuple[LogLine, ...] = ()
    metrics: tuple[Series, ...] = ()
    spans: tuple[Span, ...] = ()
    operations: tuple[OperationStats, ...] = ()
    changes: tuple[Change, ...] = ()
    graph: tuple[Edge, ...] = ()
    sampled: str = ""

    @property
    def onset(self) -> float:
        """When trouble began: the first alert's condition."""
        return min(alert.at for alert in self.alerts)

    @property
    def services(self) -> tuple[str, ...]:
        """Return every service that is mentioned, sorted."""
        named: set[str] = set()
        groups: Iterable[Iterable[Any]] = (
            self.alerts, self.logs, self.metrics, self.spans, self.operations, self.changes
        )  # fmt: skip
        for group in groups:
            named.update(item.service for item in group)
        for edge in self.graph:
            named.update((edge.caller, edge.callee))
        return tuple(sorted(named))

    def callees(self, service: str) -> tuple[str, ...]:
        return tuple(sorted({edge.callee for edge in self.graph if edge.caller == service}))

    def callers(self, service: str) -> tuple[str, ...]:
        return tuple(sorted({edge.caller for edge in self.graph if edge.callee == service}))

    def known(self, service: str) -> Self:
        """Return the incident if it mentions the service, or refuse with the names that it has."""
        if service not in self.services:
            raise ToolInputError(
                "service",
                expected=f"one of {', '.join(self.services)}",
                got=repr(service),
                remedy="ask again with one of these names",
            )
        return self


ADAPTER: TypeAdapter[Incident] = TypeAdapter(Incident)


def load_incident(path: str | Path) -> Incident:
    """Read and check an incident file; anything wrong with it raises `ToolInputError`."""
    file = Path(path)
    try:
        if file.stat().st_size > LARGEST_BYTES:
            got = f"{file.stat().st_size} bytes"
            raise ToolInputError(str(path), expected=f"at most {LARGEST_BYTES} bytes", got=got, remedy="sample it")
        given = json.loads(file.read_text(encoding="utf-8"))
    except OSError as missing:
        raise ToolInputError(
            str(path), expected="an incident file", got=str(missing.strerror), remedy="check the path"
        ) from missing
    except ValueError as broken:
        if isinstance(broken, ToolInputError):
            raise
        raise ToolInputError(
            str(path), expected="JSON in UTF-8", got=_short(str(broken)), remedy="repair the file"
        ) from broken
    return parse_incident(given, source=str(path))


def parse_incident(given: Mapping[str, Any], *, source: str = "incident") -> Incident:
    """Check a decoded incident; the first thing wrong raises `ToolInputError`, naming its place."""
    try:
        incident = ADAPTER.validate_python(given)
    except ValidationError as wrong:
        raise _explained(wrong, source) from None
    if not incident.alerts:
        raise ToolInputError(
            f"{source}: alerts", expected="at least one alert", got="none", remedy="add what was alerted"
        )
    if incident.window.end <= incident.window.start:
        raise ToolInputError(
            f"{source}: window.end",
            expected=f"a time after window.start ({incident.window.start:g})",
            got=f"{incident.window.end:g}",
            remedy="correct the window",
        )
    return incident


def dump_incident(incident: Incident) -> str:
    """Write an incident as JSON, one record a line, so that people can read and compare it."""
    parts = []
    for key, value in asdict(incident).items():
        if isinstance(value, tuple) and value:
            rows = ",\n".join(f"  {_compact(row)}" for row in value)
            parts.append(f'"{key}": [\n{rows}\n]')
        else:
            parts.append(f'"{key}": {_compact(value)}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _compact(value: Any) -> str:
    if isinstance(value, dict):
        value = {key: part for key, part in value.items() if part is not None or key == "parent_id"}
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _explained(wrong: ValidationError, source: str) -> ToolInputError:
    first = wrong.errors(include_url=False)[0]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    others = wrong.error_count() - 1
    remedy = "correct it" + (f" ({others} more to correct)" if others else "")
    missing = first["type"] in ("missing", "missing_argument")
    return ToolInputError(
        f"{source}: {place or 'the file'}",
        expected="a value" if missing else _expectation(first["msg"]),
        got="nothing" if missing else _short(repr(first["input"])),
        remedy=remedy,
    )


def _expectation(message: str) -> str:
    """Say what pydantic expected in the words of JSON."""
    if message.startswith("Unexpected"):
        return "no such field"
    if "dictionary" in message:
        return "an object"
    for opening in ("Input should be ", "String should "):
        message = message.removeprefix(opening)
    return message.replace("a valid tuple", "a list")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 80 else f"{line[:77]}..."
