"""How much a run matters where not all can be served: three levels, named by the run."""

from __future__ import annotations

from governance.call import Call
from governance.errors import ConfigurationError
from governance.plane.requests import outermost

LEVELS = ("low", "normal", "high")
NORMAL = 1


def priority_of(call: Call) -> int:
    """The priority that the run of a call names in `config["configurable"]`; normal where none is named or asked for.

    The outermost graph's policy says by which key (`[priorities] key`); graphs inside matter as much.
    """
    root = outermost(call)
    priorities = root.governance.policy.priorities
    if priorities is None:
        return NORMAL
    named = (root.config.get("configurable") or {}).get(priorities.key)
    if named is None:
        return NORMAL
    if named not in LEVELS:
        raise ConfigurationError(
            f"config['configurable'][{priorities.key!r}] must be one of {', '.join(LEVELS)}, not {named!r:.50}"
        )
    return LEVELS.index(named)
