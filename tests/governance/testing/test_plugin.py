"""The pytest plugin in projects of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from governance.testing.server import FaultyServer, depending, ok

pytest_plugins = ("pytester",)

ASKING = """
    import pytest
    from langchain_openai import ChatOpenAI

    def ask(question):
        return ChatOpenAI(model="m", max_retries=0).invoke(question).content

    def test_capital(cassette):
        assert ask("capital of Germany?") == "CAPITAL OF GERMANY?"
"""


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch, project: pytest.Pytester) -> Iterator[FaultyServer]:
    with FaultyServer(always=depending(lambda body: ok(body["messages"][-1]["content"].upper()))) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        yield server


def record(project: pytest.Pytester, *args: str, mode: str = "new") -> pytest.RunResult:
    return project.runpytest_inprocess(f"--record-cassettes={mode}", *args)


def test_importing_the_plugin_imports_nothing_heavy() -> None:
    """Every pytest run of a user pays for what it imports."""
    code = (
        "import sys; import governance.testing.plugin; "
        "print(sorted({'vcr', 'yaml', 'langchain_core', 'openai', 'langgraph'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "[]" == done.stdout.strip()


def test_a_test_that_asks_for_nothing_sees_nothing(project: pytest.Pytester) -> None:
    """No fixture runs by itself, sockets are open, vcrpy is not imported, nothing is written."""
    project.makepyfile(
        """
        import socket, sys

        def test_plain(request):
            assert "connect" not in vars(socket.socket)
            assert "vcr" not in sys.modules
            assert not {"cassette", "faulty_server"} & set(request.fixturenames)
            with socket.create_server(("127.0.0.1", 0)) as server:
                socket.create_connection(server.getsockname()).close()
        """
    )
    result = project.runpytest_subprocess()

    result.assert_outcomes(passed=1)
    assert not (project.path / "cassettes").exists()


def test_recorded_tests_replay_without_endpoint_or_key(project: pytest.Pytester, endpoint: FaultyServer) -> None:
    """Recorded once, the test passes anywhere; its cassette lies beside the tests, by module and name."""
    folder = project.mkdir("tests")
    project.makepyfile(**{"tests/test_geo": ASKING})
    record(project).assert_outcomes(passed=1)
    endpoint.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OPENAI_BASE_URL")
        patch.delenv("OPENAI_API_KEY")
        project.runpytest_inprocess().assert_outcomes(passed=1)

    assert folder.exists()
    assert (project.path / "cassettes/test_geo/test_capital.yaml").exists()


def test_new_keeps_and_rewrite_replaces_recordings(project: pytest.Pytester, endpoint: FaultyServer) -> None:
    """`new` asks the endpoint only for what is not there yet."""
    project.makepyfile(test_geo=ASKING)
    asked = []
    for mode in ("new", "new", "rewrite"):
        record(project, mode=mode).assert_outcomes(passed=1)
        asked.append(len(endpoint.requests))

    assert [1, 1, 2] == asked


def test_recording_without_an_endpoint_fails_loudly(project: pytest.Pytester) -> None:
    """Nothing runs, and the message names the variables."""
    project.makepyfile(test_geo=ASKING)
    result = record(project)

    assert pytest.ExitCode.USAGE_ERROR == result.ret
    result.stderr.fnmatch_lines(["*needs an endpoint*OPENAI_BASE_URL or OPENAI_API_KEY*"])


def test_a_test_without_cassette_fails_and_says_how_to_record(project: pytest.Pytester) -> None:
    """A fresh test is not skipped."""
    project.makepyfile(test_geo=ASKING)
    result = project.runpytest_inprocess()

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*there is no cassette at *test_capital.yaml*--record-cassettes=new*"])


def test_unused_recordings_fail_the_test(project: pytest.Pytester, endpoint: FaultyServer) -> None:
    """The test itself fails, not its teardown."""
    project.makepyfile(test_geo=ASKING)
    record(project)
    project.makepyfile(test_geo="def test_capital(cassette): pass")
    result = project.runpytest_inprocess()

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*CassetteUnused: 1 of 1 recordings*"])


def test_a_swallowed_miss_fails_the_test(project: pytest.Pytester, endpoint: FaultyServer) -> None:
    """Code under test that survives every error cannot pass on an answer it never got."""
    project.makepyfile(test_geo=ASKING)
    record(project)
    project.makepyfile(
        test_geo=ASKING.replace("Germany", "Spain").replace("assert ", "with pytest.raises(Exception): ")
    )
    result = project.runpytest_inprocess()

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*recorded: *Germany*", "*now: *Spain*"])


def test_a_failed_test_records_nothing(project: pytest.Pytester, endpoint: FaultyServer) -> None:
    """Half a conversation is not worth keeping."""
    project.makepyfile(test_geo=ASKING.replace("== ", "!= "))
    record(project).assert_outcomes(failed=1)

    assert not (project.path / "cassettes").exists()


def test_a_secret_fails_the_recording_test(project: pytest.Pytester, endpoint: FaultyServer) -> None:
    """Nothing is written, though the test swallowed the refusal."""
    project.makepyfile(
        test_geo=ASKING.replace("Germany", "sk-abcdef123456").replace("assert ", "with pytest.raises(Exception): ")
    )
    result = record(project)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*an API key*nothing was written*"])
    assert not (project.path / "cassettes").exists()


def test_a_marker_names_another_file_in_another_folder(project: pytest.Pytester, endpoint: FaultyServer) -> None:
    """The marker alone is enough; the folder is a setting."""
    project.makeini("[pytest]\ncassette_dir = recordings")
    project.makepyfile(test_geo=ASKING.replace("def test_capital(cassette)", MARKED))
    record(project).assert_outcomes(passed=1)
    project.runpytest_inprocess("--strict-markers").assert_outcomes(passed=1)

    assert (project.path / "recordings/geo/capitals.yaml").exists()


MARKED = """@pytest.mark.cassette("geo/capitals")
    def test_capital()"""


def test_parametrized_tests_and_classes_have_files_of_their_own(
    project: pytest.Pytester, endpoint: FaultyServer
) -> None:
    """Names that no file can have are replaced and stay apart."""
    project.makepyfile(
        test_geo=ASKING
        + """
    class TestCities:
        @pytest.mark.parametrize("name", ["a/b", "a-b"])
        def test_one(self, cassette, name):
            assert ask(name) == name.upper()
