"""The retry-storm benchmark says what it needs, takes the experiment as it is, and counts what it should."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks.report import Target
from benchmarks.retry_storm import TARGETS, Case, cases, figures_of, folder, kept, main
from benchmarks.retry_storm_run import POLICIES, Fleet, experiment
from governance import load_policy

SIM = """
import asyncio
LAM = 70.0
def build(scenario, dep):
    return scenario
with asyncio.Runner() as runner:
    raise SystemExit("it ran")
"""


@pytest.mark.parametrize("given", [[], ["--data", "nowhere"], ["--data", "nowhere", "--quick", "--json"]])
def test_without_the_experiment_it_says_what_is_missing(
    given: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SIDECAR_BENCH_DATA", raising=False)

    assert 2 == main(given)
    said = capsys.readouterr()
    assert "retry_storm needs the folder with the experiment's sim.py: give --data DIR" in said.err
    assert "" == said.out


def test_the_experiment_is_taken_without_being_run(tmp_path: Path) -> None:
    (tmp_path / "sim.py").write_text(SIM)
    sim = experiment(tmp_path)

    assert (70.0, "none") == (sim.LAM, sim.build("none", None))


@pytest.mark.parametrize("beneath", [".", "retry-storm"])
def test_the_experiment_is_found_in_its_folder(beneath: str, tmp_path: Path) -> None:
    place = tmp_path / beneath
    place.mkdir(exist_ok=True)
    (place / "sim.py").write_text(SIM)

    assert place == folder(str(tmp_path))


def test_an_experiment_that_ends_otherwise_is_not_guessed_at(tmp_path: Path) -> None:
    (tmp_path / "sim.py").write_text("LAM = 70.0\n")

    with pytest.raises(AssertionError, match=r"sim.py is expected to end by running itself"):
        experiment(tmp_path)


@pytest.mark.parametrize("name", POLICIES)
def test_its_policies_are_policy_files(name: str, tmp_path: Path) -> None:
    path = tmp_path / "sidecar.toml"
    path.write_text(POLICIES[name])

    assert load_policy(path).retries is not None


def test_figures_are_the_worst_of_all_seeds_and_numbers_of_graphs() -> None:
    results = {}
    for case in cases([1, 2]):
        ours, bad = case.scenario == "sidecar", case == Case("sidecar", 2, 100)
        results[case] = {
            "seed": case.seed, "amp_trigger": 2.0 if bad else 1.0, "amp_peak_1s": 1.5 if bad else 1.0,
            "recovery_s": 9.0 if bad else 1.0, "wasted_work": 0.5 if bad else 0.0, "offered": 100,
            "success_total": 50 if bad else 90 if ours else 60, "rows": {"node.ended": 99, "node.failed": 1},
        }  # fmt: skip
    found = figures_of(results, [1, 2])

    assert TARGETS.keys() == found.keys()
    assert {
        "amplification": 2.0, "worst_second": 1.5, "recovery_s": 1.0, "success_vs_none": 50 / 60,
        "success_vs_reference": 50 / 60, "wasted": 0.5, "success_at_1pct": 0.99,
    } == found  # fmt: skip


def test_a_recovery_that_never_came_misses_its_target() -> None:
    assert not Target(5).met(None)
    assert 0.75 == kept({"node.ended": 3, "node.refused": 1})


@pytest.mark.parametrize("processes", [1, 3])
def test_a_fleet_is_so_many_graphs_on_one_dependency(processes: int, tmp_path: Path) -> None:
    asked: list[str] = []

    class Dep:
        async def call(self) -> str:
            asked.append("x")
            return "ok"

    async def several() -> Fleet:
        fleet = Fleet(Dep(), tmp_path, 3, POLICIES["sidecar"], processes)  # type: ignore[arg-type]
        for _ in range(7):
            await fleet.ainvoke({})
        return fleet

    fleet = asyncio.run(several())
    for sidecar in fleet.sidecars:
        sidecar.close()

    assert (3, 7) == (len({id(graph) for graph in fleet.graphs}), len(asked))
    for sidecar in fleet.sidecars:
        assert ["tool:ask"] == [one.name for one in sidecar.dependencies.all() if one.name.startswith("tool")]
