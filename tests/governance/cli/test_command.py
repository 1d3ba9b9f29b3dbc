"""The command as a whole: where its files are, its help, the demo, and projects that hide our modules."""

from __future__ import annotations

import pytest

from tests.governance.cli.conftest import Project


def test_help_documents_every_exit_code(project: Project) -> None:
    out = " ".join(project.sidecar("--help").out.split())

    assert "0 done, 2 bad input or usage, 3 refused, 4 waits" in out and "5 failed, 130 interrupted" in out


def test_the_version_is_one_line(project: Project) -> None:
    assert (0, True) == ((ended := project.sidecar("--version")).code, ended.out.startswith("sidecar"))


@pytest.mark.parametrize("args", [["frob"], ["status", "--what"], ["stop"]])
def test_bad_usage_is_one_line(project: Project, args: list[str]) -> None:
    ended = project.sidecar(*args)

    assert (2, True) == (ended.code, ended.line.startswith("error: ") and "--help`" in ended.line)


def test_the_files_come_from_sidecar_toml(project: Project) -> None:
    project.write("sidecar.toml", '[ledger]\npath = "rec/l.db"\ncontrol = "rec/c.db"\n')
    project.sidecar("stop", "all", "--reason", "drill")

    assert (True, True) == ((project.path / "rec/l.db").exists(), (project.path / "rec/c.db").exists())


def test_the_environment_comes_before_sidecar_toml(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write("sidecar.toml", '[ledger]\npath = "rec/l.db"\n')
    monkeypatch.setenv("SIDECAR_LEDGER", "env/l.db")
    project.sidecar("stop", "all", "--reason", "drill")

    assert (True, True) == ((project.path / "env/l.db").exists(), (project.path / "env/control.db").exists())


def test_a_wrong_sidecar_toml_is_one_line(project: Project) -> None:
    project.write("sidecar.toml", "[ledgr]\n")
    ended = project.sidecar("status")

    assert (2, True) == (ended.code, "sidecar.toml:1: unknown table [ledgr]; did you mean 'ledger'?" in ended.line)


def test_coverage_is_told_before_anything_runs(project: Project) -> None:
    found = project.sidecar("coverage", "./agent.py:approving", "--json").json

    assert ("enforce", ["add", "double"]) == (found["mode"], [node["place"] for node in found["nodes"]])
    assert "mode: ungoverned" in project.sidecar("coverage", "agent").out


def test_the_demo_outside_a_clone_says_where_it_is(project: Project) -> None:
    ended = project.sidecar("demo", "ops")

    assert (2, True) == (ended.code, "get a clone" in ended.line)


def test_the_demo_of_a_clone_is_run_with_its_options_and_ends_with_its_code(project: Project) -> None:
    project.write("graphs/__init__.py", "")
    project.write("graphs/demo.py", "def main(*, live, json_output):\n    print(live, json_output)\n    return 4\n")

    ended = project.sidecar("demo", "ops", "--live", "--json")

    assert (4, "True True\n") == (ended.code, ended.out)


@pytest.mark.parametrize("name", ["governance/__init__.py", "governance/rules.py", "governance.py"])
def test_a_project_that_hides_our_package_is_told_so(project: Project, name: str) -> None:
    project.write(name, "")

    ended = project.sidecar("run", "agent", "--input", "in.json")

    assert (2, True) == (ended.code, "hides Sidecar's own package `governance`; rename yours" in ended.line)


def test_a_module_that_hides_the_demo_is_told_so(project: Project) -> None:
    project.write("graphs.py", "")
    project.write("uses.py", "from graphs.demo import graph\n")

    demo = project.sidecar("demo", "ops")
    used = project.sidecar("run", "./uses.py:graph", "--input", "in.json")

    assert (2, True) == (demo.code, "graphs.py is another module" in demo.line)
    assert (2, True) == (used.code, "graphs.py hides the package 'graphs'" in used.line)
