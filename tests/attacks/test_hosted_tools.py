"""Tools that a model's provider runs by itself: a contract names them, or the model is not given them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field

from governance import Approval, Contract, Sidecar, Tool, at_most, govern
from governance.errors import AuthorityRefused

MCP = {"type": "mcp", "server_label": "bank", "server_url": "https://bank.example", "require_approval": "never"}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 5}

ASKED_FOR: dict[str, dict[str, Any]] = {
    "mcp": {"tools": [MCP]},
    "named": {"tools": [SEARCH]},
    "openai": {"tools": [{"type": "web_search"}]},
    "code": {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]},
    "google": {"tools": [{"google_search": {}}]},
    "google beside ours": {"tools": [{"function_declarations": [{"name": "pay"}], "code_execution": {}}]},
    "bedrock": {"tools": [{"systemTool": {"name": "nova_grounding"}}]},
    "behind ours": {"tools": [{"type": "function", "function": {"name": "look"}}, MCP]},
    "tuple": {"tools": (MCP,)},
    "servers": {"mcp_servers": [{"type": "url", "url": "https://bank.example", "name": "bank"}]},
    "search option": {"web_search_options": {}},
    "extra body": {"extra_body": {"tools": [MCP]}},
}


class Hosted(FakeListChatModel):
    """Notes what the provider is asked with."""

    responses: list[str] = Field(default_factory=lambda: ["done"])
    seen: list[Any] = Field(default_factory=list)
    model_kwargs: dict[str, Any] = Field(default_factory=dict)
    extra_body: dict[str, Any] | None = None
    mcp_servers: list[Any] | None = None

    def _call(self, *args: Any, **kwargs: Any) -> str:
        self.seen.append(kwargs)
        return "done"


def asking(model: Any, contract: Contract, one: Any, sidecar: Sidecar, **options: Any) -> Any:
    return govern(
        one(lambda s: {"out": model.invoke("hi", **options).content}), contracts={"n": contract}, sidecar=sidecar
    )


@pytest.mark.parametrize("form", list(ASKED_FOR))
@pytest.mark.parametrize("how", ["bound", "given"])
def test_a_tool_that_the_provider_runs_needs_leave_too(how: str, form: str, sidecar: Sidecar, one: Any) -> None:
    model = Hosted()
    bound: Any = model.bind(**ASKED_FOR[form]) if how == "bound" else model
    graph = asking(bound, Contract(), one, sidecar, **(ASKED_FOR[form] if how == "given" else {}))

    with pytest.raises(AuthorityRefused, match="provider"):
        graph.invoke({"out": ""})

    assert [] == model.seen


OWN: dict[str, dict[str, Any]] = {
    "model_kwargs": {"model_kwargs": {"tools": [MCP]}},
    "extra_body": {"extra_body": {"tools": [MCP]}},
    "servers": {"mcp_servers": [{"url": "https://bank.example"}]},
}


@pytest.mark.parametrize("way", list(OWN))
def test_what_a_model_was_made_with_needs_leave_too(way: str, sidecar: Sidecar, one: Any) -> None:
    model = Hosted(**OWN[way])

    with pytest.raises(AuthorityRefused, match="provider"):
        asking(model, Contract(), one, sidecar).invoke({"out": ""})

    assert [] == model.seen


@pytest.mark.parametrize("way", ["stream", "astream", "ainvoke", "batch"])
def test_no_way_of_asking_a_model_is_a_way_past(way: str, sidecar: Sidecar, one: Any) -> None:
    model = GenericFakeChatModel(messages=iter([AIMessage("done")] * 3))
    bound: Any = model.bind(tools=[MCP])

    async def node(state: Any) -> Any:
        if way == "stream":
            list(bound.stream("hi"))
        elif way == "astream":
            [piece async for piece in bound.astream("hi")]
        elif way == "batch":
            bound.batch(["hi", "ho"])
        else:
            await bound.ainvoke("hi")

    graph = govern(one(node), contracts={"n": Contract()}, sidecar=sidecar)

    with pytest.raises(AuthorityRefused, match="provider"):
        asyncio.run(graph.ainvoke({"out": ""}))


@pytest.mark.parametrize(
    ("hosted", "name"),
    [
        (MCP, "mcp"),
        (MCP, "bank"),
        (SEARCH, "web_search"),
        (SEARCH, "web_search_20250305"),
        ({"google_search": {}}, "google_search"),
    ],
)
def test_a_contract_names_it_by_its_type_or_its_name(hosted: Any, name: str, sidecar: Sidecar, one: Any) -> None:
    model = Hosted()

    asking(model, Contract(tools=[name]), one, sidecar, tools=[hosted]).invoke({"out": ""})

    assert [{"tools": [hosted]}] == [{"tools": kwargs["tools"]} for kwargs in model.seen]


@pytest.mark.parametrize(
    "rule",
    [Tool("mcp", approval=Approval("money")), Tool("mcp", where={"amount": at_most(5)})],
    ids=["person", "where"],
)
def test_a_condition_that_nobody_can_check_is_no_leave(rule: Tool, sidecar: Sidecar, one: Any) -> None:
    model = Hosted()

    with pytest.raises(AuthorityRefused, match="conditions"):
        asking(model, Contract(tools=[rule]), one, sidecar, tools=[MCP]).invoke({"out": ""})

    assert [] == model.seen


def test_the_model_is_called_by_no_name_that_a_rule_answers_for(sidecar: Sidecar, one: Any) -> None:
    """A rule for a tool that happens to be called like the model must not turn its refusal into an answer."""
    model = Hosted()

    with pytest.raises(AuthorityRefused):
        contract = Contract(tools=[Tool("Hosted", refusals="answer")])
        asking(model, contract, one, sidecar, tools=[MCP]).invoke({"out": ""})

    assert [] == model.seen


def test_tools_that_come_back_to_be_run_here_are_judged_when_they_are(sidecar: Sidecar, one: Any) -> None:
    @tool
    def look(word: str) -> str:
        """Look a word up."""
        return word

    ours = [
        look,
        convert_to_openai_tool(look),
        {"type": "custom", "name": "look"},
        {"name": "look", "input_schema": {}},
        {"toolSpec": {"name": "look"}},
        {"function_declarations": [{"name": "look"}]},
    ]
    model = Hosted()

    asking(model, Contract(), one, sidecar, tools=ours).invoke({"out": ""})

    assert 1 == len(model.seen)


def test_who_may_use_every_tool_may_use_the_provider_s(sidecar: Sidecar, one: Any) -> None:
    model = Hosted()

    asking(model, Contract(waives=["tools"]), one, sidecar, tools=[MCP]).invoke({"out": ""})

    assert 1 == len(model.seen)
