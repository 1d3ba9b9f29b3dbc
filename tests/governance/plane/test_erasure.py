"""Content of a session leaves the control file; that its effects happened stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from governance import Approval, Principal, Sidecar
from governance.plane.answers import Said
from governance.plane.effects import Finished, Intent
from governance.plane.erasure import ERASED, erase

SECRET = b"Ann Example"


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Sidecar]:
    """A session whose effect, answer and approval name a person, and one that waits for somebody."""
    made = Sidecar(ledger=tmp_path / "ledger.db")
    effects, text = made.effects, SECRET.decode()
    effects.answers.keep(Said("s/n#1>model", "s", "q", {"form": "one", "said": text}))
    effects.begin(Intent("s/n#1>pay.0", "s", "pay", "d", f'{{"to":"{text}"}}', "e"))
    effects.finish("s/n#1>pay.0", "e", f"paid {text}")
    for place in ("a", "b"):
        made.approvals.ask(
            "s", place, "tool", {"tool": "pay", "to": text if place == "a" else "waits"}, payload=None,
            contract="c", proposer="agent:n", rule=Approval(), place=place,
        )  # fmt: skip
    made.approvals.decide(made.approvals.cards()[0].id, "deny", by=Principal("bob", "local"))
    yield made
    made.close()


def test_what_was_said_is_on_no_page_of_the_file_any_more(told: Sidecar) -> None:
    erase(told.control, ["s"])
    told.close()

    assert [] == [file.name for file in told.control.path.parent.glob("control.db*") if SECRET in file.read_bytes()]


def test_an_effect_of_an_erased_session_happens_no_second_time(told: Sidecar) -> None:
    erase(told.control, ["s"])

    assert Finished("d", ERASED) == told.effects.begin(Intent("s/n#1>pay.0", "s", "pay", "d", "{}", "f"))


def test_a_question_that_waits_keeps_what_a_person_has_to_see(told: Sidecar) -> None:
    erase(told.control, ["s"])

    assert ["waits"] == [card.what["to"] for card in told.approvals.cards()]


def test_other_sessions_keep_all_they_have(told: Sidecar) -> None:
    assert 0 == erase(told.control, ["t"])
