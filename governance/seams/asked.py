"""Seam 4, which model is asked after all: the one that the author's code called, or another in its place."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from governance.call import ModelCall
from governance.errors import ContractError
from governance.seams.classes import is_base
from governance.seams.clients import govern_clients

PIECES = ("on_llm_new_token", "on_stream_event")


def asked(original: Callable[..., Any], own: Any, call: ModelCall) -> tuple[Callable[..., Any], Any]:
    """The method to call, and which model's own methods lead to the base class as the same call."""
    if call.model is own:
        return functools.partial(original, own), None if is_base(original) else own
    other = getattr(call.model, original.__name__, None)
    if other is None:
        raise ContractError(
            f"{call.name} cannot stand in for a {type(own).__name__}: it has no {original.__name__}; "
            "give a model of the same kind"
        )
    govern_clients(type(call.model))
    return other, call.model


def heard(run_manager: Any, call: ModelCall) -> Any:
    """Tells the call when a piece of its answer leaves by a callback, as it does where LangGraph streams tokens."""
    if run_manager is None or not _matters(call):
        return run_manager
    for name in PIECES:
        leave = getattr(run_manager, name, None)
        if leave is not None:
            setattr(run_manager, name, functools.partial(_leaves, call, leave))
    return run_manager


def _leaves(call: ModelCall, leave: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    call.streamed = True
    return leave(*args, **kwargs)


def _matters(call: ModelCall) -> bool:
    """Whether anybody would try again, or ask another model."""
    directory = call.governance.directory
    return directory.governs or directory.stands_in or bool(call.contract.fallbacks)
