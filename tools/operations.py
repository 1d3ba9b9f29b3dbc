"""Tools that change a running platform, each with its dry run and the way back, and one that measures it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from langchain_core.tools import BaseTool, StructuredTool

from governance.contracts import SideEffect, declares
from tools.incident import ToolInputError

Scalar = str | int
Outcome = dict[str, Any]
MEASURED_REQUESTS = 60


class Change(Protocol):
    """What was changed; `changed` is False where that was in force already."""

    @property
    def id(self) -> str: ...
    @property
    def service(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def key(self) -> str | None: ...
    @property
    def before(self) -> Scalar | None: ...
    @property
    def after(self) -> Scalar: ...
    @property
    def changed(self) -> bool: ...


class ServiceState(Protocol):
    """What a service runs now, and how it came to that."""

    @property
    def version(self) -> str: ...
    @property
    def config(self) -> Mapping[str, Scalar]: ...
    @property
    def running(self) -> bool: ...
    @property
    def history(self) -> Sequence[Change]: ...


class Health(Protocol):
    """What a number of real requests showed."""

    @property
    def service(self) -> str: ...
    @property
    def requests(self) -> int: ...
    @property
    def success_rate(self) -> float: ...
    @property
    def p50_ms(self) -> float: ...
    @property
    def p95_ms(self) -> float: ...
    @property
    def failures(self) -> Sequence[str]: ...


class Platform(Protocol):
    """What runs the services; in this process or, behind a client, in another."""

    def services(self) -> Sequence[str]: ...
    def state(self, service: str) -> ServiceState: ...
    def rollback(self, service: str, to_version: str) -> Change: ...
    def restart(self, service: str) -> Change: ...
    def set_config(self, service: str, key: str, value: Scalar) -> Change: ...
    def measure(self, service: str, *, requests: int) -> Health: ...


def operation_tools(platform: Platform, *, incident: str | None = None) -> list[BaseTool]:
    """Build the tools that act on a platform.

    With an incident's id, the business key of each effect is unique to that incident: fifty sessions on
    it make one rollback, and the next incident may make its own. Without one, effects have no key.
    """

    def key(form: str) -> str | None:
        # The key is a format string, so braces of the id are doubled.
        return None if incident is None else f"{incident.replace('{', '{{').replace('}', '}}')}:{form}"

    return [
        rollback_tool(platform, key=key("rollback:{service}:{to_version}")),
        restart_tool(platform, key=key("restart:{service}")),
        config_tool(platform, key=key("config:{service}:{key}={value}")),
        health_tool(platform),
    ]


def rollback_tool(platform: Platform, *, key: str | None = None) -> BaseTool:
    """Build `rollback_deploy`; asking for the version that runs changes nothing, so a repeat is harmless."""

    def rollback_deploy(service: str, to_version: str) -> Outcome:
        """Put a version that ran before back into service."""
        return described(platform.rollback(service, to_version))

    def dry_run(args: Mapping[str, Any]) -> str:
        service, wanted = str(args["service"]), str(args["to_version"])
        state = platform.state(service)
        ran = list(dict.fromkeys(str(change.after) for change in state.history if change.kind == "deploy"))
        if wanted not in ran:
            raise _impossible("to_version", f"a version that ran before ({', '.join(ran)})", wanted)
        if wanted == state.version:
            return f"nothing would change: {service} runs {wanted}"
        was = state.version
        return f"would replace {service} {was} by {wanted} and restart it; undo: back to {was}"

    def undo(args: Mapping[str, Any], outcome: Any) -> Outcome | None:
        done = recorded(outcome)
        return described(platform.rollback(done["service"], str(done["before"]))) if done["changed"] else None

    def reconcile(args: Mapping[str, Any]) -> Outcome | None:
        history = platform.state(str(args["service"])).history
        deploys = [change for change in history if change.kind == "deploy"]
        return described(deploys[-1]) if len(deploys) > 1 and deploys[-1].after == args["to_version"] else None

    return _writes(rollback_deploy, idempotent=True, key=key, dry_run=dry_run, undo=undo, reconcile=reconcile)


def restart_tool(platform: Platform, *, key: str | None = None) -> BaseTool:
    """Build `restart_service`; every call interrupts the service, so it is never repeated blindly."""

    def restart_service(service: str) -> Outcome:
        """Restart one service with the version and settings that it has."""
        return described(platform.restart(service))

    def dry_run(args: Mapping[str, Any]) -> str:
        service = str(args["service"])
        version = platform.state(service).version
        return f"would stop {service} {version} and start it again; requests in between fail"

    def undo(args: Mapping[str, Any], outcome: Any) -> str:
        # A restart leaves version and settings as they were: what is to be ensured is that it runs.
        service = recorded(outcome)["service"]
        if not platform.state(service).running:
            platform.restart(service)
        return f"{service} runs; a restart changes nothing else"

    return _writes(restart_service, idempotent=False, key=key, dry_run=dry_run, undo=undo)


def config_tool(platform: Platform, *, key: str | None = None) -> BaseTool:
    """Build `set_config`; setting the value in force changes nothing, so a repeat is harmless."""

    def set_config(service: str, key: str, value: str) -> Outcome:
        """Change one setting of a service and restart it with that."""
        return described(platform.set_config(service, key, value))

    def dry_run(args: Mapping[str, Any]) -> str:
        service, name, wanted = str(args["service"]), str(args["key"]), args["value"]
        config = platform.state(service).config
        if name not in config:
            raise _impossible("key", f"a setting of {service} ({', '.join(sorted(config))})", name)
        if str(config[name]) == str(wanted):
            return f"nothing would change: {service} {name} is {wanted}"
        was = config[name]
        return f"would set {service} {name} from {was} to {wanted} and restart it; undo: back to {was}"

    def undo(args: Mapping[str, Any], outcome: Any) -> Outcome | None:
        done = recorded(outcome)
        if not done["changed"]:
            return None
        return described(platform.set_config(done["service"], done["key"], done["before"]))

    def reconcile(args: Mapping[str, Any]) -> Outcome | None:
        history = platform.state(str(args["service"])).history
        settings = [change for change in history if change.kind == "config" and change.key == args["key"]]
        return described(settings[-1]) if settings and str(settings[-1].after) == str(args["value"]) else None

    return _writes(set_config, idempotent=True, key=key, dry_run=dry_run, undo=undo, reconcile=reconcile)


def health_tool(platform: Platform) -> BaseTool:
    """Build `measure_health`, which sends real requests that leave nothing behind."""

    def measure_health(service: str = "gateway", requests: int = MEASURED_REQUESTS) -> Outcome:
        """Measure a service by real requests: success rate and p95."""
        health = platform.measure(service, requests=requests)
        return {
            "service": health.service,
            "requests": health.requests,
            "success_rate": health.success_rate,
            "p50_ms": health.p50_ms,
            "p95_ms": health.p95_ms,
            "failures": list(health.failures),
        }

    tool = StructuredTool.from_function(measure_health)
    return declares(SideEffect("read", idempotent=True))(tool)


def described(change: Change) -> Outcome:
    """Return what an undo needs to know of a change, as plain data that can be recorded."""
    return {
        "id": change.id,
        "service": change.service,
        "kind": change.kind,
        "key": change.key,
        "before": change.before,
        "after": change.after,
        "changed": change.changed,
    }


def recorded(outcome: Any) -> Outcome:
    """Read an outcome back, whether it was kept as data, as JSON text or as a tool message."""
    content = getattr(outcome, "content", outcome)
    found = json.loads(content) if isinstance(content, str) else content
    if not isinstance(found, Mapping) or "service" not in found:
        raise _impossible("outcome", "what one of these tools returned", repr(outcome)[:80])
    return dict(found)


def _writes(
    function: Callable[..., Outcome],
    *,
    idempotent: bool,
    key: str | None,
    dry_run: Callable[[Mapping[str, Any]], str],
    undo: Callable[[Mapping[str, Any], Any], Any],
    reconcile: Callable[[Mapping[str, Any]], Any | None] | None = None,
) -> BaseTool:
    effect = SideEffect("write", idempotent=idempotent, key=key, undo=undo, dry_run=dry_run, reconcile=reconcile)
    tool: BaseTool = StructuredTool.from_function(function)
    return declares(effect)(tool)


def _impossible(field: str, expected: str, got: str) -> ToolInputError:
    return ToolInputError(field, expected=expected, got=got, remedy="nothing was changed; choose another")
