"""What operators set about dependencies that fail: on where it is named, and wrong where it says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from governance import Policy, load_policy
from governance.errors import PolicyError
from governance.policy_failures import (
    BreakerPolicy,
    BulkheadPolicy,
    DependencyPolicy,
    RetriesPolicy,
    Rules,
    TimeoutPolicy,
)


def load(folder: Path, text: str) -> Policy:
    path = folder / "sidecar.toml"
    path.write_text(text, encoding="utf-8")
    return load_policy(path)


def test_a_file_gives_the_objects_that_python_gives(tmp_path: Path) -> None:
    text = """
        [retries]
        attempts = 2
        ratio = 0.2
        on = ["Busy"]
        [breaker]
        window = 30
        [bulkhead]
        concurrent = 4
        [timeout]
        seconds = 20
        [dependency."bank"]
        members = ["pay", "refund"]
        [dependency."bank".breaker]
        failure_rate = 0.1
        [dependency."search"]
        retries = { attempts = 5 }
        timeout = { seconds = 2.5 }
        """
    expected = Policy(
        retries=RetriesPolicy(attempts=2, ratio=0.2, on=("Busy",)),
        breaker=BreakerPolicy(window=30.0),
        bulkhead=BulkheadPolicy(concurrent=4),
        timeout=TimeoutPolicy(seconds=20.0),
        dependency=(
            DependencyPolicy(
                name="bank", members=("pay", "refund"), breaker=BreakerPolicy(window=30.0, failure_rate=0.1)
            ),
            DependencyPolicy(
                name="search",
                retries=RetriesPolicy(attempts=5, ratio=0.2, on=("Busy",)),
                timeout=TimeoutPolicy(seconds=2.5),
            ),
        ),
    )

    assert expected == load(tmp_path, text)


def test_what_is_not_named_is_off(tmp_path: Path) -> None:
    assert not load(tmp_path, "").failures
    assert Rules(breaker=BreakerPolicy()) == load(tmp_path, "[breaker]").failures


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[retries]\nratio = 1.5", r"\[retries\] ratio must be more than 0 and at most 1, not 1.5"),
        ("[retries]\nattempts = 0", "retries.attempts must be a whole number above 0, not 0"),
        ("[retries]\nattempts = 2.5", "retries.attempts must be a whole number above 0, not 2.5"),
        ("[retries]\nwait = -1", "retries.wait must be a number above 0, not -1"),
        ("[retries]\nwait = inf", "retries.wait must be a number above 0, not inf"),
        ("[retries]\nwait = true", "retries.wait must be a number above 0, not True"),
        ("[retries]\non = 'Busy'", "retries.on must be a list of texts, not 'Busy'"),
        ("[retries]\nattempt = 2", r"unknown key 'attempt' in \[retries\]; did you mean 'attempts'\?"),
        ("[breaker]\nfailure_rate = 0", "breaker.failure_rate must be a number above 0, not 0"),
        ("[breaker]\nslow = 'never'", "breaker.slow must be a number above 0, not 'never'"),
        ("[bulkhead]\nspots = 3", r"unknown key 'spots' in \[bulkhead\]; known are: concurrent, patience"),
        ("[timeout]\nseconds = 0", "timeout.seconds must be a number above 0, not 0"),
        ("timeout = 5", r"\[timeout\] must be a table, not 5"),
        ("dependency = 3", r"\[dependency\] must be a table of tables, not 3"),
        ("[dependency]\nbank = 3", r'\[dependency."bank"\] must be a table, not 3'),
        (
            "[dependency.bank]\nname = 'x'",
            r"""unknown key 'name' in \[dependency."bank"\]; known are: breaker, bulkhead""",
        ),
        ("[dependency.bank]\nbreaker = 3", r'\[dependency."bank".breaker\] must be a table, not 3'),
        ("[dependency.bank.breaker]\nwidth = 3", r"""unknown key 'width' in \[dependency."bank".breaker\]"""),
        (
            "[dependency.bank.retries]\nratio = 2.0",
            r'\[dependency."bank".retries\] ratio must be more than 0 and at most 1, not 2.0',
        ),
        (
            "[dependency.bank]\nmembers = ['pay']\n[dependency.till]\nmembers = ['pay']",
            r"""\[dependency."till"\] names 'pay', which \[dependency."bank"\] has""",
        ),
    ],
)
def test_a_mistake_is_named_by_file_and_key(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=rf"sidecar\.toml:\d+: {message}"):
        load(tmp_path, text)
