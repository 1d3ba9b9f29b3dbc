"""`sidecar replay` runs a recorded session again, says where it diverges, and writes it down as a test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from governance.plane.ledger import Ledger
from tests.governance.cli.conftest import ROOT, Project

SHOP = """
import random
from typing import TypedDict

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, StateGraph

from governance import Contract, govern
from governance.testing.models import ScriptedChatModel

State = TypedDict("State", {"order": str, "reply": str})
real = ChatOpenAI(model="never-asked")
model = ScriptedChatModel(["Sorry about that.", "Sorry again."])


@tool
def refund(order: str) -> str:
    "Pays."
    return f"paid {order} {random.random()}"


def answer(state):
    print("nodes may print what they like")
    return {"reply": refund.invoke({"order": state["order"]})}


def say(state):
    return {"reply": f"{model.invoke('Say sorry').content} {state['reply']}"}


builder = StateGraph(State).add_sequence([answer, say]).add_edge(START, "answer")
graph = govern(builder.compile(), contracts={"*": Contract(tools=["refund"])}, policy="sidecar.toml")
observed = builder.compile()
"""
ASKS = """
from typing import TypedDict

from langchain_core.tools import tool
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt

from governance import Approval, Contract, Tool, govern

State = TypedDict("State", {"order": str, "reply": str})


@tool
def refund(order: str) -> str:
    "Pays."
    return f"paid {order}"


def answer(state):
    return {"reply": refund.invoke({"order": state["order"]}) + interrupt("Which words?")}


