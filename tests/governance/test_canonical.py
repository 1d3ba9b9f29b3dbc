"""One text for one value: independent of order, address and process; hostile values are made printable."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage
from pydantic import BaseModel

from governance import canonical

ROOT = Path(__file__).resolve().parents[2]
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.sets(st.integers()), max_leaves=8
)


@given(value=values)
def test_every_value_has_a_text_that_is_json(value: Any) -> None:
    json.loads(canonical.text(value))


@given(value=st.dictionaries(st.text(max_size=5), values, min_size=2, max_size=5))
def test_the_order_of_keys_does_not_matter(value: dict[str, Any]) -> None:
    assert canonical.encode(value) == canonical.encode(dict(reversed(value.items())))


@given(a=st.dictionaries(st.text(), st.integers() | st.text() | st.booleans()), b=st.dictionaries(st.text(), st.text()))
def test_different_mappings_have_different_digests(a: dict[str, Any], b: dict[str, Any]) -> None:
    same = json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)

    assert same == (canonical.digest(a) == canonical.digest(b))


@dataclass
class Point:
    x: int


class Model(BaseModel):
    x: int


class Opaque:
    pass


def function() -> None: ...


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"b": 1, "a": [True, None]}, '{"a":[true,null],"b":1}'),
        ((1, 2), "[1,2]"),
        ({3, 1, 2}, "[1,2,3]"),
        (b"\x01\xff", '"01ff"'),
        (Point(1), '{"x":1}'),
        (Model(x=1), '{"x":1}'),
        (float("nan"), "null"),
        (2**80, f'"{2**80}"'),
        ("\ud800", '"\\\\ud800"'),
        ({1: "a"}, '{"1":"a"}'),
    ],
)
def test_what_json_does_not_know_becomes_text_that_depends_on_the_value(value: Any, expected: str) -> None:
    assert expected == canonical.text(value)


@pytest.mark.parametrize("value", [Opaque(), [Opaque()], function, Opaque, Opaque().__init__])
def test_no_address_of_memory_gets_into_a_text(value: Any) -> None:
    assert "0x" not in canonical.text(value)


def test_two_objects_without_a_value_of_their_own_are_alike() -> None:
    assert canonical.digest(Opaque()) == canonical.digest(Opaque())


def test_messages_are_their_content_and_kind() -> None:
    assert canonical.digest(HumanMessage("a", id="1")) == canonical.digest(HumanMessage("a", id="1"))
    assert canonical.digest(HumanMessage("a")) != canonical.digest(HumanMessage("b"))


def test_a_value_that_contains_itself_has_a_text() -> None:
    value: list[Any] = [1]
    value.append(value)

    assert canonical.text(value).startswith("[1,[1,")


def test_a_value_nested_very_deeply_has_a_text() -> None:
    value: Any = []
    for _ in range(2000):
        value = [value]

    assert "..." in canonical.text(value)


def test_a_digest_is_the_same_in_every_process() -> None:
    program = "from governance import canonical; print(canonical.digest([{'a', 'b', 'c'}, {'x': b'1'}, print]))"
    run = [sys.executable, "-c", program]
    found = {
        subprocess.run(
            run, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, timeout=60
        ).stdout
        for seed in ("1", "2")
    }

    assert 1 == len(found)
