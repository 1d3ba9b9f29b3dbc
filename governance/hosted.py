"""Tools that a model's provider runs by itself: web search, MCP servers, code interpreters.

LangChain never sees their calls, so a contract can only allow or refuse that a model is given them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from governance.call import ModelCall

OURS = frozenset({"function", "custom"})
"""Types of tools whose calls come back to us, to be run as LangChain tools."""
DESCRIBED = frozenset({"function_declarations", "functionDeclarations", "toolSpec", "cachePoint"})
"""Keys under which Google and Bedrock keep descriptions of our tools."""
SWITCHES = ("mcp_servers", "web_search_options", "search_parameters")
"""Options of a model that make its provider search, or call other servers."""


def hosted(call: ModelCall) -> Iterator[tuple[str, ...]]:
    """The names, the type first, of each tool that the provider would run for this call."""
    for options in _options(call):
        tools = options.get("tools")
        for tool in tools if isinstance(tools, (list, tuple)) else ():
            if isinstance(tool, Mapping):
                yield from _names(tool)
        for switch in SWITCHES:
            if options.get(switch) is not None:
                yield (switch,)


def _options(call: ModelCall) -> Iterator[Mapping[str, Any]]:
    """What the provider is asked with, from the call and from the model itself."""
    own = {name: getattr(call.model, name, None) for name in ("model_kwargs", "extra_body", *SWITCHES)}
    for options in (call.options, call.options.get("extra_body"), own, own["model_kwargs"], own["extra_body"]):
        if isinstance(options, Mapping):
            yield options


def _names(tool: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    kind = tool.get("type")
    if kind is None and "name" not in tool:
        yield from ((str(key),) for key in tool if key not in DESCRIBED)
    elif kind is not None and kind not in OURS:
        known = (kind, tool.get("name"), tool.get("server_label"))
        yield tuple(str(name) for name in known if name is not None)
