"""The options that every benchmark takes."""

from __future__ import annotations

import argparse


def options_of(name: str, doc: str | None, *, quick: str, data: str) -> argparse.ArgumentParser:
    """A parser for `python -m benchmarks.NAME`; `quick` and `data` say what these two mean here."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=doc)
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    parser.add_argument("--data", help=data)
    return parser
