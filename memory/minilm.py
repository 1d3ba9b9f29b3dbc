"""The embedding model that runs here: all-MiniLM-L6-v2 as ONNX, padded to the longest text of a batch and no further.

`python -m memory.fetch` brings the model to this machine, once; `make setup` does it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings

from memory.errors import EmbeddingUnavailable

DIMS = 384
_LONGEST = 256
_BATCH = 32


def place() -> Path:
    """Where the model is kept: in `SIDECAR_MODELS`, or with the Python environment that uses it."""
    home = os.environ.get("SIDECAR_MODELS") or Path(sys.prefix) / "share" / "langgraph-sidecar"
    return Path(home) / "all-MiniLM-L6-v2"


class MiniLM(Embeddings):
    """Texts as 384 numbers, without a network; about 7 ms of CPU for a sentence. Texts count up to 256 tokens."""

    model = "all-MiniLM-L6-v2"
    dims = DIMS

    def __init__(self, path: Path | None = None, *, threads: int = 1) -> None:
        folder = path or place()
        if not (folder / "model.onnx").exists():
            raise EmbeddingUnavailable(
                f"expected the embedding model in {folder} and found none; fetch it once with"
                " `python -m memory.fetch`, or give another LangChain `Embeddings`; recall by words needs none"
            )
        self._session, self._tokenizer = _load(folder, threads)
        self._lock = threading.Lock()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        vectors = np.zeros((len(texts), DIMS), np.float32)
        with self._lock:
            tokens = [self._tokenizer.encode(text).ids for text in texts]
            for batch in _batches(tokens):
                vectors[batch] = self._embed([tokens[n] for n in batch])
        return [vector.tolist() for vector in vectors]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]

    def _embed(self, tokens: Sequence[Sequence[int]]) -> Any:
        ids = np.zeros((len(tokens), max(map(len, tokens))), np.int64)
        mask = np.zeros_like(ids)
        for row, one in enumerate(tokens):
            ids[row, : len(one)], mask[row, : len(one)] = one, 1
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = self._session.run(None, inputs)[0]
        vectors = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _load(folder: Path, threads: int) -> tuple[Any, Any]:
    """Imported here: both are large, and a store that goes by words alone never needs them."""
    import onnxruntime
    from tokenizers import Tokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # A thread that spins while it waits takes the CPU from whoever would let it go on.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(_LONGEST)
    return session, tokenizer


def _batches(tokens: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Texts of like length together, so that little is padded."""
    order = sorted(range(len(tokens)), key=lambda n: len(tokens[n]))
    yield from (order[start : start + _BATCH] for start in range(0, len(order), _BATCH))
