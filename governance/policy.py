"""What operators set, as TOML or in Python: the same object either way.

[ledger]
path = ".sidecar/ledger.db"
payloads = "calls"
redact = ["\\b\\d{16}\\b"]

[budget]
session_tokens = 200000

[context]
tokens = 8000

[loops]
repeats = 3
visits = 100

[approvals]
local_operators = ["alice"]

[tenants]
key = "tenant_id"

[priorities]
key = "priority"

What is set about dependencies that fail is in `policy_failures`, about sessions that fail in `policy_saga`,
about stops that give themselves in `policy_halts`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from governance import canonical
from governance.context.settings import Context
from governance.errors import PolicyError
from governance.plane.amounts import size
from governance.plane.redaction import Redaction
from governance.policy_budgets import BudgetPolicy, LimitPolicy, PricePolicy
from governance.policy_failures import (
    BreakerPolicy,
    BulkheadPolicy,
    DependencyPolicy,
    RetriesPolicy,
    Rules,
    TimeoutPolicy,
)
from governance.policy_halts import HaltRule
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
class PriorityPolicy:
    """How a run says how much it matters: `low`, `normal` or `high`."""

    key: str = "priority"
    """The key in `config["configurable"]`; under a LangGraph server, take one that it sets and callers cannot."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Everything an operator can set for a graph."""

    ledger: LedgerPolicy = field(default_factory=LedgerPolicy)
    budget: BudgetPolicy = field(default_factory=BudgetPolicy)
    loops: LoopPolicy = field(default_factory=LoopPolicy)
    approvals: ApprovalPolicy = field(default_factory=ApprovalPolicy)
    context: Context | None = None
    tenants: TenantPolicy | None = None
    saga: SagaPolicy | None = None
    priorities: PriorityPolicy | None = None
    retries: RetriesPolicy | None = None
    breaker: BreakerPolicy | None = None
    bulkhead: BulkheadPolicy | None = None
    timeout: TimeoutPolicy | None = None
    dependency: tuple[DependencyPolicy, ...] = ()
    halt: tuple[HaltRule, ...] = ()
    limit: tuple[LimitPolicy, ...] = ()
    price: tuple[PricePolicy, ...] = ()

    @cached_property
    def limits(self) -> tuple[LimitPolicy, ...]:
        """All limits on spending, that of `[budget]` among them."""
        tokens = self.budget.session_tokens
        return self.limit if tokens is None else (LimitPolicy(of="session", tokens=tokens), *self.limit)

    @cached_property
    def failures(self) -> Rules:
        """What holds for every dependency that sets nothing of its own."""
        return Rules(self.retries, self.breaker, self.bulkhead, self.timeout)

    @cached_property
    def digest(self) -> str:
        """Short digest of all that is set; stands on record beside what it allowed."""
        return canonical.digest(self)[:16]


def load_policy(source: Policy | str | os.PathLike[str] | None) -> Policy:
    """Read a policy; raises `PolicyError` that names the file, the line and the key."""
    from governance.policy_file import read_policy  # which asks the classes above what there is

    if source is None:
        return Policy()
    return source if isinstance(source, Policy) else read_policy(Path(source))
