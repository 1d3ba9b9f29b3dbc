"""One text for one value: the encoding that hashes, digests and the ledger stand on.

Compact JSON in UTF-8 with sorted keys (`orjson`, which LangGraph already depends on). What JSON does
not know becomes text that depends on the value alone, never on its address in memory: on all of the
value, also where its `repr` is shortened (arrays, tables) or says nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
import re
from collections.abc import Mapping
from typing import Any

import orjson

_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_TELLING = frozenset({"builtins", "datetime", "decimal", "fractions", "ipaddress", "pathlib"})
"""Modules whose values say in their `repr` all that they are."""
_SHOWN = 200


def encode(value: Any) -> bytes:
    """Canonical bytes of any value; hostile text (lone surrogates, huge integers) is made printable."""
    try:
        return orjson.dumps(value, default=_plain, option=_OPTIONS)
    except (TypeError, orjson.JSONEncodeError, RecursionError):
        return orjson.dumps(_printable(value, 0), option=_OPTIONS)


def text(value: Any) -> str:
    """`encode` as a string."""
    return encode(value).decode()


def digest(value: Any) -> str:
    """SHA-256 of the canonical bytes, in hexadecimal."""
    return hashlib.sha256(encode(value)).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, orjson.Fragment):
        return orjson.loads(value.contents)
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if hasattr(value, "model_dump") and not isinstance(value, type):
        return value.model_dump()
    if isinstance(value, (list, tuple)):
        return list(value)
    name = getattr(value, "__qualname__", None)
    if name and callable(value):
        return f"{getattr(value, '__module__', '')}.{name}"
    return _whole(value)


def _whole(value: Any) -> str:
    """What an object looks like, and a digest of all it holds where it can be told.

    Locks and open connections hold no value: there is nothing to compare them by. A secret's digest
    would give short secrets away.
    """
    shown = _ADDRESS.sub("", repr(value))
    if type(value).__module__ in _TELLING or hasattr(value, "get_secret_value"):
        return shown
    try:
        held = pickle.dumps(value, protocol=4)
    except Exception:
        return shown
    return f"{shown[:_SHOWN]} sha256:{hashlib.sha256(held).hexdigest()}"


def _printable(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return value if -(2**53) <= value <= 2**53 else str(value)
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if depth > 40:
        return f"... sha256:{_deep(value)}"
    if isinstance(value, Mapping):
        return {str(_printable(str(k), 0)): _printable(v, depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_printable(v, depth + 1) for v in value]
    return _printable(_plain(value), depth + 1)


def _deep(value: Any) -> str:
    """Digest of what is nested too deeply to be written out: no recursion, and each container once."""
    found, rest, seen = hashlib.sha256(), [value], set()
    while rest:
        one = rest.pop()
        if not isinstance(one, (Mapping, list, tuple)):
            found.update(encode(one))
            continue
        found.update(f"{type(one).__name__} of {len(one)}:".encode())
        if id(one) not in seen:
            seen.add(id(one))
            rest.extend(one if not isinstance(one, Mapping) else _flat(one))
    return found.hexdigest()


def _flat(value: Mapping[Any, Any]) -> list[Any]:
    return [part for key in sorted(value, key=str) for part in (str(key), value[key])]
