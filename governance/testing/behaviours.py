"""What a faulty model server can do with one request; each is a value that goes into its script."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class Exchange(Protocol):
    """One request on its way to an answer, as a behaviour sees it."""

    number: int
    body: dict[str, Any]
    released: threading.Event

    def send(self, status: int, body: bytes, *, headers: Mapping[str, str]) -> None: ...
    def start_events(self) -> None: ...
    def send_event(self, data: str) -> None: ...
    def end_events(self) -> None: ...
    def hang_up(self) -> None: ...


Behaviour = Callable[[Exchange], None]
JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class ToolCall:
    """A tool call in a model's answer."""

    name: str
    args: Mapping[str, Any]
    id: str = "call_1"


def ok(text: str = "", *, tool_calls: Sequence[ToolCall] = ()) -> Behaviour:
    """Answer as a model does: whole, or as events where the client asked for a stream."""

    def behave(exchange: Exchange) -> None:
        if not exchange.body.get("stream"):
            exchange.send(200, json.dumps(_completion(exchange, text, tool_calls)).encode(), headers=JSON)
            return
        exchange.start_events()
        for chunk in _chunks(exchange, text, tool_calls):
            exchange.send_event(json.dumps(chunk))
        exchange.send_event("[DONE]")
        exchange.end_events()

    return behave


def status(code: int, *, retry_after: float | None = None, message: str = "the server was told to fail") -> Behaviour:
    """Answer with an error, as 429 with `Retry-After` or 500."""
    headers = JSON if retry_after is None else {**JSON, "retry-after": f"{retry_after:g}"}
    body = json.dumps({"error": {"message": message, "type": "server_error", "code": str(code)}}).encode()
    return lambda exchange: exchange.send(code, body, headers=headers)


def timeout() -> Behaviour:
    """Say nothing until the server is told to `release()` or closes; then hang up."""

    def behave(exchange: Exchange) -> None:
        exchange.released.wait()
        exchange.hang_up()

    return behave


def slow(seconds: float, then: Behaviour) -> Behaviour:
    """Wait before another behaviour; `release()` and closing end the wait early."""

    def behave(exchange: Exchange) -> None:
        exchange.released.wait(seconds)
        then(exchange)

    return behave


def depending(choose: Callable[[dict[str, Any]], Behaviour]) -> Behaviour:
    """Behave as a function of the request's body says."""
    return lambda exchange: choose(exchange.body)(exchange)


def cut_stream(text: str, *, after: int = 1) -> Behaviour:
    """Send so many events of an answer, then break the connection in the middle of the stream."""

    def behave(exchange: Exchange) -> None:
        exchange.start_events()
        for chunk in _chunks(exchange, text, ())[:after]:
            exchange.send_event(json.dumps(chunk))
        exchange.hang_up()

    return behave


def malformed_json() -> Behaviour:
    """Answer 200 with JSON that breaks off in the middle."""
    return lambda exchange: exchange.send(200, b'{"id": "chatcmpl-1", "choices": [{"mess', headers=JSON)


def _completion(exchange: Exchange, text: str, tool_calls: Sequence[ToolCall]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text or None}
    if tool_calls:
        message["tool_calls"] = [_tool_call(call) for call in tool_calls]
    choice = {"index": 0, "message": message, "finish_reason": _finish(tool_calls)}
    usage = _usage(exchange, text, tool_calls)
    return {**_head(exchange, "chat.completion"), "choices": [choice], "usage": usage}


def _chunks(exchange: Exchange, text: str, tool_calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": word} for word in re.findall(r"\S+\s*|\s+", text)]
    deltas += [{"tool_calls": [{"index": index, **_tool_call(call)}]} for index, call in enumerate(tool_calls)]
    head = _head(exchange, "chat.completion.chunk")
    chunks = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": _finish(tool_calls)}]})
    if (exchange.body.get("stream_options") or {}).get("include_usage"):
        chunks.append({**head, "choices": [], "usage": _usage(exchange, text, tool_calls)})
    return chunks


def _head(exchange: Exchange, kind: str) -> dict[str, Any]:
    model = exchange.body.get("model", "faulty")
    return {"id": f"chatcmpl-{exchange.number}", "object": kind, "created": exchange.number, "model": model}


def _tool_call(call: ToolCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": json.dumps(call.args)},
    }


def _finish(tool_calls: Sequence[ToolCall]) -> str:
    return "tool_calls" if tool_calls else "stop"


def _usage(exchange: Exchange, text: str, tool_calls: Sequence[ToolCall]) -> dict[str, int]:
    """Four characters are a token: near enough for a budget, and the same in every run."""
    asked = len(json.dumps(exchange.body.get("messages", []))) // 4 + 1
    answered = (len(text) + len(json.dumps([_tool_call(call) for call in tool_calls]))) // 4 + 1
    return {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}
