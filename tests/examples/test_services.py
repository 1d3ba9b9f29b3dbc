"""The example services really break, really heal, and leave no process behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.request import urlopen

import pytest

from examples.services.admin import serve_admin
from examples.services.catalogue import CATALOGUE
from examples.services.changes import PlatformError
from examples.services.client import RemotePlatform
from examples.services.load import Attempt, drive, summarise
from examples.services.platform import Platform
from examples.services.scrape import quantile

ROOT = Path(__file__).resolve().parents[2]
HEALING: dict[str, Callable[[Platform], object]] = {
    "bad_deploy": lambda platform: platform.rollback("orders", "1.4.0"),
    "pool_exhausted": lambda platform: platform.set_config("inventory", "pool_size", 8),
    "slow_payments": lambda platform: platform.set_config("payments", "fraud_check", "off"),
}


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with Platform() as running:
        yield running


@pytest.fixture
def healthy(platform: Platform) -> Iterator[Platform]:
    yield platform
    for heal in HEALING.values():
        heal(platform)


def test_every_service_is_a_process_of_its_own(platform: Platform) -> None:
    """Four services, four process ids, none of them ours."""
    pids = set(platform.pids().values())

    assert len(CATALOGUE) == len(pids - {os.getpid()})


@pytest.mark.parametrize("service", CATALOGUE)
def test_every_service_reports_health_and_metrics(platform: Platform, service: str) -> None:
    """`/health` names the release and `/metrics` counts requests."""
    url = platform.state(service).url

    health = json.load(urlopen(f"{url}/health"))
    metrics = urlopen(f"{url}/metrics").read().decode()

    assert {"service": service, "version": CATALOGUE[service].releases[0]} == health
    assert "http_requests_total " in metrics


def test_a_healthy_gateway_answers_every_request(platform: Platform) -> None:
    """Nothing fails while nothing is broken."""
    assert 1.0 == platform.measure("gateway", requests=20).success_rate


@pytest.mark.parametrize("fault", ["bad_deploy", "pool_exhausted"])
def test_a_fault_makes_checkouts_fail_and_its_remedy_ends_that(healthy: Platform, fault: str) -> None:
    """The success rate falls by the fault and is whole again after the remedy."""
    healthy.break_(fault)
    broken = healthy.measure("gateway", requests=40)
    HEALING[fault](healthy)
    healed = healthy.measure("gateway", requests=40)

    assert broken.success_rate < 0.9
    assert 1.0 == healed.success_rate


def test_every_checkout_waits_for_the_fraud_check_until_the_setting_is_back(healthy: Platform) -> None:
    """The fault makes nothing fail; it puts work into the path of every request."""
    healthy.break_("slow_payments")
    broken = healthy.measure("gateway", requests=20)
    checked = _checks(healthy)
    HEALING["slow_payments"](healthy)
    healthy.measure("gateway", requests=20)

    assert 1.0 == broken.success_rate
    assert (20, 20) == (checked, _checks(healthy))


def test_the_bad_release_logs_a_traceback_within_its_trace(healthy: Platform) -> None:
    """The exception is in the log of orders, under the trace id that began at the gateway."""
    healthy.break_("bad_deploy")
    healthy.measure("gateway", requests=10)

    logged = _records(healthy, "orders.log")
    failed = next(line for line in logged if "traceback" in line)
    began = [span for span in _records(healthy, "gateway.spans") if span["trace_id"] == failed["trace_id"]]

    assert "price_1_5" in failed["traceback"]
    assert ["POST /checkout"] == [span["operation"] for span in began]


def test_a_measurement_leaves_no_reservation_behind(platform: Platform) -> None:
    """Probes go through the same transaction and are rolled back."""
    before = _reservations(platform)
    platform.measure("gateway", requests=10)

    assert before == _reservations(platform)


def test_real_orders_are_reserved_in_the_database(platform: Platform) -> None:
    """Load that is no probe leaves one reservation for each order."""
    before = _reservations(platform)
    drive(platform.state("gateway"), requests=10)

    assert before + 10 == _reservations(platform)


def test_a_restart_keeps_port_version_and_settings_but_not_the_process(platform: Platform) -> None:
    """Callers find the service where it was."""
    before, pid = platform.state("payments"), platform.pids()["payments"]
    platform.restart("payments")
    after = platform.state("payments")

    assert (before.url, before.version, before.config) == (after.url, after.version, after.config)
    assert pid != platform.pids()["payments"]


def test_asking_for_what_is_in_force_changes_nothing(platform: Platform) -> None:
    """Neither a process nor the history is touched."""
    before, pids = platform.state("orders").history, platform.pids()
    change = platform.rollback("orders", "1.4.0")

    assert not change.changed
    assert (before, pids) == (platform.state("orders").history, platform.pids())


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda p: p.deploy("orders", "9"), "orders has no release '9'; releases: 1.4.0, 1.5.0"),
        (lambda p: p.rollback("payments", "9"), "payments has never run '9'"),
        (lambda p: p.restart("billing"), "no service 'billing'; services: inventory"),
        (lambda p: p.set_config("inventory", "size", 1), "inventory has no setting 'size'"),
        (lambda p: p.set_config("inventory", "pool_size", 0), "pool_size takes a whole number from 1 to 64"),
        (lambda p: p.set_config("payments", "fraud_check", "on"), "fraud_check takes one of off, sync"),
        (lambda p: p.break_("fire"), "no fault 'fire'; faults: bad_deploy"),
        (lambda p: p.measure("gateway", requests=0), "requests takes a number from 1"),
    ],
)
def test_the_impossible_is_refused_with_what_would_be_possible(
    platform: Platform, ask: Callable[[Platform], object], says: str
) -> None:
    """One line, and the services stay as they were."""
    with pytest.raises(PlatformError, match=re.escape(says)):
        ask(platform)


def test_another_process_sees_and_changes_the_same_services(healthy: Platform) -> None:
    """The client over the admin API is the platform at a distance."""
    with serve_admin(healthy) as admin:
        remote = RemotePlatform(admin.url)
        change = remote.deploy("orders", "1.5.0")

        assert change == healthy.state("orders").history[-1]
        assert healthy.state("orders") == remote.state("orders")
        with pytest.raises(PlatformError, match="orders has never run '9'"):
            remote.rollback("orders", "9")


def test_a_client_without_services_says_how_to_start_them() -> None:
    """The port is free again as soon as the probe that found it is closed."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    with pytest.raises(PlatformError, match=re.escape("start them with `python -m examples.services up`")):
        RemotePlatform(f"http://127.0.0.1:{port}").services()


