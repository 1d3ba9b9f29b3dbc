"""What a graph finds around it when it is imported to be replayed: no ledger of anybody's, and stand-ins for keys."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

STAND_INS = {"OPENAI_API_KEY": "none"}
"""What clients of models want to have before they are made; in a replay they are never used."""


@contextmanager
def elsewhere() -> Iterator[None]:
    """Point the environment to files that are gone afterwards, then put it back."""
    with tempfile.TemporaryDirectory(prefix="sidecar-replay-") as folder:
        wanted = {name: os.environ.get(name) or value for name, value in STAND_INS.items()}
        wanted |= {"SIDECAR_LEDGER": f"{folder}/ledger.db", "SIDECAR_CONTROL": f"{folder}/control.db"}
        before = {name: os.environ.get(name) for name in wanted}
        os.environ.update(wanted)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value
