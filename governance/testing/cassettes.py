"""Records HTTP conversations once and replays them without network, in tests and outside them.

with recording("cassettes/triage.yaml"):
    graph.invoke(incident)                       # talks to the real endpoint

with replaying("cassettes/triage.yaml"):
    graph.invoke(incident)                       # the same answers, no network, no key
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Collection, Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from governance.testing.errors import (
    CassetteError,
    CassetteMiss,
    CassetteMissing,
    CassetteUnreadable,
    CassetteUnused,
    NetworkBlocked,
    RecordingRefused,
    SecretFound,
)
from governance.testing.identity import KEY_HEADER, CassetteKey, Coverage, is_model_call
from governance.testing.network import blocked, expanded

if TYPE_CHECKING:
    from governance.testing.player import Player, Recorder

__all__ = [
    "KEY_HEADER",
    "CassetteError",
    "CassetteKey",
    "CassetteMiss",
    "CassetteMissing",
    "CassetteUnreadable",
    "CassetteUnused",
    "NetworkBlocked",
    "RecordingRefused",
    "SecretFound",
    "recording",
    "replaying",
]


@contextlib.contextmanager
def replaying(
    path: str | PathLike[str],
    *,
    block: bool = True,
    allow: Collection[str] = (),
    key: CassetteKey | None = None,
    complete: bool = True,
) -> Iterator[Player]:
    """Answer HTTP requests from a cassette; a request that was not recorded raises `CassetteMiss`.

    Sockets are blocked, except to the hosts in `allow`. Requests to those go to the network and are no part
    of the cassette, save for model calls, which always replay. With `block=False` that holds for all hosts.
    `key` names the caller where bodies are identical; it must be the one that was given to `recording`. At
    the end every recording must have been played (`complete=False` lets go of that).
    """
    with opened_player(path, block=block, allow=allow, key=key) as player:
        yield player
    player.finish(complete=complete)


@contextlib.contextmanager
def recording(
    path: str | PathLike[str], *, allow: Collection[str] = (), key: CassetteKey | None = None
) -> Iterator[Recorder]:
    """Let HTTP requests through and write what came back, in place of what the file held before.

    Nothing is written when the block raises, sends no request, or sends or receives a secret. `allow` and
    `key` mean what they mean to `replaying`.
    """
    with opened_recorder(path, allow=allow, key=key) as recorder:
        yield recorder
    recorder.finish()


@contextlib.contextmanager
def opened_player(
    path: str | PathLike[str], *, block: bool, allow: Collection[str], key: CassetteKey | None
) -> Iterator[Player]:
    """`replaying` without its verdict at the end, for callers that give it themselves."""
    from governance.testing.player import Player

    covers = _coverage(allow) if block else is_model_call
    with contextlib.ExitStack() as stack:
        stack.enter_context(_fresh_clients())
        player = stack.enter_context(Player.use(path=str(Path(path)), covers=covers, key=key))
        if block:
            stack.enter_context(blocked(allow=allow))
        yield stack.enter_context(_explained(player))


@contextlib.contextmanager
def opened_recorder(
    path: str | PathLike[str], *, allow: Collection[str], key: CassetteKey | None
) -> Iterator[Recorder]:
    """`recording` that writes nothing by itself."""
    from governance.testing.player import Recorder

    with (
        _fresh_clients(),
        Recorder.use(path=str(Path(path)), covers=_coverage(allow), key=key) as recorder,
        _explained(recorder),
    ):
        yield recorder


@contextlib.contextmanager
def _explained(conversation: Player | Recorder) -> Iterator[Any]:
    """Adds to an error what went wrong before it and was swallowed on the way."""
    try:
        yield conversation
    except BaseException as error:
        failure = conversation.failure
        if failure is not None and failure is not error and str(failure) not in str(error):
            error.add_note(f"before this, and swallowed on the way: {failure}")
        raise


def _coverage(allow: Collection[str]) -> Coverage:
    hosts = expanded(allow)

    def covers(request: Any) -> bool:
        return is_model_call(request) or request.host not in hosts

    return covers


@contextlib.contextmanager
def _fresh_clients() -> Iterator[None]:
    """langchain-openai caches HTTP clients, and one that outlives its event loop fails."""
    _forget_clients()
    try:
        yield
    finally:
        _forget_clients()


def _forget_clients() -> None:
    module = sys.modules.get("langchain_openai.chat_models._client_utils")
    for value in list(vars(module).values()) if module else []:
        if hasattr(value, "cache_clear"):
            value.cache_clear()
