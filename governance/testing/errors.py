"""What can go wrong with a cassette or a test double.

CassetteError
├── CassetteMissing       nothing was recorded at that path
├── CassetteUnreadable    the file is there, but it is no cassette
├── CassetteMiss          a request that no unplayed recording answers
├── CassetteUnused        recordings that nobody asked for
├── RecordingRefused      what came back must not, or cannot, be stored
│   └── SecretFound       a key or token in a request or a response
└── NetworkBlocked        a socket was opened while replaying
ScriptExhausted           a scripted model was called more often than it has answers

All derive from `RuntimeError`, which LangGraph's default retry policy leaves alone.
"""

from __future__ import annotations


class CassetteError(RuntimeError):
    """A recording could not be made or played; the message says what to do next."""


class CassetteMissing(CassetteError):
    """There is no cassette at the path, so nothing can be replayed."""


class CassetteUnreadable(CassetteError):
    """The cassette file is damaged or of another format, so nothing can be replayed."""


class CassetteMiss(CassetteError):
    """No unplayed recording matches a request; the message shows the nearest one and where it differs."""


class CassetteUnused(CassetteError):
    """Some recordings were never played, so the run is no longer the one that was recorded."""


class RecordingRefused(CassetteError):
    """The recording was not written, because it could not be replayed or nothing was there to record."""


class SecretFound(RecordingRefused):
    """A request or response holds a secret, so nothing of the recording was written."""


class NetworkBlocked(CassetteError):
    """A connection was attempted while replaying; replayed runs reach no network unless they ask to."""


class ScriptExhausted(RuntimeError):
    """A scripted model was called more often than its script has answers."""
