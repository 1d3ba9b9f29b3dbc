"""What tests of governed graphs need: cassettes, scripted and faulty models, recorded sessions, a pytest plugin.

Import from the modules; this package imports none of them by itself, so that the plugin costs nothing where it
is not used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from governance.testing.replaying import assert_replays

__all__ = ["assert_replays"]


def __getattr__(name: str) -> Any:
    if name == "assert_replays":
        from governance.testing.replaying import assert_replays

        return assert_replays
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
