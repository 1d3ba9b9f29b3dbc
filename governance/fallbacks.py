"""What may stand in for a model or a tool that cannot answer, as contracts name it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from governance.errors import ContractError


@dataclass(frozen=True, slots=True)
class Cached:
    """The last good answer to the same question, not older than `seconds`; of models and tools that only read.

    Of the same session, since an answer may depend on whom it was given to. `shared=True` says that it
    depends on the question alone: then it is one of the same tenant.
    """

    seconds: float
    shared: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if not self.seconds > 0:
            raise ContractError(f"Cached.seconds must be more than 0, not {self.seconds!r}")


@dataclass(frozen=True, slots=True)
class Plain:
    """A plain refusal: this text is the answer."""

    text: str


Stage = Any
"""`Cached`, `Plain`, or a model to ask instead."""


def stages(given: Mapping[str, Any]) -> Mapping[str, tuple[Stage, ...]]:
    """By the name of a dependency, what is tried in its place, in this order."""
    found: dict[str, tuple[Stage, ...]] = {}
    for name, named in given.items():
        several = tuple(named) if isinstance(named, (list, tuple)) else (named,)
        for one in several:
            if not isinstance(one, (Cached, Plain)) and not hasattr(one, "invoke"):
                raise ContractError(
                    f"Contract.fallbacks[{name!r}] must be models, Cached(seconds) or Plain(text), not {one!r}"
                )
        found[name] = several
    return MappingProxyType(found)


def told(several: tuple[Stage, ...]) -> list[Any]:
    """What stands in, as a rule to digest: a model by its name."""
    return [one if isinstance(one, (Cached, Plain)) else model_name(one) for one in several]


def model_name(model: Any) -> str:
    """The name under which a model is asked for, else its class."""
    return str(getattr(model, "model_name", None) or getattr(model, "model", None) or type(model).__name__)
