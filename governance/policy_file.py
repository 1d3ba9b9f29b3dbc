"""Reads `sidecar.toml`: the classes of `policy` say which tables and keys there are, and of which kind.

Whatever is wrong is named by file, line and key, with what was expected and what came.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
import types
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from governance.errors import ContractError, PolicyError
from governance.loading import nearest
from governance.policy import Policy
from governance.policy_failures import DependencyPolicy
from governance.toml_lines import Lines

Place = tuple[str | int, ...]
AT_LINE = re.compile(r" ?\(at line (\d+), column (\d+)\)$")


def read_policy(path: Path) -> Policy:
    """What a file sets; raises `PolicyError` that names the line."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PolicyError(f"policy file {path} does not exist; create it or leave `policy` out") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"policy file {path} cannot be read: {error}") from error
    return parsed(text, path)


def parsed(text: str, path: Path) -> Policy:
    """What the text of a file sets."""
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _no_toml(text, path, error) from error
    return _Reader(text, path).policy(given)


def _no_toml(text: str, path: Path, error: tomllib.TOMLDecodeError) -> PolicyError:
    found = AT_LINE.search(str(error))
    line = int(found.group(1)) if found else text.count("\n") + 1
    what = AT_LINE.sub("", str(error))
    column = f" in column {found.group(2)}" if found else ", where the file ends"
    return PolicyError(f"{path}:{line}: this is no TOML: {what}{column}", file=str(path), line=line)


@cache
def kinds(table: type) -> Mapping[str, Any]:
    """The keys of a table, each with its type; the name of a dependency is no key but its heading."""
    hints = get_type_hints(table)
    return {f.name: hints[f.name] for f in dataclasses.fields(table) if (table, f.name) != (DependencyPolicy, "name")}


def _table_of(kind: Any) -> type | None:
    """The class of a table's content, whether or not it may be left out."""
    found = [one for one in (kind, *_choices(kind)) if dataclasses.is_dataclass(one)]
    return found[0] if found else None  # type: ignore[return-value]  # a class: types hold no instances


def _choices(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if isinstance(kind, types.UnionType) else (kind,)


def _needed(table: type) -> list[str]:
    return [
        f.name for f in dataclasses.fields(table)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]  # fmt: skip


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf")


VALUES: Mapping[Any, tuple[str, Callable[[Any], bool], Callable[[Any], Any]]] = {
    bool: ("true or false", lambda v: isinstance(v, bool), bool),
    int: ("a whole number above 0", lambda v: isinstance(v, int) and _is_number(v), int),
    float: ("a number above 0", _is_number, float),
    str: ("a text", lambda v: isinstance(v, str) and v != "", str),
    tuple: ("a list of texts", lambda v: isinstance(v, list) and all(isinstance(one, str) for one in v), tuple),
}
"""Each type that a key may have: how it is called, what fits it, and what becomes of that."""


class _Reader:
    """One file, with the lines of its keys."""

    def __init__(self, text: str, path: Path) -> None:
        self._text, self._path = text, path

    def wrong(self, place: Place, what: str) -> NoReturn:
        line = Lines(self._text).of(place)
        raise PolicyError(f"{self._path}:{line}: {what}", file=str(self._path), line=line, key=_dotted(place))

    def policy(self, given: Mapping[str, Any]) -> Policy:
        known = kinds(Policy)
        for name in given:
            if name not in known:
                self.wrong((name,), f"unknown table [{name}]; {nearest(name, known)}")
        values = {name: self._content((name,), known[name], content) for name, content in given.items()
                  if name != "dependency"}  # fmt: skip
        if "dependency" in given:
            values["dependency"] = self._dependencies(given["dependency"], values)
        return Policy(**values)

    def _content(self, place: Place, kind: Any, content: Any) -> Any:
        """A table, or all those of a name that may stand several times."""
        if get_origin(kind) is not tuple:
            return self._table(place, _table_of(kind), content)
        if not isinstance(content, list):
            self.wrong(place, f"write [[{_dotted(place)}]]: there may be several, got {content!r}")
        return tuple(self._table((*place, number), get_args(kind)[0], one) for number, one in enumerate(content))

    def _table(self, place: Place, table: Any, content: Any, above: Any = None) -> Any:
        if not isinstance(content, dict):
            self.wrong(place, f"[{_dotted(place)}] must be a table, not {content!r}")
        known, values = kinds(table), {}
        for key, value in content.items():
            if key not in known:
                self.wrong((*place, key), f"unknown key {key!r} in [{_dotted(place)}]; {nearest(key, known)}")
            inner = _table_of(known[key])
            if inner is not None:
                values[key] = self._table((*place, key), inner, value)
            else:
                values[key] = self._value((*place, key), known[key], value)
        missing = [] if above is not None else [name for name in _needed(table) if name not in values]
        if missing:
            self.wrong(place, f"[{_dotted(place)}] needs {' and '.join(missing)}")
        try:
            return table(**values) if above is None else dataclasses.replace(above, **values)
        except (PolicyError, ContractError) as error:
            # The line of the key that the table's own class speaks of.
            key = next((word for word in re.findall(r"\w+", error.reason) if word in content), None)
            self.wrong(place if key is None else (*place, key), f"[{_dotted(place)}] {error.reason}")

    def _value(self, place: Place, kind: Any, value: Any) -> Any:
        wanted = _choices(kind)[0]
        expected, fits, made = VALUES[get_origin(wanted) or wanted]
        if not fits(value):
            self.wrong(place, f"{_dotted(place)} must be {expected}, not {value!r}")
        return made(value)

    def _dependencies(self, content: Any, general: Mapping[str, Any]) -> tuple[DependencyPolicy, ...]:
        """Each with what it sets of its own, on top of the general tables."""
        if not isinstance(content, dict):
            self.wrong(("dependency",), f"[dependency] must be a table of tables, not {content!r}")
        found: dict[str, DependencyPolicy] = {}
        for name, one in content.items():
            made = self._dependency(("dependency", name), one, general)
            for member in made.known_as:
                if member in found:
                    self.wrong(
                        ("dependency", name, "members"),
                        f'[dependency."{name}"] names {member!r}, which [dependency."{found[member].name}"] has',
                    )
                found[member] = made
        return tuple(dict.fromkeys(found.values()))

    def _dependency(self, place: Place, content: Any, general: Mapping[str, Any]) -> DependencyPolicy:
        if not isinstance(content, dict):
            self.wrong(place, f"[{_dotted(place)}] must be a table, not {content!r}")
        inner = {key: table for key, kind in kinds(DependencyPolicy).items() if (table := _table_of(kind))}
        plain = {key: value for key, value in content.items() if key not in inner}
        made = self._table(place, DependencyPolicy, plain, DependencyPolicy(name=str(place[-1])))
        own = {
            key: self._table((*place, key), inner[key], content[key], general.get(key))
            for key in inner.keys() & content.keys()
        }
        whole: DependencyPolicy = dataclasses.replace(made, **own)
        return whole


def _dotted(place: Place) -> str:
    """As the file writes it: `dependency."payments".breaker`."""
    words = [f'"{one}"' if before == "dependency" else str(one)
             for before, one in zip(("", *place), place, strict=False) if isinstance(one, str)]  # fmt: skip
    return ".".join(words)
