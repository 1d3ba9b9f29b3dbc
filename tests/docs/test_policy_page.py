"""The page about the policy file names every key there is, with its default."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

from governance.policy import Policy
from governance.policy_failures import DependencyPolicy
from governance.policy_file import kinds

PAGE = Path(__file__).parents[2] / "docs" / "policy.md"
ROW = re.compile(r"^\| (?P<table>[^|]*?) ?\| (?P<keys>[^|]*) \| (?P<default>[^|]*) \| [^|]* \|$", re.M)


def told() -> dict[str, dict[str, str]]:
    """Of each table its keys with their defaults, as the page says them."""
    found: dict[str, dict[str, str]] = {}
    table = ""
    for row in ROW.finditer(PAGE.read_text(encoding="utf-8")):
        named = re.fullmatch(r"`\[+(\w+)[^`]*\]`", row["table"].strip())
        table = named[1] if named else table
        for key in re.findall(r"`(\w+)`", row["keys"]):
            found.setdefault(table, {})[key] = row["default"].strip(" `")
    return found


def classes() -> Iterator[tuple[str, Any]]:
    for name, kind in kinds(Policy).items():
        inner = get_args(kind)[0] if get_origin(kind) is tuple or get_args(kind) else kind
        yield name, inner


def test_every_key_of_every_table_is_on_the_page_and_no_other() -> None:
    assert {name: set(kinds(table)) for name, table in classes()} == {name: set(keys) for name, keys in told().items()}


def test_every_default_is_the_one_that_the_page_says() -> None:
    page = told()
    for name, table in classes():
        if table is DependencyPolicy:
            continue
        for field in dataclasses.fields(table):
            needed = field.default is dataclasses.MISSING
            value = "needed" if needed else {None: "none", (): "[]"}.get(field.default, field.default)
            value = json.dumps(value) if isinstance(value, tuple) else value
            shown = f"{value:g}" if isinstance(value, (int, float)) else str(value)

            assert shown == page[name][field.name], f"{name}.{field.name}"
