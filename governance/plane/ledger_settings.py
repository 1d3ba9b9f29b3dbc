"""From what operators set to the ledger it describes."""

from __future__ import annotations

import os
from pathlib import Path

from governance.errors import PolicyError
from governance.plane.amounts import size
from governance.plane.anchors import write_to
from governance.plane.ledger import Ledger
from governance.plane.ledger_store import Place
from governance.policy import LedgerPolicy

KEY = "SIDECAR_LEDGER_KEY"
SHORTEST = 16


def key_from_environment() -> bytes | None:
    """The key of `SIDECAR_LEDGER_KEY`; raises `PolicyError` where it is too short to be one."""
    found = os.environ.get(KEY)
    return _key(found, KEY) if found else None


def key_of(rules: LedgerPolicy) -> bytes | None:
    """The key that seals a ledger: from the environment, else from the file the policy names."""
    key = key_from_environment()
    if key is not None or rules.key_file is None:
        return key
    try:
        return _key(Path(rules.key_file).read_text(encoding="utf-8"), rules.key_file)
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"ledger.key_file {rules.key_file} cannot be read ({error})") from error


def _key(text: str, source: str) -> bytes:
    key = text.strip().encode()
    if len(key) < SHORTEST:
        raise PolicyError(f"the key in {source} has {len(key)} characters; expected at least {SHORTEST}, at random")
    return key


def ledger_by(rules: LedgerPolicy, place: Place | None = None) -> Ledger:
    """The ledger a policy describes; `place` stands in for its path."""
    return Ledger(
        place or rules.path,
        key=key_of(rules),
        anchor=write_to(rules.anchor) if rules.anchor else None,
        anchor_every=rules.anchor_every,
        redact=rules.redact,
        min_free=size(rules.min_free),
        patience=rules.wait,
    )


def is_default(rules: LedgerPolicy) -> bool:
    """Whether a policy says nothing about the ledger but where it is."""
    return rules.placed(None, None) == LedgerPolicy(path=rules.path, control=rules.control)
