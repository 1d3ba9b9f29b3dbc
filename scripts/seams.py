"""Run the seam tests on the lowest and the newest LangGraph that pyproject.toml allows; `.ci/run` runs it.

A version that .venv already holds was tested there. Any other gets an environment of its own for this run
alone, with everything outside the LangGraph family held at constraints.txt.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = sorted(str(file.relative_to(ROOT)) for file in ROOT.glob("tests/governance/test_seams*.py"))


def allowed():
    """The project's own requirement on LangGraph, such as `langgraph>=1.2.22,<1.3`."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return next(line for line in declared if re.match(r"langgraph\s*[<>=~!]", line))


def lowest(requirement):
    return re.search(r">=\s*([\w.]+)", requirement).group(1)


def newest(requirement):
    """What pip would choose today, without installing it."""
    ask = ["install", "--dry-run", "--ignore-installed", "--no-deps", "-qq", "--report", "-", requirement]
    answer = subprocess.run([sys.executable, "-m", "pip", *ask], check=False, stdout=subprocess.PIPE)
    if answer.returncode != 0:
        sys.exit(f"seams: pip cannot tell the newest {requirement}; is the index reachable?")
    return json.loads(answer.stdout)["install"][0]["metadata"]["version"]


def constraints(folder, langgraph):
    """constraints.txt with this LangGraph, and its checkpoint, prebuilt and sdk packages left to pip."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    kept = [line for line in lines if not re.match(r"langgraph[\w-]*==", line)]
    file = folder / "constraints.txt"
    file.write_text("\n".join([*kept, f"langgraph=={langgraph}", ""]))
    return file


def try_on(langgraph):
    """Whether the seam tests pass on this version."""
    print(f"seams: testing on LangGraph {langgraph}", flush=True)
    with tempfile.TemporaryDirectory(prefix="sidecar-seams-") as name:
        folder = Path(name)
        python = folder / "venv" / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        packages = ["--constraint", constraints(folder, langgraph), "--editable", f"{ROOT}[dev]"]
        subprocess.run([python, "-m", "pip", "install", "-qq", *packages], check=True)
        tests = subprocess.run([python, "-m", "pytest", "-q", *TESTS], cwd=ROOT, env=clean(), check=False)
        return tests.returncode == 0


def clean():
    """The environment without what would lead the other interpreter back into .venv."""
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}


def main():
    if not TESTS:
        return print("seams: skipped, there is no tests/governance/test_seams*.py", flush=True)
    requirement, here = allowed(), version("langgraph")
    others = sorted({lowest(requirement), newest(requirement)} - {here})
    if not others:
        return print(f"seams: {requirement} allows {here} alone, which is tested above", flush=True)
    failed = [other for other in others if not try_on(other)]
    if failed:
        versions = ", ".join(failed)
        sys.exit(f"seams: failed on LangGraph {versions}; mend governance/seams/ or narrow {requirement}")
    return print(f"seams: passed on LangGraph {', '.join(others)} too", flush=True)


if __name__ == "__main__":
    main()
