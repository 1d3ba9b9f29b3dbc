"""Property tests that repeat themselves."""

from __future__ import annotations

from hypothesis import settings

# The same examples in every run: a test that fails today fails tomorrow.
settings.register_profile("sidecar", derandomize=True, deadline=None, database=None, max_examples=60)
settings.load_profile("sidecar")
