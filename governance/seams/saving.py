"""Which checkpoints are still on their way to the saver: with durability "async", LangGraph goes on meanwhile."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from langgraph._internal._constants import CONF, CONFIG_KEY_CHECKPOINT_MAP
from langgraph.pregel._loop import PregelLoop

from governance.call import Call
from governance.errors import LedgerError
from governance.likeness import like

WANTED: list[tuple[Any, Sequence[str]]] = [(PregelLoop, ("_put_checkpoint",))]
LOST = 1024
"""Checkpoints that could not be stored are remembered so long that no effect can begin on them."""

PAUSE = 0.002
Saving = Future[Any] | asyncio.Future[Any]

_saving: dict[str, Saving] = {}
_lost: dict[str, str] = {}
_lock = threading.Lock()


def install() -> None:
    put = PregelLoop._put_checkpoint

    @like(put)
    def noted(self: Any, metadata: Any) -> None:
        put(self, metadata)
        saving = getattr(self, "_put_checkpoint_fut", None)
        if saving is None or saving.done():
            return
        checkpoint = self.checkpoint["id"]
        _saving[checkpoint] = saving
        saving.add_done_callback(lambda ended: _ended(checkpoint, ended))

    PregelLoop._put_checkpoint = noted  # type: ignore[method-assign]  # seam: what is stored when is said nowhere else


def wait_saved(call: Call) -> None:
    """Wait until every checkpoint this call began from is stored; raises `LedgerError` where one never will be.

    Code that blocks its event loop cannot wait for what that loop has yet to do: it goes on without.
    """
    for saving in _unsaved(call):
        while not saving.done() and not _blocks_itself(saving):
            time.sleep(PAUSE)
    _check_lost(call)


def _unsaved(call: Call) -> list[Saving]:
    return [_saving[one] for one in _begun_from(call) if one in _saving]


def _begun_from(call: Call) -> list[str]:
    return list((call.node.config.get(CONF, {}).get(CONFIG_KEY_CHECKPOINT_MAP) or {}).values())


def _blocks_itself(saving: Saving) -> bool:
    return isinstance(saving, asyncio.Future) and saving.get_loop() is asyncio._get_running_loop()


def _check_lost(call: Call) -> None:
    for checkpoint in _begun_from(call):
        saving = _saving.get(checkpoint)
        why = _lost.get(checkpoint) or (_failure(saving) if saving is not None and saving.done() else None)
        if why is not None:
            raise LedgerError(
                f"the checkpoint that {call.node.place} began from could not be stored ({why}); "
                "no effect begins on it: mend the checkpointer, then run the session again",
                code="checkpoint",
            )


def _failure(saving: Saving) -> str | None:
    if saving.cancelled():
        return "cancelled"
    error = saving.exception()
    return None if error is None else repr(error)


def _ended(checkpoint: str, saving: Saving) -> None:
    why = _failure(saving)
    if why is not None:
        with _lock:
            while len(_lost) >= LOST:
                _lost.pop(next(iter(_lost)), None)
            _lost[checkpoint] = why
    _saving.pop(checkpoint, None)  # after that: nobody may find it neither lost nor on its way
