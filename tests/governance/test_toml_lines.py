"""The line of a key is found however TOML may write it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.toml_lines import Lines

TEXT = '''# [no.table]
top = "a # b"
"quoted key" = 1

[plain] # ]
one = """
two = 2 " ""
[no.table]""""
list = [ # [
    "x]", # "
    { a = 1, "b.c" = 'd' },
]
inline = { x = { y = 3 }, z = [] }
dotted.deep . er = 1979-05-27 07:32:00

[[many]]
a = 1
[many.inner]
b = \'\'\'\'\'two\'\'\'\'\'
[[many]]
a = 2
[[many.more]]
c = "\\""
[plain."under.a dot"]
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top",), 2),
        (("quoted key",), 3),
        (("plain",), 5),
        (("plain", "one"), 6),
        (("plain", "list"), 9),
        (("plain", "list", 0), 10),
        (("plain", "list", 1, "b.c"), 11),
        (("plain", "inline", "x", "y"), 13),
        (("plain", "inline", "z"), 13),
        (("plain", "dotted", "deep", "er"), 14),
        (("many",), 16),
        (("many", 0, "a"), 17),
        (("many", 0, "inner", "b"), 19),
        (("many", 1), 20),
        (("many", 1, "a"), 21),
        (("many", 1, "more", 0, "c"), 23),
        (("plain", "under.a dot"), 24),
    ],
)
def test_every_way_to_write_a_key_has_its_line(path: tuple[str | int, ...], line: int) -> None:
    tomllib.loads(TEXT)

    assert line == Lines(TEXT).of(path)


def test_what_has_no_line_of_its_own_has_that_of_what_it_is_in() -> None:
    assert 5 == Lines(TEXT).of(("plain", "missing", 3))
    assert 1 == Lines(TEXT).of(("nowhere",))
    assert 1 == Lines("").of(())


KEYS = st.sampled_from(["a", "b", "x-y", "'l.t'", '"q\\"u"', '"é"', '"[x]"', "1"])
NOISE = st.sampled_from(
    ['"# ] } [n]"', '\'"""\'', '"""\n[[t]]\na = """', "'''\n# x\n''''", "true", "1e3", "[]", "{}", '["\\"]", 1]']
)
GAP = st.sampled_from(["", " ", "\n", ' # ] "\n', "\n\n"])


@st.composite
def documents(draw: st.DrawFn) -> str:
    """TOML in which every number above 90000 stands once; not all of it is valid."""
    number = iter(range(90001, 99999))

    def value(depth: int) -> str:
        kind = draw(st.sampled_from(["number", "number", "noise", "array", "table"]))
        if kind == "noise":
            return draw(NOISE)
        if kind == "array" and depth < 3:
            inside = [f"{draw(GAP)}{value(depth + 1)}{draw(GAP)}" for _ in range(draw(st.integers(0, 3)))]
            return f"[{draw(GAP)}{','.join(inside)}]"
        if kind == "table" and depth < 3:
            inside = [f" {draw(KEYS)} = {value(depth + 1)}" for _ in range(draw(st.integers(0, 2)))]
            return f"{{{','.join(inside)} }}"
        return str(next(number))

    def dotted() -> str:
        return " . ".join(draw(st.lists(KEYS, min_size=1, max_size=3)))

    lines = []
    for _ in range(draw(st.integers(1, 8))):
        kind = draw(st.sampled_from(["pair", "pair", "table", "many", "comment"]))
        if kind == "pair":
            lines.append(f"{draw(st.sampled_from(['', '  ']))}{dotted()} = {value(0)}")
        elif kind == "comment":
            lines.append("# [a]\n")
        else:
            lines.append(f"[{dotted()}]" if kind == "table" else f"[[ {dotted()} ]] # x")
    return draw(st.sampled_from(["\n", "\r\n"])).join(lines)


def numbers(found: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], int]]:
    if isinstance(found, int) and found > 90000:
        yield path, found
    inside = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    for key, one in inside:
        yield from numbers(one, (*path, key))


@given(documents())
def test_the_line_of_every_value_is_the_one_it_stands_in(text: str) -> None:
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return

    wanted = {path: text[: text.index(str(number))].count("\n") + 1 for path, number in numbers(found)}

    assert wanted == {path: Lines(text).of(path) for path in wanted}
