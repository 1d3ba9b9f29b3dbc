"""A session as one page of HTML: no script, nothing loaded from anywhere, and nothing in it that could be markup."""

from __future__ import annotations

import time
from html import escape
from typing import Any

from governance.plane.explanation import Payload, node_of, sentence

TONES = {
    "refused": "bad", "failed": "bad", "halt": "bad", "denied": "bad", "stopped": "bad", "unsettled": "bad",
    "asked": "wait", "escalate": "wait", "interrupted": "wait", "revised": "wait", "revise": "wait",
    "approved": "good", "decided": "good", "committed": "good", "finished": "good", "pass": "good",
}  # fmt: skip
STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #777; --bad: #c0392b; --wait: #b9770e; --good: #1e8449; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1rem; margin: 1.6rem 0 .4rem; overflow-wrap: anywhere; }
h2 small, time, .n { color: var(--soft); font-weight: normal; font-size: .8rem; }
ol { list-style: none; margin: 0; padding: 0; border-left: 3px solid var(--line); }
li { padding: .25rem 0 .25rem .9rem; border-left: 3px solid transparent; margin-left: -3px; }
li.bad { border-color: var(--bad); } li.wait { border-color: var(--wait); } li.good { border-color: var(--good); }
p { margin: 0; overflow-wrap: anywhere; white-space: pre-wrap; }
.kind { font: .75rem ui-monospace, monospace; border: 1px solid var(--line); border-radius: 4px; padding: 0 .35em; }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(session: str, rows: list[dict[str, Any]], payload: Payload) -> str:
    """The whole page."""
    begun, ended = rows[0]["ts"], rows[-1]["ts"]
    title = f"Session {session}"
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{_text(title)}</h1>\n"
        f"<p>{len(rows)} events, {_text(_at(begun))} to {_text(_at(ended))}; "
        f"the chain ends with row {rows[-1]['n']}, {_text(str(rows[-1]['hash']))}</p>\n"
        f"{''.join(_sections(rows, payload))}</body>\n</html>\n"
    )


def _sections(rows: list[dict[str, Any]], payload: Payload) -> list[str]:
    """Rows that follow each other at one place, under the name of the place."""
    made: list[str] = []
    place: str | None = None
    for row in rows:
        at = node_of(str(row["path"]))
        if at != place:
            made.append(f"{'</ol>' if place is not None else ''}\n<h2>{_heading(row, at)}</h2>\n<ol>\n")
            place = at
        made.append(_item(row, payload))
    return [*made, "</ol>\n"]


def _heading(row: dict[str, Any], at: str) -> str:
    name = at.rpartition("/")[2].partition(":")[2] or at.rpartition("/")[2]
    return f"{_text(name.partition('#')[0])} <small>{_text(at)}</small>" if at else "The session"


def _item(row: dict[str, Any], payload: Payload) -> str:
    tone = TONES.get(str(row["kind"]).rpartition(".")[2], "")
    return (
        f'<li class="{tone}"><time>{_text(_at(row["ts"]))}</time> <span class="n">row {_text(str(row["n"]))}</span> '
        f'<span class="kind">{_text(str(row["kind"]))}</span><p>{_text(sentence(row, payload))}</p></li>\n'
    )


def _text(text: str) -> str:
    """Text as text: no markup, and no characters that would turn what is read around."""
    safe = text.encode("utf-8", "backslashreplace").decode()
    return escape("".join(c if c.isprintable() or c in "\n\t" else f"\\u{ord(c):04x}" for c in safe))


def _at(ts: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ts / 1e9))
