"""One text for one value: the encoding that hashes, digests and the ledger stand on.

Compact JSON in UTF-8 with sorted keys (`orjson`, which LangGraph already depends on). What JSON does
not know becomes text that depends on the value alone, never on its address in memory.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from typing import Any

import orjson

_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


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
    if isinstance(value, bytes):
        return value.hex()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if hasattr(value, "model_dump") and not isinstance(value, type):
        return value.model_dump()
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, type) or callable(value):
        return _name(value)
    return _ADDRESS.sub("", repr(value))


def _name(value: Any) -> str:
    module, name = getattr(value, "__module__", ""), getattr(value, "__qualname__", None)
    return f"{module}.{name}" if name else _ADDRESS.sub("", repr(value))


def _printable(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return value if -(2**53) <= value <= 2**53 else str(value)
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if depth > 40:
        return "..."
    if isinstance(value, Mapping):
        return {str(_printable(str(k), 0)): _printable(v, depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_printable(v, depth + 1) for v in value]
    return _printable(_plain(value), depth + 1)
