"""How a command ends: one line on stderr and a code that scripts can rely on."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import typer
from typer.core import TyperGroup

from governance.errors import ConfigurationError, GovernanceError, Refusal

UsageError = typer.BadParameter.__mro__[1]
"""What the option parser raises; its module moved between versions of typer."""
LONGEST = 1200


class Code(IntEnum):
    """Exit codes; `sidecar --help` prints them."""

    DONE = 0
    USAGE = 2
    REFUSED = 3
    WAITS = 4
    FAILED = 5
    INTERRUPTED = 130


CODES = (
    "Exit codes: 0 done, 2 bad input or usage, 3 refused, 4 waits for an approval or an answer, 5 failed, "
    "130 interrupted."
)


class Failure(Exception):
    """A command cannot go on; the message says what was expected, what came and what to do."""

    def __init__(self, message: str, code: Code = Code.USAGE) -> None:
        super().__init__(message)
        self.code = code


class CommandLine(TyperGroup):
    """The root command: whatever ends it, people read one line and scripts get a code."""

    debug = False

    def main(  # type: ignore[override]  # everybody passes the rest by keyword: `extra` holds what the parent names
        self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **extra: Any
    ) -> Any:
        warnings.showwarning = _warn
        try:
            code = super().main(args, standalone_mode=False, **extra)
        except Exception as error:
            if self.debug or os.environ.get("SIDECAR_DEBUG") == "1":
                traceback.print_exc()
            text, code = explained(error)
            print(text, file=sys.stderr)
        if standalone_mode:
            sys.exit(code if isinstance(code, int) else Code.DONE)
        return code


def explained(error: Exception) -> tuple[str, Code]:
    """The line and the code for an error."""
    if isinstance(error, UsageError):
        return _usage(error)
    if isinstance(error, typer.Abort):
        return "interrupted", Code.INTERRUPTED
    if isinstance(error, Failure):
        return f"error: {one_line(str(error))}", error.code
    if isinstance(error, ConfigurationError):
        return f"error: {one_line(error.reason)}", Code.USAGE
    if isinstance(error, Refusal):
        return f"refused ({error.code}): {one_line(error.reason)}", Code.REFUSED
    if isinstance(error, GovernanceError):
        return f"error: {one_line(error.reason)}", Code.FAILED
    return f"error: {one_line(f'{type(error).__name__}: {error}')}; SIDECAR_DEBUG=1 shows where", Code.FAILED


def one_line(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= LONGEST else f"{flat[:LONGEST]}..."


def _usage(error: Any) -> tuple[str, Code]:
    message = error.format_message()
    if type(error).__name__ == "NoArgsIsHelpError":
        return message, Code.USAGE
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "sidecar"
    return f"error: {one_line(message).rstrip('.')}; see `{path} --help`", Code.USAGE


def _warn(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    print(f"warning: {one_line(str(message))}", file=sys.stderr)
