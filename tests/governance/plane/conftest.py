"""A real PostgreSQL server for the tests that need one, and an empty ledger on it for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.postgres import empty_schema, server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a server that runs for this test session."""
    with server() as url:
        yield url


@pytest.fixture
def postgres(postgres_server: str) -> str:
    """The URL of an empty ledger on the server."""
    return empty_schema(postgres_server)
