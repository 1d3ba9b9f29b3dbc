"""Everything Sidecar raises, as one tree.

* GovernanceError
  x ConfigurationError        what was given to `govern` cannot be used
    + ContractError           a contract is missing, or does not fit the graph
    + PolicyError             a policy file is wrong; the message names the place
    + UnsupportedVersion      LangGraph moved something a seam stands on
  x Refusal                   an action was refused; final for the call it was refused in
    + ContractViolation       a read, a write, a type or a key outside the contract
    + AuthorityRefused        a tool, an argument, a route or a host outside the contract
    + BudgetExceeded          tokens
      - ContextExceeded       the beginning of a prompt and its last turn do not fit what the model may be shown
    + LoopStopped             the same thing again and again
    + Halted                  the kill switch
    + GateRefused             a gate said halt, or revisions ran out
    + ApprovalDenied          a person (or the expiry of the question) said no
    + DoorClosed              state changed from outside the nodes
    + DeadlineExceeded        a node took longer than its contract allows
    + EffectInDoubt           an effect began and nobody knows how it ended
    + SessionUndone           what the session did was taken back, or is being taken back
    + Abandoned               code of an execution that is over tried to go on
  x Unavailable               a dependency cannot be asked now; nothing is forbidden, a node may do without it
    + CircuitOpen             it failed too often lately, and is left alone for a while
    + Shed                    it has as many calls as it may have at once, and as many wait
    + RetriesExhausted        this request, or all together, have tried often enough
  x UndoHeld                  a session cannot be undone to its end now; it is gone on with later
  x LedgerError               the record cannot be written; in enforce mode nothing runs then
  x RecordIncomplete          a replay lacks something that was not recorded, or is not kept any more
  x ReplayDiverged            a replay went another way than its record
    + CutOff                  not one: the record ends here, as a kill cut it off
  x Revise                    not an error: asks LangGraph to run the node again, with feedback

All derive from `RuntimeError`, which LangGraph's default retry policy leaves alone. A dependency that is too slow
has failed by itself: that is Python's own `TimeoutError`.
"""

from __future__ import annotations

from typing import Any


class GovernanceError(RuntimeError):
    """Something Sidecar decided or could not do; `code` names the rule, `facts` carry the data."""

    code = "governance"

    def __init__(self, message: str, *, code: str | None = None, **facts: Any) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        self.facts = facts

    @property
    def reason(self) -> str:
        return str(self.args[0]) if self.args else self.code


class ConfigurationError(GovernanceError):
    """What was given to `govern` cannot be used; nothing was changed."""

    code = "configuration"


class ContractError(ConfigurationError):
    """A contract is missing or does not fit the graph."""

    code = "contract-misfit"


class PolicyError(ConfigurationError):
    """A policy file is wrong; the message names file and key."""

    code = "policy"


class UnsupportedVersion(ConfigurationError):
    """LangGraph or LangChain moved something a seam stands on; nothing was patched."""

    code = "unsupported-version"


class Refusal(GovernanceError):
    """An action was refused; the call it happened in can do nothing more, whatever its code catches."""

    code = "refused"


class ContractViolation(Refusal):
    """A read, a write, a type or a key outside the contract."""

    code = "contract"


class AuthorityRefused(Refusal):
    """A tool, an argument, a route or a host that the contract does not name."""

    code = "authority"


class BudgetExceeded(Refusal):
    """The tokens left do not cover what the call would need."""

    code = "budget"


class ContextExceeded(BudgetExceeded):
    """Even the shortest prompt, its fixed beginning and the last turn, does not fit what the model may be shown."""

    code = "context"


class LoopStopped(Refusal):
    """The session repeats itself without progress."""

    code = "loop"


class Halted(Refusal):
    """An operator, or a rule, stopped this session, agent or tool, or everything."""

    code = "halted"


class GateRefused(Refusal):
    """A gate rejected the update for good."""

    code = "gate"


class ApprovalDenied(Refusal):
    """A person said no, or nobody answered before the question expired."""

    code = "denied"


class DoorClosed(Refusal):
    """State was to be changed past the nodes (`update_state`, `Command` input, a rewind, a cache)."""

    code = "door"


class DeadlineExceeded(Refusal):
    """A node ran longer than its contract allows; what it still does can start no effect."""

    code = "deadline"


class EffectInDoubt(Refusal):
    """An effect began earlier and its outcome is unknown, or came with other arguments."""

    code = "effect-in-doubt"


class SessionUndone(Refusal):
    """What the session did was taken back, is being taken back, or waits for a person who does it."""

    code = "undone"


class UndoHeld(GovernanceError):
    """A session cannot be undone to its end now: a stop holds it back, or somebody else is at work on it."""

    code = "undo-held"


class Abandoned(Refusal):
    """Code of an execution that already ended tried to call a model or a tool."""

    code = "abandoned"


class Unavailable(GovernanceError):
    """A dependency cannot be asked now. No refusal: the node may catch it, and do without what it asked for."""

    code = "unavailable"


class CircuitOpen(Unavailable):
    """The dependency failed, or was slow, too often lately; it is left alone until it is tried again."""

    code = "circuit-open"


class Shed(Unavailable):
    """The dependency has as many calls as it may have at once, and no place came free in time."""

    code = "shed"


class RetriesExhausted(Unavailable):
    """Another try is not allowed: the request had as many as it may, or the retry budget is used up."""

    code = "retries-exhausted"


class LedgerError(GovernanceError):
    """The ledger cannot be written, so in enforce mode nothing may happen."""

    code = "ledger"


class RecordIncomplete(GovernanceError):
    """The record of a session does not hold what a replay of it needs."""

    code = "record-incomplete"


class ReplayDiverged(GovernanceError):
    """A replay went another way than its record; the first place is named."""

    code = "diverged"


class CutOff(ReplayDiverged):
    """What runs here goes on further than its record, which a kill or a failure beside it cut off."""

    code = "cut-off"


class Revise(GovernanceError):
    """The node should run again with `feedback`; LangGraph's own retry loop does that."""

    code = "revise"
