"""The platform as another process sees it: the same methods, over the admin API."""

from __future__ import annotations

import json
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

from .changes import Change, PlatformError, ServiceState
from .load import Health, drive
from .service import Scalar

DEFAULT_URL = "http://127.0.0.1:7400"
TIMEOUT_SECONDS = 20.0


class RemotePlatform:
    """A running platform, named by the URL of its admin API; connects at each call, so it may start later."""

    def __init__(self, url: str = DEFAULT_URL) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None or parts.port is None:
            raise PlatformError(f"a platform is named by a URL such as {DEFAULT_URL}, got {url!r}")
        self.url = url
        self._host, self._port = parts.hostname, parts.port

    def services(self) -> tuple[str, ...]:
        return tuple(self._call("GET", "/services"))

    def state(self, service: str) -> ServiceState:
        """Return what a service runs now."""
        states = self._call("GET", "/services")
        if service not in states:
            raise PlatformError(f"no service {service!r}; services: {', '.join(states)}")
        return _state(states[service])

    def deploy(self, service: str, version: str) -> Change:
        return self._change("/deploy", service=service, version=version)

    def rollback(self, service: str, to_version: str) -> Change:
        return self._change("/rollback", service=service, to_version=to_version)

    def restart(self, service: str) -> Change:
        return self._change("/restart", service=service)

    def set_config(self, service: str, key: str, value: Scalar) -> Change:
        return self._change("/config", service=service, key=key, value=value)

    def break_(self, fault: str) -> Change:
        return self._change("/break", fault=fault)

    def measure(self, service: str = "gateway", *, requests: int = 60) -> Health:
        """Send real requests from this process to a service and count what comes back."""
        return drive(self.state(service), requests=requests, probe=True)

    def stop(self) -> None:
        """Ask the platform to stop every service and end."""
        self._call("POST", "/stop")

    def _change(self, path: str, **arguments: Scalar) -> Change:
        return Change(**self._call("POST", path, arguments))

    def _call(self, method: str, path: str, arguments: dict[str, Scalar] | None = None) -> dict[str, Any]:
        connection = HTTPConnection(self._host, self._port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request(method, path, json.dumps(arguments or {}), {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
        except (OSError, HTTPException) as broken:
            raise PlatformError(
                f"no services answer at {self.url} ({type(broken).__name__}): "
                "start them with `python -m examples.services up`"
            ) from broken
        finally:
            connection.close()
        if response.status != 200:
            raise PlatformError(answer["error"])
        return answer


def _state(given: dict[str, Any]) -> ServiceState:
    history = tuple(Change(**change) for change in given["history"])
    return ServiceState(
        **{
            **given,
            "callees": tuple(given["callees"]),
            "releases": tuple(given["releases"]),
            "history": history,
        }
    )
