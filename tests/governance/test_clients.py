"""How long a client may wait: never longer than is left, in whatever form it says so."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from governance.seams.clients import lowered


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (None, 5),
        (600, 5),
        (600.5, 5),
        (3, 3),
        (5, 5),
        ((600, 3), (5, 3)),
        ((None, 600), (5, 5)),
        (httpx.Timeout(600, connect=2), httpx.Timeout(5, connect=2)),
        (httpx.Timeout(None), httpx.Timeout(5)),
        (httpx.Timeout(3), httpx.Timeout(3)),
    ],
)
def test_only_what_is_longer_becomes_shorter(own: Any, expected: Any) -> None:
    assert expected == lowered(own, 5)


def test_what_nobody_knows_stays_as_it_is() -> None:
    odd = object()

    assert lowered(odd, 5) is odd
