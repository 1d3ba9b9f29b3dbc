"""The written support policy and the limits that code takes from its table."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "shop"
POLICY_FILE = EXAMPLE / "policy.md"


class PolicyError(ValueError):
    """The policy's table of limits cannot be read; the shop does not open without its limits."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The policy as people read it, and its limits as code obeys them."""

    text: str
    refund_window_days: int
    person_above_cents: int

    def needs_person(self, amount_cents: int) -> bool:
        """Whether a refund of this amount is decided by a person."""
        return amount_cents > self.person_above_cents


def load_policy(path: Path = POLICY_FILE) -> Policy:
    """Read a policy file; its table of limits is the only place where the numbers stand."""
    return parse_policy(path.read_text(encoding="utf-8"))


def parse_policy(text: str) -> Policy:
    """Read a policy text; a missing or malformed limit raises `PolicyError`."""
    days = _limit(text, row="Refund window", value=r"(\d+) days", example="30 days")
    euros, cents = _limit(text, row="Person decides above", value=r"(\d+)\.(\d{2}) EUR", example="100.00 EUR")
    return Policy(text=text, refund_window_days=int(days[0]), person_above_cents=int(euros) * 100 + int(cents))


def _limit(text: str, *, row: str, value: str, example: str) -> tuple[str, ...]:
    cells = re.findall(rf"^\| *{row} *\|([^|\n]*)\|", text, re.MULTILINE)
    if len(cells) != 1:
        raise PolicyError(
            f"the policy needs one row '| {row} | {example} |' in its table of limits, found {len(cells)}"
        )
    found = re.fullmatch(value, cells[0].strip(), re.ASCII)
    if found is None:
        raise PolicyError(f"the policy's limit '{row}' must read like '{example}', found '{cells[0].strip()}'")
    return found.groups()
