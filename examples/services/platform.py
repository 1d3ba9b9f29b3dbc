"""The platform that runs the services: deploys, rolls back, restarts, configures, and keeps the history."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from .catalogue import ALLOWED, CATALOGUE, Offering
from .changes import Change, Deployment, PlatformError, ServiceState
from .faults import FAULTS
from .load import Health, drive
from .service import Scalar, ServiceSpec
from .worker import Worker, launch


class Platform:
    """Four services as processes on loopback; leaving the context stops every one of them.

    Changes are serialised: a second caller waits until the service of the first one serves again.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._given = directory
        self.directory = Path()
        self._lock = threading.RLock()
        self._workers: dict[str, Worker] = {}
        self._ports: dict[str, int] = {}
        self._deployments: dict[str, Deployment] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start every service at its first release; on failure nothing stays behind."""
        self.directory = self._given or Path(tempfile.mkdtemp(prefix="services-"))
        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            for name, offering in CATALOGUE.items():
                deployment = Deployment(name, offering.releases[0], dict(offering.config))
                self._deployments[name] = deployment
                began = time.time()
                self._launch(name)
                deployment.record("deploy", at=began, before=None, after=deployment.version)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop every service, callers first; a directory of our own making is removed."""
        with self._lock:
            for name in reversed(list(self._workers)):
                self._workers.pop(name).stop()
        if self._given is None and self.directory != Path():
            shutil.rmtree(self.directory, ignore_errors=True)

    def services(self) -> tuple[str, ...]:
        return tuple(CATALOGUE)

    def pids(self) -> dict[str, int]:
        return {name: worker.pid for name, worker in self._workers.items()}

    def state(self, service: str) -> ServiceState:
        """Return what a service runs now."""
        offering, deployment = self._find(service)
        return ServiceState(
            service=service,
            url=f"http://127.0.0.1:{self._ports[service]}",
            path=offering.path,
            version=deployment.version,
            config=dict(deployment.config),
            running=service in self._workers and self._workers[service].running(),
            callees=offering.callees,
            releases=offering.releases,
            history=tuple(deployment.history),
        )

    def deploy(self, service: str, version: str) -> Change:
        """Put a release into service; asking for the one that runs changes nothing."""
        offering, deployment = self._find(service)
        if version not in offering.releases:
            raise PlatformError(f"{service} has no release {version!r}; releases: {', '.join(offering.releases)}")
        with self._lock:
            before = deployment.version
            if version == before:
                return deployment.unchanged("deploy", value=version)
            began = time.time()
            self._apply(service, lambda: setattr(deployment, "version", version))
            return deployment.record("deploy", at=began, before=before, after=version)

    def rollback(self, service: str, to_version: str) -> Change:
        """Go back to a release that has run here before."""
        known = self._find(service)[1].versions()
        if to_version not in known:
            raise PlatformError(f"{service} has never run {to_version!r}; it has run: {', '.join(known)}")
        return self.deploy(service, to_version)

    def restart(self, service: str) -> Change:
        """Stop the process of a service and start it again as it was deployed."""
        _, deployment = self._find(service)
        with self._lock:
            began = time.time()
            self._relaunch(service)
            return deployment.record("restart", at=began, before=deployment.version, after=deployment.version)

    def set_config(self, service: str, key: str, value: Scalar) -> Change:
        """Change one setting and restart the service with it; the value in force changes nothing."""
        _, deployment = self._find(service)
        if key not in deployment.config:
            raise PlatformError(f"{service} has no setting {key!r}; settings: {', '.join(sorted(deployment.config))}")
        wanted = setting(key, value)
        with self._lock:
            before = deployment.config[key]
            if wanted == before:
                return deployment.unchanged("config", key=key, value=wanted)
            began = time.time()
            self._apply(service, lambda: deployment.config.update({key: wanted}))
            return deployment.record("config", at=began, key=key, before=before, after=wanted)

    def break_(self, fault: str) -> Change:
        """Change the running services for the worse, by an ordinary deploy or config change."""
        if fault not in FAULTS:
            raise PlatformError(f"no fault {fault!r}; faults: {', '.join(FAULTS)}")
        return FAULTS[fault].apply(self)

    def measure(self, service: str = "gateway", *, requests: int = 60) -> Health:
        """Send real requests to a service and count what comes back; they leave nothing behind."""
        return drive(self.state(service), requests=requests, probe=True)

    def _find(self, service: str) -> tuple[Offering, Deployment]:
        if service not in self._deployments:
            raise PlatformError(f"no service {service!r}; services: {', '.join(CATALOGUE)}")
        return CATALOGUE[service], self._deployments[service]

    def _apply(self, service: str, change: Callable[[], None]) -> None:
        """Make a change and restart with it; if that fails, the old state runs again."""
        deployment = self._deployments[service]
        version, config = deployment.version, dict(deployment.config)
        change()
        try:
            self._relaunch(service)
        except BaseException:
            deployment.version, deployment.config = version, config
            self._relaunch(service)
            raise

    def _relaunch(self, service: str) -> None:
        if service in self._workers:
            self._workers.pop(service).stop()
        self._launch(service)

    def _launch(self, service: str) -> None:
        deployment = self._deployments[service]
        spec = ServiceSpec(
            name=service,
            version=deployment.version,
            config=deployment.config,
            port=self._ports.get(service, 0),
            peers={callee: self._ports[callee] for callee in CATALOGUE[service].callees},
            directory=self.directory,
        )
        self._workers[service] = launch(spec)
        # A service keeps its port over restarts, because its callers were told it once.
        self._ports[service] = self._workers[service].spec.port


def setting(key: str, value: Scalar) -> Scalar:
    """Return a setting's value in its own type, or refuse one that is out of range."""
    allowed = ALLOWED[key]
    if isinstance(allowed, range):
        if str(value).strip().isdigit() and int(value) in allowed:
            return int(value)
        raise PlatformError(f"{key} takes a whole number from {allowed[0]} to {allowed[-1]}, got {value!r}")
    if value not in allowed:
        raise PlatformError(f"{key} takes one of {', '.join(map(str, allowed))}, got {value!r}")
    return value