builder = StateGraph(State).add_node(answer).add_edge(START, "answer")
asked = Contract(tools=[Tool("refund", approval=Approval("money"))])
graph = govern(builder.compile(), contracts={"answer": asked}, policy="sidecar.toml")
"""


@pytest.fixture
def shop(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A shop whose graph ran once, as session 42, with everything on record."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    project.write("shop.py", SHOP)
    project.write("sidecar.toml", '[ledger]\npayloads = "all"\nredact = ["secret\\\\d+"]\n')
    project.write("order.json", '{"order": "A7 secret99"}')
    ran = project.sidecar("run", "./shop.py:graph", "--input", "order.json", "--thread", "42")
    assert 0 == ran.code, ran.err
    monkeypatch.delenv("OPENAI_API_KEY")
    return project


def reload() -> None:
    """As a new process would, import the shop anew."""
    for name in [name for name, one in sys.modules.items() if str(getattr(one, "__file__", "")).endswith("shop.py")]:
        del sys.modules[name]


def changed(project: Project, old: str, new: str) -> None:
    text = (project.path / "shop.py").read_text(encoding="utf-8")
    assert old in text
    project.write("shop.py", text.replace(old, new))
    reload()


def files(project: Project) -> dict[str, bytes]:
    made = (p for p in project.path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return {str(p.relative_to(project.path)): p.read_bytes() for p in made if p.suffix not in (".db-shm", ".db-wal")}


def test_a_session_that_is_equal_says_so(shop: Project) -> None:
    ended = shop.sidecar("replay", "42")

    assert (0, "42: equal; 1 run, 2 nodes, 2 model and tool calls\n") == (ended.code, ended.out)


def test_nothing_is_left_behind_or_changed(shop: Project) -> None:
    before = files(shop)
    shop.sidecar("replay", "42")

    assert before.keys() == files(shop).keys()
    assert before == files(shop)


def test_a_divergence_is_named_with_both_sides_and_exits_with_5(shop: Project) -> None:
    changed(shop, "Say sorry", "Say hello")
    ended = shop.sidecar("replay", "42")

    assert 5 == ended.code
    assert "say#2>model.0 (row 7): the model was asked something else" in ended.out
    assert "recorded  Say sorry\n" in ended.out and "came      Say hello\n" in ended.out


def test_json_has_the_same_for_programs(shop: Project) -> None:
    equal = shop.sidecar("replay", "42", "--json")
    changed(shop, '{"order": state["order"]}', '{"order": "!"}')
    ended = shop.sidecar("replay", "42", "--json")

    assert (0, True, None) == (equal.code, equal.json["equal"], equal.json["divergence"])
    assert (5, False) == (ended.code, ended.json["equal"])
    found = ended.json["divergence"]
    assert ("answer#1>refund.0", "arguments", "order") == (found["path"], found["what"], found["where"])


def test_a_graph_that_was_only_observed_is_replayed(shop: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    reload()
    assert 0 == shop.sidecar("run", "./shop.py:observed", "--input", "order.json", "--thread", "43").code

    assert 0 == shop.sidecar("replay", "43").code
    assert 0 == shop.sidecar("replay", "43", "--graph", "./shop.py:observed").code


def test_another_graph_can_be_named(shop: Project) -> None:
    ended = shop.sidecar("replay", "42", "--graph", "./agent.py:graph")

    assert 5 == ended.code


def test_a_ledger_elsewhere_can_be_named(shop: Project) -> None:
    (shop.path / "elsewhere").mkdir()
    (shop.path / ".sidecar" / "ledger.db").rename(shop.path / "elsewhere" / "l.db")

    assert 0 == shop.sidecar("replay", "42", "--ledger", "elsewhere/l.db").code
    assert "no ledger at" in shop.sidecar("replay", "42").line


def test_an_unknown_session_is_said_with_the_nearest(shop: Project) -> None:
    ended = shop.sidecar("replay", "421")

    assert (2, "error: the ledger has no rows of session '421'; did you mean '42'?") == (ended.code, ended.line)


def test_a_record_without_payloads_says_what_it_lacks(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    project.write("shop.py", SHOP)
    project.write("order.json", '{"order": "A7"}')
    for payloads, lacks in (("none", "whose input is not on record"), ("calls", "has no input that is kept")):
        project.write("sidecar.toml", f'[ledger]\npayloads = "{payloads}"\n')
        reload()
        ran = project.sidecar("run", "./shop.py:graph", "--input", "order.json", "--thread", payloads)
        assert 0 == ran.code, ran.err
        ended = project.sidecar("replay", payloads)
        assert 2 == ended.code and lacks in ended.line and '[ledger] payloads = "all"' in ended.line


def test_a_session_that_was_erased_says_so(shop: Project) -> None:
    shop.sidecar("ledger", "erase", "42", "--reason", "asked for")
    ended = shop.sidecar("replay", "42")

    assert 2 == ended.code and "nothing of it pruned or erased since" in ended.line


def test_which_graph_it_was_is_asked_where_nobody_knows(shop: Project) -> None:
    ledger = Ledger(".sidecar/ledger.db")
    ledger.record("44", "node.begun")
    ledger.close()

    ended = shop.sidecar("replay", "44")
    assert 2 == ended.code and "which graph was it?" in ended.line


def pytest_of(project: Project) -> subprocess.CompletedProcess[str]:
    """The written test in a process of its own, with neither key nor ledger."""
    code = "import sys, pytest; sys.path.insert(0, sys.argv[1]); sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', 'tests']))"
    return subprocess.run(
        [sys.executable, "-c", code, str(ROOT)], cwd=project.path, env={"PATH": "", "HOME": str(project.path)},
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip


def test_a_session_becomes_a_test_that_needs_neither_ledger_nor_key(shop: Project) -> None:
    assert 0 == shop.sidecar("replay", "42", "--as-test", "tests/test_refund.py").code
    for file in (shop.path / ".sidecar").iterdir():
        file.unlink()
    first = pytest_of(shop)
    changed(shop, 'return {"reply": f"{model', 'return {"reply": f"Dear! {model')
    second = pytest_of(shop)

    assert 0 == first.returncode, first.stdout + first.stderr
    assert 1 == second.returncode
    assert "test_refund.jsonl diverged at say#2 (row 8): the node returned another update" in second.stdout
    assert [] == list((shop.path / ".sidecar").iterdir())


def test_the_fixture_is_json_that_people_can_read_and_holds_nothing_redacted(shop: Project) -> None:
    shop.sidecar("replay", "42", "--as-test", "tests/test_refund.py")
    lines: list[Any] = [json.loads(line) for line in Path("tests/test_refund.jsonl").read_text().splitlines()]

    assert "42" == lines[0]["session"]
    assert any(
        line.get("json", {}) == {"order": "A7 [redacted]"} for line in lines if isinstance(line.get("json"), dict)
    )
    assert "secret99" not in Path("tests/test_refund.jsonl").read_text()


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("tests/refund.py", "expected --as-test FILE as tests/test_something.py"),
        ("tests/test_refund.txt", "expected --as-test FILE as tests/test_something.py"),
        ("agent.py", "expected --as-test"),
        ("../test_refund.py", "is outside of"),
        ("test_there.py", "is there already"),
    ],
)
def test_a_test_is_written_only_where_it_can_be_found(shop: Project, file: str, says: str) -> None:
    shop.write("test_there.py", "")
    ended = shop.sidecar("replay", "42", "--as-test", file)

    assert 2 == ended.code and says in ended.err


def test_a_session_that_diverges_becomes_no_test(shop: Project) -> None:
    changed(shop, "Say sorry", "Say hello")

    assert 5 == shop.sidecar("replay", "42", "--as-test", "tests/test_refund.py").code
    assert not Path("tests").exists()


def test_what_people_did_with_the_command_is_done_again(project: Project) -> None:
    """An approval that was edited, and an answer to a question of the graph's own."""
    project.write("asks.py", ASKS)
    project.write("sidecar.toml", '[ledger]\npayloads = "all"\n')
    project.write("order.json", '{"order": "A7"}')
    project.write("words.json", '", sorry"')
    run = ("run", "./asks.py:graph", "--thread", "42")

    assert 4 == project.sidecar(*run, "--input", "order.json").code
    edit = ("approvals", "edit", "--value", '{"order": "B8"}', "--by", "bob", "--reason", "the other one")
    assert 0 == project.sidecar(*edit).code
    assert 4 == project.sidecar(*run, "--resume").code
    ended = project.sidecar(*run, "--resume", "--input", "words.json", "--json")
    assert (0, "paid B8, sorry") == (ended.code, ended.json["state"]["reply"])

    found = project.sidecar("replay", "42")
    assert (0, "42: equal; 3 runs, 3 nodes, 3 model and tool calls\n") == (found.code, found.out)
