"""Plays and records HTTP conversations under vcrpy's patches, with an index in place of its search.

vcrpy asks a cassette twice, first whether it can answer and then for the answer, and searches all
recordings each time. Here the first question takes the recording out of an index under a lock, so that each
thread gets its own.
"""

from __future__ import annotations

import itertools
import threading
import warnings
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from vcr.cassette import Cassette
from vcr.filters import decode_response
from vcr.record_mode import RecordMode
from vcr.request import Request

from governance.testing import cassette_file
from governance.testing.errors import (
    CassetteError,
    CassetteMiss,
    CassetteUnused,
    RecordingRefused,
    SecretFound,
)
from governance.testing.identity import (
    KEY_HEADER,
    MODEL_PATH,
    CassetteKey,
    Coverage,
    Identity,
    body_of,
    header_key,
    identify,
    is_model_call,
)
from governance.testing.mismatch import explain
from governance.testing.secret_scan import find_secret


class _Conversation(Cassette):  # type: ignore[misc]  # vcr has no types
    """What replaying and recording share: whose requests these are, and the first thing that went wrong."""

    mode = RecordMode.NONE

    def __init__(self, path: str, *, covers: Coverage, key: CassetteKey | None = None) -> None:
        super().__init__(path, record_mode=self.mode)
        self.file = Path(path)
        self.failure: CassetteError | None = None
        self._covers = covers
        self._key = key
        self._lock = threading.Lock()

    def filter_request(self, request: Any) -> Any | None:
        return request if self._covers(request) else None

    def _identify(self, request: Any) -> Identity:
        return identify(request, header_key(request) or (self._key(request) if self._key else None))

    def _latch(self, error: CassetteError) -> CassetteError:
        """Clients and error handlers swallow exceptions; the first one is kept for the end of the run."""
        self.failure = self.failure or error
        return error

    def _load(self) -> None: ...

    def _save(self, force: bool = False) -> None: ...


class Player(_Conversation):
    """Answers requests from a cassette: each recording once, the same callers getting the same answers."""

    def _load(self) -> None:
        self.data = cassette_file.read(self.file)
        self._identities = [identify(request, header_key(request)) for request, _ in self.data]
        self._waiting: dict[Identity, deque[int]] = defaultdict(deque)
        for number, identity in enumerate(self._identities):
            self._waiting[identity].append(number)
        self._played: Counter[int] = Counter()
        self.rewound = True

    @property
    def base_url(self) -> str | None:
        """A base URL under which the recorded model calls match, for clients that are made before a run."""
        for request, _ in self.data:
            if is_model_call(request):
                parts = urlsplit(request.uri)
                return f"{parts.scheme}://{parts.netloc}{MODEL_PATH.sub('', parts.path)}"
        return None

    @property
    def unused(self) -> Sequence[int]:
        """Numbers of the recordings that nobody asked for, counted from 1."""
        return [number + 1 for number in range(len(self.data)) if not self._played[number]]

    def can_play_response_for(self, request: Any) -> bool:
        if not self._covers(request):
            return False
        # vcrpy may ask again for the same request object: it keeps the recording that it was given.
        if not hasattr(request, "recording"):
            request.recording = self._take(request)
        return True

    def play_response(self, request: Any) -> Any:
        self.can_play_response_for(request)
        return self.data[request.recording][1]

    def append(self, request: Any, response: dict[str, Any]) -> None:
        """What a live service answered is no part of the cassette."""

    def finish(self, *, complete: bool = True) -> None:
        """Raise what went wrong during the run, or else name the recordings that were never played."""
        if self.failure is not None:
            raise self.failure
        if complete and self.unused:
            numbers = ", ".join(map(str, self.unused))
            raise CassetteUnused(
                f"{len(self.unused)} of {len(self.data)} recordings in {self.file} were never played "
                f"(number {numbers}): "
                f"if the run is now shorter on purpose, {cassette_file.RECORD_AGAIN}"
            )

    def _take(self, request: Any) -> int:
        identity = self._identify(request)
        with self._lock:
            waiting = self._waiting.get(identity)
            if waiting:
                number = waiting.popleft()
                self._played[number] += 1
                return number
            known = [
                (old, other, bool(self._played[number]))
                for number, ((old, _), other) in enumerate(zip(self.data, self._identities, strict=True))
            ]
        miss = CassetteMiss(explain(self.file, request, identity, known))
        # A background thread of some library that calls home is no part of the run.
        if is_model_call(request) or any(identity.place == other.place for other in self._identities):
            self._latch(miss)
        raise miss


