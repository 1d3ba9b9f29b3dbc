"""Cassettes as files: vcrpy's format, laid out so that people can read and review it.

JSON bodies are stored parsed, event streams as literal text, anything that is not UTF-8 as base64. What is
read back is byte for byte what was stored, except that JSON may be spaced differently.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import yaml
from vcr.request import Request

from governance.testing.errors import CassetteMissing, CassetteUnreadable
from governance.testing.identity import KEY_HEADER, body_of

VERSION = 1
HOST = "recorded.invalid"
REQUEST_HEADERS = frozenset({"content-type", KEY_HEADER})
RESPONSE_HEADERS = frozenset({"content-type", "retry-after", "retry-after-ms"})
RECORD_AGAIN = "record it again with `pytest --record-cassettes=rewrite`"

Interaction = tuple[Any, dict[str, Any]]
"""A `vcr.request.Request` and the response dictionary that vcrpy plays."""


def read(path: Path) -> list[Interaction]:
    """Load every interaction of a cassette, or say in one line what is wrong with the file."""
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_loader())
    except FileNotFoundError:
        raise CassetteMissing(
            f"there is no cassette at {path}: set an endpoint (OPENAI_BASE_URL or OPENAI_API_KEY) "
            "and record it with `pytest --record-cassettes=new`"
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise _unreadable(path, error) from error
    try:
        if document["version"] != VERSION:
            raise ValueError(f"version {VERSION} was expected, found {document['version']!r}")
        return [_interaction(entry) for entry in document["interactions"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable(path, error) from error


def write(path: Path, interactions: Sequence[Interaction]) -> None:
    """Store a cassette whole or not at all: an interrupted write leaves the old file as it was."""
    text = render(interactions)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem[:80]}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8", newline="")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def render(interactions: Sequence[Interaction]) -> str:
    """The text of a cassette."""
    document = {"version": VERSION, "interactions": [_entry(*interaction) for interaction in interactions]}
    text = str(yaml.dump(document, Dumper=_Readable, allow_unicode=True, sort_keys=False, width=120))
    # YAML has corners where readable text does not come back as it was; escaped text always does.
    if yaml.load(text, Loader=_loader()) != document:
        text = str(yaml.safe_dump(document, allow_unicode=False, sort_keys=False))
    return text


def _entry(request: Any, response: Mapping[str, Any]) -> dict[str, Any]:
    headers = {name.lower(): value for name, value in request.headers.items()}
    return {
        "request": {
            "method": request.method,
            "uri": _without_host(request.uri),
            "headers": _kept(headers, REQUEST_HEADERS),
            **_stored(body_of(request)),
        },
        "response": {
            "status": dict(response["status"]),
            "headers": _kept(response["headers"], RESPONSE_HEADERS),
            **_stored(response["body"]["string"] or b"", wrapped=True),
        },
    }


def _interaction(entry: Mapping[str, Any]) -> Interaction:
    request, response = entry["request"], entry["response"]
    status = response["status"]
    return (
        Request(request["method"], request["uri"], _restored(request), dict(request["headers"])),
        {
            "status": {"code": int(status["code"]), "message": status["message"]},
            "headers": {name: list(values) for name, values in response["headers"].items()},
            "body": {"string": _restored(response)},
        },
    )


def _stored(body: bytes, *, wrapped: bool = False) -> dict[str, Any]:
    text = _text(body)
    if isinstance(text, str):
        try:
            parsed = json.loads(text)
        except ValueError:
            parsed = None
        # Duplicate keys, NaN and lone surrogates do not survive parsing: such bodies stay text.
        if isinstance(parsed, dict | list) and _survives(parsed, text):
            return {"parsed_body": _placeless(parsed) if wrapped else parsed}
    return {"body": {"string": text}} if wrapped else {"body": text}


def _placeless(answer: dict[str, Any] | list[Any]) -> dict[str, Any] | list[Any]:
    """An answer without a path of the machine it came from: local servers name a model by its file."""
    if isinstance(answer, dict) and isinstance(answer.get("model"), str) and answer["model"].startswith("/"):
        return {**answer, "model": PurePosixPath(answer["model"]).stem}
    return answer


def _restored(side: Mapping[str, Any]) -> bytes:
    if "parsed_body" in side:
        return json.dumps(side["parsed_body"], ensure_ascii=False).encode()
    body = side["body"]["string"] if isinstance(side["body"], Mapping) else side["body"]
    return body if isinstance(body, bytes) else (body or "").encode()


def _survives(parsed: Any, text: str) -> bool:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(items) != len(dict(items)):
            raise ValueError("duplicate key")
        return dict(items)

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        json.loads(text, object_pairs_hook=pairs, parse_constant=refuse)
        json.dumps(parsed, ensure_ascii=False).encode()
    except ValueError:
        return False
    return True


def _text(body: bytes) -> str | bytes:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return body


def _kept(headers: Mapping[str, Any], names: frozenset[str]) -> dict[str, list[str]]:
    kept = {}
    for name, values in headers.items():
        if name.lower() in names:
            listed = values if isinstance(values, list) else [values]
            kept[name.lower()] = [value.decode() if isinstance(value, bytes) else str(value) for value in listed]
    return kept


def _without_host(uri: str) -> str:
    """The host is never matched, and an internal host name has no place in a repository."""
    parts = urlsplit(uri)
    return urlunsplit((parts.scheme, HOST, parts.path, parts.query, ""))


def _unreadable(path: Path, error: Exception) -> CassetteUnreadable:
    reason = " ".join(str(error).split()) if str(error) else type(error).__name__
    if isinstance(error, KeyError):
        reason = f"{error} is missing"
    elif isinstance(error, TypeError | AttributeError):
        reason = "this is not the structure of a cassette"
    return CassetteUnreadable(
        f"the cassette {path} cannot be read ({reason}): restore it from version control, or {RECORD_AGAIN}"
    )


def _loader() -> Any:
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Readable(yaml.SafeDumper):
    """Text of several lines is written as a literal block, so that a prompt reads like a prompt."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    if re.search("[\r\x85\u2028\u2029]", text):
        style = '"'
    else:
        style = "|" if "\n" in text and not re.search(r"[ \t](?:\n|$)", text) else ""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style or None)


_Readable.add_representer(str, _represent)
