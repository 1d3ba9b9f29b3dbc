"""A policy file says the same as the Python objects, and a mistake in it is named by place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from governance import Policy, load_policy
from governance.errors import PolicyError
from governance.policy import ApprovalPolicy, BudgetPolicy, LedgerPolicy, LoopPolicy


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def put(text: str) -> Path:
        path = tmp_path / "sidecar.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return put


def test_a_file_gives_the_objects_that_python_gives(write: Any) -> None:
    text = """
        [ledger]
        path = "x/l.db"
        control = "x/c.db"
        [budget]
        session_tokens = 10
        answer_tokens = 5
        [loops]
        repeats = 2
        visits = 7
        [approvals]
        local_operators = ["ann", "bob"]
        """

    assert Policy(
        ledger=LedgerPolicy(path="x/l.db", control="x/c.db"),
        budget=BudgetPolicy(session_tokens=10, answer_tokens=5),
        loops=LoopPolicy(repeats=2, visits=7),
        approvals=ApprovalPolicy(local_operators=("ann", "bob")),
    ) == load_policy(write(text))


def test_what_a_file_leaves_out_has_its_default(write: Any) -> None:
    assert Policy() == load_policy(write(""))
    assert Policy() == load_policy(None)
    assert LoopPolicy(visits=1).repeats == load_policy(write("[loops]\nvisits = 1")).loops.repeats


def test_a_policy_passes_through() -> None:
    policy = Policy()

    assert policy is load_policy(policy)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\n[budgets]", r"sidecar.toml:2: unknown table \[budgets\]; did you mean 'budget'\?"),
        ("budget = 3", r"sidecar.toml:1: \[budget\] must be a table, not 3"),
        ("[budget]\ntokens = 3", r"toml:2: unknown key 'tokens' in \[budget\]; did you mean '\w+_tokens'\?"),
        ("[budget]\nsession_tokens = 0", r"toml:2: budget.session_tokens must be a whole number above 0, not 0"),
        ("[budget]\nsession_tokens = true", r"toml:2: budget.session_tokens must be a whole number above 0, not True"),
        ("budget.session_tokens = 1.5", r"toml:1: budget.session_tokens must be a whole number above 0, not 1.5"),
        ("ledger = { path = 3 }", r"toml:1: ledger.path must be a text, not 3"),
        ("[ledger]\n# where\npath = ''", r"toml:3: ledger.path must be a text, not ''"),
        ("[ledger]\npath = 'x'\npayloads = 'some'", r"toml:3: \[ledger\] payloads must be one of none, calls, all"),
        ("[ledger]\nredact = [\n'(']", r"toml:2: \[ledger\] .*redact"),
        ("[ledger]\nmin_free = 'lots'", r"toml:2: \[ledger\] min_free: "),
        (
            "[approvals]\nlocal_operators = 'ann'",
            r"toml:2: approvals.local_operators must be a list of texts, not 'ann'",
        ),
        ("[approvals]\nlocal_operators = [1]", r"toml:2: approvals.local_operators must be a list of texts, not \[1\]"),
        ("[loops]\n[[", r"sidecar.toml:2: this is no TOML: .*, where the file ends"),
        ("[loops]\nvisits = = 3", r"sidecar.toml:2: this is no TOML: .* in column 10"),
        ("[loops]\nvisits = 1\nvisits = 2", r"sidecar.toml:3: this is no TOML: .*"),
        ("[context]\nhistory = 100", r"toml:2: \[context\] Context.history must be a whole number of at least 200"),
        ("[context]\nlow = 0.1", r"toml:1: \[context\] Context needs `tokens` for the whole prompt, or `history`"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_what_was_expected(text: str, words: str, write: Any) -> None:
    with pytest.raises(PolicyError, match=words):
        load_policy(write(text))


def test_a_file_that_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="does not exist; create it or leave `policy` out"):
        load_policy(tmp_path / "no.toml")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sidecar.toml"
    path.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(PolicyError, match="cannot be read"):
        load_policy(path)
