"""What operators set, as TOML or in Python: the same object either way.

[ledger]
path = ".sidecar/ledger.db"
payloads = "calls"
redact = ["\\b\\d{16}\\b"]

[budget]
session_tokens = 200000

[loops]
repeats = 3
visits = 100

[approvals]
local_operators = ["alice"]

[tenants]
key = "tenant_id"

What is set about dependencies that fail is in `policy_failures`, about sessions that fail in `policy_saga`.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from governance import canonical
from governance.errors import PolicyError
from governance.plane.amounts import size
from governance.plane.redaction import Redaction
from governance.policy_failures import BreakerPolicy, BulkheadPolicy, DependencyPolicy, RetriesPolicy, Rules
from governance.policy_saga import SagaPolicy

PAYLOADS = ("none", "calls", "all")
SERVER = ("postgresql://", "postgres://")


@dataclass(frozen=True, kw_only=True)
class LedgerPolicy:
    """Where the record and the control file are kept, what is kept in it, and who can prove it whole."""

    path: str = ".sidecar/ledger.db"
    control: str = ".sidecar/control.db"
    key_file: str | None = None
    """A file with a secret that seals every hash; `SIDECAR_LEDGER_KEY` goes before."""
    anchor: str | None = None
    """A file that the end of the chain is appended to, or `-` for stdout, every `anchor_every` seconds."""
    anchor_every: int = 60
    payloads: str = "none"
    """Whether prompts, answers, results and inputs are kept: none, calls (of models and tools), all (nodes too)."""
    redact: tuple[str, ...] = ()
    """Regular expressions; what they find is taken out of everything before it is stored or hashed."""
    person: str | None = None
    """The key in `config["configurable"]` that says whose run it is, so that it can be erased."""
    min_free: str = "200MB"
    """Room on the disk below which there is a warning; below a quarter of it nothing runs."""
    wait: int = 10
    """Seconds a call waits for a disk that is too slow, or a server that is away, before it is refused."""

    def __post_init__(self) -> None:
        if self.payloads not in PAYLOADS:
            raise PolicyError(f"payloads must be one of {', '.join(PAYLOADS)}, not {self.payloads!r}")
        Redaction().also(self.redact)
        try:
            size(self.min_free)
        except ValueError as error:
            raise PolicyError(f"min_free: {error}") from error

    def placed(self, path: str | None, control: str | None) -> LedgerPolicy:
        """The same for another file; paths no longer depend on the directory."""
        found, switch = path or self.path, control or self.control
        return replace(
            self, path=found if found.startswith(SERVER) else os.path.abspath(found), control=os.path.abspath(switch)
        )


@dataclass(frozen=True, kw_only=True)
class BudgetPolicy:
    """Tokens a session may spend in all, and what an answer is taken to need where a model sets no limit."""

    session_tokens: int | None = None
    answer_tokens: int = 1024


@dataclass(frozen=True, kw_only=True)
class LoopPolicy:
    """The same call with the same result `repeats` times, or a node `visits` times in a session, stops it."""

    repeats: int = 3
    visits: int | None = None


@dataclass(frozen=True, kw_only=True)
class ApprovalPolicy:
    """Who may decide on this machine without a server that authenticates them."""

    local_operators: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TenantPolicy:
    """How a run says for which of several customers of one installation it works."""

    key: str = "tenant_id"
    """The key in `config["configurable"]`; under a LangGraph server, take one that it sets and callers cannot."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Everything an operator can set for a graph."""

    ledger: LedgerPolicy = field(default_factory=LedgerPolicy)
    budget: BudgetPolicy = field(default_factory=BudgetPolicy)
    loops: LoopPolicy = field(default_factory=LoopPolicy)
    approvals: ApprovalPolicy = field(default_factory=ApprovalPolicy)
    tenants: TenantPolicy | None = None
    saga: SagaPolicy | None = None
    retries: RetriesPolicy | None = None
    breaker: BreakerPolicy | None = None
    bulkhead: BulkheadPolicy | None = None
    dependency: tuple[DependencyPolicy, ...] = ()

    @cached_property
    def failures(self) -> Rules:
        """What holds for every dependency that sets nothing of its own."""
        return Rules(self.retries, self.breaker, self.bulkhead)

    @cached_property
    def digest(self) -> str:
        """Short digest of all that is set; stands on record beside what it allowed."""
        return canonical.digest(self)[:16]


