"""The command line of the example services: `python -m examples.services up|status|load|break|...`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from .admin import serve_admin
from .catalogue import CATALOGUE
from .changes import Change, PlatformError
from .client import DEFAULT_URL, RemotePlatform
from .faults import FAULTS
from .load import drive
from .platform import Platform
from .worker import StartError


def arguments() -> argparse.ArgumentParser:
    """Describe the commands."""
    parser = argparse.ArgumentParser(prog="python -m examples.services", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start the services and hold them until Ctrl-C")
    up.add_argument("--port", type=int, default=7400, help="port of the admin API (default 7400)")
    remote = argparse.ArgumentParser(add_help=False)
    remote.add_argument("--url", default=os.environ.get("SERVICES_URL", DEFAULT_URL), help="the admin API")
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("service", choices=list(CATALOGUE))
    commands.add_parser("status", parents=[remote], help="what runs, and how it came to that")
    commands.add_parser("down", parents=[remote], help="stop everything")
    load = commands.add_parser("load", parents=[remote], help="send a bounded number of real orders")
    load.add_argument("--requests", type=int, default=150)
    load.add_argument("--probe", action="store_true", help="leave no order behind")
    broken = commands.add_parser("break", parents=[remote], help="break the running services")
    broken.add_argument("fault", choices=list(FAULTS))
    commands.add_parser("rollback", parents=[remote, named]).add_argument("version")
    commands.add_parser("restart", parents=[remote, named])
    config = commands.add_parser("config", parents=[remote, named], help="change one setting")
    config.add_argument("key")
    config.add_argument("value")
    capture = commands.add_parser("capture", help="start, break, record an incident file, stop")
    capture.add_argument("--fault", choices=list(FAULTS), required=True)
    capture.add_argument("--out", type=Path, required=True)
    return parser


def up(port: int) -> None:
    """Hold the services until somebody asks for the end."""
    with Platform() as platform, serve_admin(platform, port=port) as admin:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: admin.stopped.set())
        print(f"gateway   {platform.state('gateway').url}/checkout")
        print(
            f"admin     {admin.url}   (Ctrl-C or `python -m examples.services down` stops everything)",
            flush=True,
        )
        admin.stopped.wait()
    print("stopped")


def status(platform: RemotePlatform) -> None:
    """Print every service with its config and history."""
    for name in platform.services():
        state = platform.state(name)
        config = " ".join(f"{key}={value}" for key, value in sorted(state.config.items()))
        print(f"{name:10} {state.version:7} {'running' if state.running else 'down':8} {state.url}  {config}")
        for change in state.history[1:]:
            print(f"           {describe(change)}")


def describe(change: Change) -> str:
    """Say in one line what was changed."""
    if not change.changed:
        return f"{change.service} {change.key or 'version'} is {change.after} already; nothing changed"
    if change.kind == "restart":
        return f"{change.id}: restarted {change.after}"
    return f"{change.id}: {change.key or 'version'} {change.before} -> {change.after}"


def run(options: argparse.Namespace) -> None:
    """Carry one command out."""
    if options.command == "up":
        return up(options.port)
    if options.command == "capture":
        from .capture import capture  # needs the application's tools, which the services do not

        return print(capture(options.fault, options.out))
    platform = RemotePlatform(options.url)
    match options.command:
        case "status":
            status(platform)
        case "down":
            platform.stop()
        case "load":
            health = drive(platform.state("gateway"), requests=options.requests, probe=options.probe)
            print("\n".join((health.line(), *health.failures)))
        case "break":
            print(describe(platform.break_(options.fault)))
        case "rollback":
            print(describe(platform.rollback(options.service, options.version)))
        case "restart":
            print(describe(platform.restart(options.service)))
        case "config":
            print(describe(platform.set_config(options.service, options.key, options.value)))


def main() -> int:
    """Run the command line; what goes wrong is one line and exit code 2."""
    try:
        run(arguments().parse_args())
    except (PlatformError, StartError, OSError) as refused:
        print(f"examples.services: {refused}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