"""
    )
    record(project).assert_outcomes(passed=3)
    project.runpytest_inprocess().assert_outcomes(passed=3)

    files = {path.name for path in (project.path / "cassettes/test_geo").iterdir()}
    assert {"test_capital.yaml", "TestCities.test_one[a-b].yaml"} < files
    assert 3 == len(files)


def test_an_allowed_host_is_reached_while_replaying(project: pytest.Pytester, endpoint: FaultyServer) -> None:
    """A test starts a service of its own; the model still replays."""
    live = """
    import httpx, socket
    from governance.testing.errors import NetworkBlocked

    def measure(server):
        return httpx.get(server.base_url).status_code

    @pytest.mark.allow_hosts("127.0.0.1")
    def test_allowed(cassette, faulty_server):
        assert (measure(faulty_server), ask("a")) == (400, "A")

    def test_blocked(cassette):
        ask("b")
        if type(cassette).__name__ == "Player":
            with pytest.raises(NetworkBlocked):
                socket.create_connection(("127.0.0.1", 9))
"""
    project.makepyfile(test_geo=ASKING + live)
    record(project).assert_outcomes(passed=3)
    project.runpytest_inprocess().assert_outcomes(passed=3)


def test_xdist_workers_replay_and_record(project: pytest.Pytester, endpoint: FaultyServer) -> None:
    """Each worker opens the cassettes of its own tests."""
    asking = """
    import os, httpx

    def test_model(cassette):
        url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
        assert httpx.post(url, json={"messages": [{"content": "a"}]}).json()["choices"]
    """
    project.makepyfile(test_geo=asking, test_other=asking)
    project.runpytest_subprocess("-p", "xdist", "-n", "2", "--record-cassettes=new").assert_outcomes(passed=2)
    endpoint.close()
    project.runpytest_subprocess("-p", "xdist", "-n", "2").assert_outcomes(passed=2)

    assert 2 == len(list(Path(project.path / "cassettes").rglob("*.yaml")))