def load_policy(source: Policy | str | os.PathLike[str] | None) -> Policy:
    """Read a policy; raises `PolicyError` that names file, table and key."""
    if source is None:
        return Policy()
    if isinstance(source, Policy):
        return source
    path = Path(source)
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PolicyError(f"policy file {path} does not exist; create it or leave `policy` out") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PolicyError(f"policy file {path} cannot be read: {error}") from error
    tables: dict[str, Any] = {
        "ledger": LedgerPolicy,
        "budget": BudgetPolicy,
        "loops": LoopPolicy,
        "approvals": ApprovalPolicy,
        "tenants": TenantPolicy,
        "saga": SagaPolicy,
        **FAILURES,
        "dependency": DependencyPolicy,
    }
    for name in given:
        if name not in tables:
            raise PolicyError(f"{path}: unknown table [{name}]; expected one of {', '.join(tables)}")
    own = given.pop("dependency", None)
    values = {name: _table(path, name, tables[name], content) for name, content in given.items()}
    return Policy(**values, dependency=() if own is None else _dependencies(path, own, values))


FAILURES: dict[str, Any] = {"retries": RetriesPolicy, "breaker": BreakerPolicy, "bulkhead": BulkheadPolicy}


def _dependencies(path: Path, content: Any, general: dict[str, Any]) -> tuple[DependencyPolicy, ...]:
    """Each with what it sets of its own, on top of the general tables."""
    if not isinstance(content, dict):
        raise PolicyError(f"{path}: [dependency] must be a table of tables, not {content!r}")
    found: dict[str, DependencyPolicy] = {}
    for name, one in content.items():
        place = f'dependency."{name}"'
        if not isinstance(one, dict):
            raise PolicyError(f"{path}: [{place}] must be a table, not {one!r}")
        own = {
            key: _table(path, f"{place}.{key}", FAILURES[key], one[key], general.get(key))
            for key in FAILURES.keys() & one
        }
        plain = {key: value for key, value in one.items() if key not in FAILURES}
        made = replace(_table(path, place, DependencyPolicy, plain, DependencyPolicy(name=name)), **own)
        for member in made.known_as:
            if member in found:
                raise PolicyError(f'{path}: [{place}] names {member!r}, which [dependency."{found[member].name}"] has')
            found[member] = made
    return tuple(dict.fromkeys(found.values()))


def _table(path: Path, name: str, kind: type, content: Any, base: Any = None) -> Any:
    if not isinstance(content, dict):
        raise PolicyError(f"{path}: [{name}] must be a table, not {content!r}")
    known = {f.name: str(f.type) for f in fields(kind) if f.name != "name"}
    values = {}
    for key, value in content.items():
        if key not in known:
            raise PolicyError(f"{path}: unknown key {key!r} in [{name}]; expected one of {', '.join(known)}")
        values[key] = _value(path, f"{name}.{key}", known[key], value)
    try:
        return kind(**values) if base is None else replace(base, **values)
    except PolicyError as error:
        raise PolicyError(f"{path}: [{name}] {error.reason}") from error


def _value(path: Path, place: str, wanted: str, value: Any) -> Any:
    if wanted.startswith("tuple"):
        if isinstance(value, list) and all(isinstance(v, str) for v in value):
            return tuple(value)
        raise PolicyError(f"{path}: {place} must be a list of texts, not {value!r}")
    if wanted.startswith("int"):
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
        raise PolicyError(f"{path}: {place} must be a whole number above 0, not {value!r}")
    if wanted.startswith("float"):
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf"):
            return float(value)
        raise PolicyError(f"{path}: {place} must be a number above 0, not {value!r}")
    if isinstance(value, str) and value:
        return value
    raise PolicyError(f"{path}: {place} must be a text, not {value!r}")
