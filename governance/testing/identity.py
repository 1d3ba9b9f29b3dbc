"""What makes two HTTP requests the same request.

Method, scheme, path, query, body and caller key count. Host and port do not, so that a cassette replays
wherever the endpoint is, and headers do not, because client libraries put their versions there.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

KEY_HEADER = "x-cassette-key"
MODEL_PATH = re.compile(
    r"/(?:chat/completions|completions|responses|embeddings|v1/messages)$|:(?:stream)?generateContent$", re.I
)

CassetteKey = Callable[[Any], str | None]
"""Names the caller of a `vcr.request.Request`; called where it is sent, so context variables work."""

Coverage = Callable[[Any], bool]
"""Whether a request belongs to the cassette; the others go to the network as if there were none."""


@dataclass(frozen=True)
class Identity:
    """The parts of a request that must be equal for a recording to answer it."""

    method: str
    scheme: str
    path: str
    query: tuple[tuple[str, str], ...]
    body: str
    key: str | None

    @property
    def place(self) -> tuple[str, str]:
        return self.method, self.path

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def header_key(request: Any) -> str | None:
    """The caller key a client sent in its `x-cassette-key` header, if it sent one."""
    value = request.headers.get(KEY_HEADER)
    if isinstance(value, list):
        value = value[0]
    return value.decode() if isinstance(value, bytes) else value


def identify(request: Any, key: str | None) -> Identity:
    """Reduce a request to what is matched."""
    digest = hashlib.sha256(canonical(body_of(request))).hexdigest()
    return Identity(request.method, request.scheme, request.path or "/", tuple(request.query), digest, key)


def is_model_call(request: Any) -> bool:
    """Whether a request asks a model for something: those are replayed even where live hosts are allowed."""
    return request.method == "POST" and bool(MODEL_PATH.search(request.path))


def body_of(request: Any) -> bytes:
    """The request's body as bytes, however its client handed it over."""
    from vcr.util import read_body

    body = read_body(request)
    if body is None:
        return b""
    return body.encode() if isinstance(body, str) else bytes(body)


def canonical(body: bytes) -> bytes:
    """JSON with sorted keys, so that key order is free; anything that is not JSON stays as it is."""
    try:
        return json.dumps(json.loads(body), sort_keys=True, separators=(",", ":")).encode()
    except ValueError:
        return body
