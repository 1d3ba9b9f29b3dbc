"""`sidecar policy check`: what is in force, or the line that is wrong."""

from __future__ import annotations

import pytest

from tests.governance.cli.conftest import Project


def test_a_good_file_is_told_with_everything_that_is_in_force(project: Project) -> None:
    project.write("sidecar.toml", "[budget]\nsession_tokens = 10\n[dependency.bank]\nbreaker = { window = 2 }\n")

    found = project.sidecar("policy", "check", "--json").json

    assert 10 == found["settings"]["budget.session_tokens"]
    assert 2.0 == found["settings"]['dependency."bank".breaker.window']
    assert 1024 == found["settings"]["budget.answer_tokens"]
    assert "retries.attempts" not in found["settings"]
    assert found["digest"] in project.sidecar("policy", "check").out


def test_a_wrong_file_is_told_with_its_line(project: Project) -> None:
    project.write("other.toml", "[budget]\n\nsession_token = 10\n")

    ended = project.sidecar("policy", "check", "other.toml")

    assert 2 == ended.code
    assert "other.toml:3: unknown key 'session_token' in [budget]; did you mean 'session_tokens'?" in ended.line


@pytest.mark.parametrize(("path", "words"), [("no.toml", "does not exist"), (".", "is a directory")])
def test_what_is_no_file_is_told(path: str, words: str, project: Project) -> None:
    ended = project.sidecar("policy", "check", path)

    assert (2, True) == (ended.code, words in ended.line)


def test_no_password_is_shown(project: Project) -> None:
    project.write("sidecar.toml", '[ledger]\npath = "postgresql://me:secret@db/x"\n')

    assert "secret" not in project.sidecar("policy", "check", "--json").out
