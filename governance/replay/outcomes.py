"""How things ended, on both sides: well, by an error, by a refusal, or with a question to a person."""

from __future__ import annotations

from typing import Any

from governance import raised
from governance.errors import ReplayDiverged
from governance.filters.record import failure
from governance.replay.findings import Findings
from governance.replay.recording import Row
from governance.replay.substitute import FROM_OUTSIDE


def check_ended(findings: Findings, path: str, row: Row) -> None:
    """Raise where something ended well now, and otherwise in the record."""
    if row.word != "ended":
        raise findings.diverge(path, "outcome", row, f"in the record it {_how(row)}, and now it ended well")


def check_failed(findings: Findings, path: str, row: Row, error: BaseException) -> None:
    """Raise where something failed, was refused or was interrupted now, and ended otherwise in the record."""
    if isinstance(error, ReplayDiverged):
        return
    word, body = failure(error)
    questions = raised.asked(error)
    if word == "interrupted" and questions is None:
        return  # cancelled: another node was faster, or failed
    if word != row.word or body.get("code") != row.body.get("code"):
        came = f"{word} ({body.get('code') or type(error).__name__}: {error})"
        raise findings.diverge(path, "outcome", row, f"in the record it {_how(row)}, and now it is {came}") from error
    if questions is not None and "asked" in row.body:
        _same_questions(findings, path, row, questions)
    elif word == "failed" and "raised" in row.body:
        _same_error(findings, path, row, error)
    elif word in ("refused", "revised") and body["code"] not in FROM_OUTSIDE:
        _same_refusal(findings, path, row, body)


def is_card(asked: dict[str, Any]) -> bool:
    """Whether a question is one of ours about an approval, and not the author's own."""
    value = asked.get("value")
    return isinstance(value, dict) and value.get("card") == asked.get("id")


def _same_questions(findings: Findings, path: str, row: Row, questions: list[dict[str, Any]]) -> None:
    recorded, came = findings.recording.tree(row, "asked"), findings.tree(questions)
    for one, other in zip(recorded, came, strict=False):
        findings.likeness.pairs.bind(str(one["id"]), str(other["id"]))
    difference = findings.likeness.difference(*([_question(one) for one in side] for side in (recorded, came)))
    if difference is not None:
        raise findings.diverge(path, "question", row, "a person was asked something else", difference)


def _question(asked: dict[str, Any]) -> Any:
    """What a person was asked; of a card, what is to be approved, as the rest of it is its own affair."""
    return asked["value"]["what"] if is_card(asked) else asked["value"]


def _same_error(findings: Findings, path: str, row: Row, error: BaseException) -> None:
    recorded, came = findings.recording.tree(row, "raised"), findings.tree(raised.told(error))
    told = ({name: side[name] for name in ("type", "text")} for side in (recorded, came))
    difference = findings.likeness.difference(*told)
    if difference is not None:
        raise findings.diverge(path, "outcome", row, "it failed in another way", difference)


def _same_refusal(findings: Findings, path: str, row: Row, body: dict[str, Any]) -> None:
    reason = findings.redaction.text(str(body.get("reason")))
    difference = findings.likeness.difference(row.body.get("reason"), reason)
    if difference is not None:
        raise findings.diverge(path, "outcome", row, "it was refused for another reason", difference)


def _how(row: Row) -> str:
    if row.word == "ended":
        return "ended well"
    why = row.body.get("code") or row.body.get("error")
    return f"was {row.word}{f' ({why})' if why else ''}" if row.word != "failed" else f"failed ({why})"
