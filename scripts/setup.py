"""Make .venv ready for the project, once; `make setup` runs it and it needs only the standard library.

uv installs when it is on the PATH, pip otherwise. A stamp in .venv holds a digest of what was installed:
while pyproject.toml and constraints.txt stay as they are, the next run does nothing. An interrupted run
leaves the stamp `unfinished`, and the next one builds .venv anew.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / ".sidecar-setup"
INPUTS = (ROOT / "pyproject.toml", ROOT / "constraints.txt")
UNFINISHED = "unfinished"


def wanted():
    """The digest of everything the installed set depends on; the place counts, a moved .venv does not run."""
    parts = [os.fsencode(ROOT), *(file.read_bytes() for file in INPUTS)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def installed():
    return STAMP.read_text() if STAMP.exists() and PYTHON.exists() else ""


def has_pip():
    probe = [str(PYTHON), "-c", "import pip"]
    return PYTHON.exists() and subprocess.run(probe, stderr=subprocess.DEVNULL, check=False).returncode == 0


def create(uv):
    if uv:
        return [uv, "venv", "--quiet", "--seed", "--clear", "--python", sys.executable, str(VENV)]
    return [sys.executable, "-m", "venv", "--clear", str(VENV)]


def install(uv):
    chosen = ["--constraint", str(ROOT / "constraints.txt"), "--editable", f"{ROOT}[dev]"]
    if uv:
        return [uv, "pip", "install", "--quiet", "--python", str(PYTHON), *chosen]
    # Twice quiet leaves errors only: how a machine's own pip is configured is not this project's news.
    return [str(PYTHON), "-m", "pip", "install", "-qq", "--disable-pip-version-check", *chosen]


def run(step, command):
    if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
        sys.exit(f"setup: could not {step}; the reason is above. Mend it, then run this again.")


def prepare(uv, digest):
    if installed() == UNFINISHED or not has_pip():
        print(f"setup: creating .venv with Python {sys.version.split()[0]}", flush=True)
        run("create .venv (Debian and Ubuntu need: apt install python3-venv)", create(uv))
    STAMP.write_text(UNFINISHED)
    print(f"setup: installing into .venv with {'uv' if uv else 'pip'}; a first time takes minutes", flush=True)
    run("install the project", install(uv))
    STAMP.write_text(digest)


def fetch_model():
    """The embedding model of memory/; without it recall goes by words alone, so a failure stops nothing."""
    subprocess.run([str(PYTHON), "-m", "memory.fetch"], cwd=ROOT, check=False)


def main():
    if sys.version_info < (3, 11):  # noqa: UP036 - this file meets whatever Python the machine has
        found = sys.version.split()[0]
        sys.exit(f"setup: expected Python 3.11 or newer, found {found}; try: make setup PYTHON=python3.11")
    digest = wanted()
    if installed() == digest:
        return print("setup: nothing to do, .venv is up to date", flush=True)
    started = time.monotonic()
    prepare(shutil.which("uv"), digest)
    fetch_model()
    return print(f"setup: done in {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nsetup: interrupted; the next run starts over")