class Recorder(_Conversation):
    """Lets requests through to the real endpoint and keeps what came back, unless it holds a secret."""

    mode = RecordMode.ALL

    def __init__(self, path: str, *, covers: Coverage, key: CassetteKey | None = None) -> None:
        super().__init__(path, covers=covers, key=key)
        self._clock = itertools.count()
        self._started = 0
        self._order: list[int] = []
        self._spans: dict[Identity, list[tuple[int, int]]] = defaultdict(list)

    def can_play_response_for(self, request: Any) -> bool:
        if self._covers(request) and not hasattr(request, "started"):
            request.identity = self._identify(request)
            self._refuse_secret("request", unquote(request.uri), body_of(request), request.identity.key or "")
            request.started = next(self._clock)
            self._started += 1
        return False

    def append(self, request: Any, response: dict[str, Any]) -> None:
        if not self._covers(request):
            return
        decoded = self._decoded(response)
        self._refuse_secret("response", decoded["body"]["string"] or b"")
        identity = getattr(request, "identity", None) or self._identify(request)
        stored = Request(request.method, request.uri, body_of(request), _kept_headers(request, key=identity.key))
        ended = next(self._clock)
        started = getattr(request, "started", ended)
        with self._lock:
            self._warn_if_ambiguous(identity, started, ended)
            self.data.append((stored, decoded))
            self._order.append(started)

    def finish(self) -> None:
        """Write the cassette, unless anything went wrong or there is nothing to write."""
        if self.failure is not None:
            raise self.failure
        if not self.data:
            raise RecordingRefused(f"nothing was recorded for {self.file}: the run sent no request")
        lost = self._started - len(self.data)
        if lost > 0:
            warnings.warn(
                f"{lost} request(s) got no answer and are not in {self.file}: timeouts and broken "
                "connections cannot be recorded; test them against a FaultyServer",
                stacklevel=2,
            )
        # In the order of asking: tasks of one event loop ask in the same order again, but finish in any.
        ordered = sorted(zip(self._order, self.data, strict=True), key=lambda item: item[0])
        cassette_file.write(self.file, [interaction for _, interaction in ordered])

    def _refuse_secret(self, side: str, *texts: str | bytes) -> None:
        for text in texts:
            secret = find_secret(text)
            if secret:
                raise self._latch(
                    SecretFound(
                        f"{secret} is in a {side} to be recorded in {self.file}: nothing was written; "
                        "keep it out of prompts and answers, then record again"
                    )
                )

    def _decoded(self, response: dict[str, Any]) -> dict[str, Any]:
        decoded: dict[str, Any] = decode_response(response)
        headers = {name.lower(): values for name, values in decoded["headers"].items()}
        encoding = [value for value in headers.get("content-encoding", []) if value not in ("", "identity")]
        if encoding == ["zstd"]:
            import zstandard

            decoded["body"]["string"] = (
                zstandard.ZstdDecompressor().decompressobj().decompress(decoded["body"]["string"])
            )
        elif encoding:
            raise self._latch(
                RecordingRefused(
                    f"a response for {self.file} is compressed ({', '.join(encoding)}) and cannot be read: "
                    "install `brotli`, or send `accept-encoding: identity`, then record again"
                )
            )
        return {**decoded, "headers": headers}

    def _warn_if_ambiguous(self, identity: Identity, started: int, ended: int) -> None:
        if any(end > started for _, end in self._spans[identity]):
            warnings.warn(
                f"identical requests ({identity}) were under way at the same time: on replay their answers "
                f"may change places; tell callers apart with a {KEY_HEADER} header, a `user` field or `key=`",
                stacklevel=2,
            )
        self._spans[identity].append((started, ended))


def _kept_headers(request: Any, *, key: str | None = None) -> dict[str, str]:
    kept = {name: value for name, value in request.headers.items() if name.lower() == "content-type"}
    return {**kept, KEY_HEADER: key} if key is not None else kept
