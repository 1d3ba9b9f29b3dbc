"""Namespaces as text: labels joined by dots, each with one behind it, so that a prefix is a range of the index."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

from langgraph.store.base import ListNamespacesOp, MatchCondition

Namespace = tuple[str, ...]


def encode(namespace: Iterable[str]) -> str:
    """`("a", "b")` is `a.b.`: labels hold no dot, so no label can reach into another namespace."""
    return "".join(f"{label}." for label in namespace)


def decode(text: str) -> Namespace:
    return tuple(text[:-1].split(".")) if text else ()


def range_of(prefix: Iterable[str]) -> tuple[str, str]:
    """The bounds between which every namespace under `prefix` is encoded; `/` is what follows the dot."""
    text = encode(prefix)
    return (text, text[:-1] + "/") if text else ("", "\U0010ffff")


def digest(namespace: Namespace) -> str:
    """It tells namespaces apart and says nothing of their labels."""
    return hashlib.sha256(encode(namespace).encode("utf-8", "surrogatepass")).hexdigest()


def digests(namespace: Namespace) -> Iterator[str]:
    """Those of the namespace and of each one above it."""
    return (digest(namespace[:depth]) for depth in range(len(namespace), 0, -1))


def listing(namespaces: Iterable[Namespace], op: ListNamespacesOp) -> list[Namespace]:
    """What `list_namespaces` answers: those that meet every condition, cut to a depth, sorted, one page of them."""
    met = (n for n in namespaces if all(_meets(n, condition) for condition in op.match_conditions or ()))
    found = sorted({n[: op.max_depth] if op.max_depth else n for n in met})
    return found[op.offset : op.offset + op.limit]


def _meets(namespace: Namespace, condition: MatchCondition) -> bool:
    path: Sequence[str] = condition.path
    if len(namespace) < len(path):
        return False
    part = namespace[: len(path)] if condition.match_type == "prefix" else namespace[len(namespace) - len(path) :]
    return all(wanted in ("*", label) for wanted, label in zip(path, part, strict=True))