def test_load_is_never_sent_beyond_loopback() -> None:
    """A state that names another host is refused before a request is made."""
    with Platform() as one, pytest.raises(PlatformError, match="only sent to loopback"):
        state = one.state("gateway")
        drive(type(state)(**{**vars(state), "url": "http://192.0.2.1:80"}), requests=1)


def test_a_failed_request_counts_in_the_rate_and_in_the_percentiles() -> None:
    """Nineteen quick answers do not hide a slow failure at p95 and above."""
    health = summarise("gateway", [Attempt(10, None)] * 18 + [Attempt(900, "502 slow")] * 2)

    assert (0.9, 10, 900) == (health.success_rate, health.p50_ms, health.p95_ms)
    assert ("2 x 502 slow",) == health.failures


def test_a_quantile_lies_straight_between_the_edges_of_its_bucket() -> None:
    """Ten requests up to 1 ms and ten from 1 to 2 ms: p75 is in the middle of the second bucket."""
    assert 1.5 == quantile([10, *[20] * 19], 0.75)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_service_outlives_its_supervisor(end: signal.Signals, tmp_path: Path) -> None:
    """An open connection to the gateway ends when its process does, however the supervisor went."""
    command = [sys.executable, "-m", "examples.services", "up", "--port", "0"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as up:
        assert up.stdout is not None
        gateway = int(re.findall(r":(\d+)/checkout", up.stdout.readline())[0])
        up.stdout.readline()
        with socket.create_connection(("127.0.0.1", gateway), timeout=20) as held:
            up.send_signal(end)
            up.wait(timeout=20)
            assert b"" == _rest(held)


@pytest.mark.parametrize("arguments", [["rollback", "orders", "1.4.0"], ["status"], ["break", "bad_deploy"]])
def test_the_command_line_says_in_one_line_what_is_missing(arguments: list[str]) -> None:
    """Exit code 2, nothing on standard output, no traceback."""
    command = [sys.executable, "-m", "examples.services", *arguments, "--url", "http://127.0.0.1:9"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert (2, "", 1) == (done.returncode, done.stdout, done.stderr.count("\n"))


def _rest(held: socket.socket) -> bytes:
    try:
        return held.recv(1)
    except ConnectionResetError:
        return b""


def _records(platform: Platform, name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (platform.directory / f"{name}.jsonl").read_text().splitlines()]


def _checks(platform: Platform) -> int:
    return sum(span["operation"] == "fraud.check" for span in _records(platform, "payments.spans"))


def _reservations(platform: Platform) -> int:
    with closing(sqlite3.connect(platform.directory / "inventory.sqlite")) as database:
        return int(database.execute("SELECT count(*) FROM reservations").fetchone()[0])
