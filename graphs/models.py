"""The chat model of the example graphs: any endpoint that speaks the OpenAI protocol, chosen by the environment."""

from __future__ import annotations

import os

from langchain_openai import ChatOpenAI
from pydantic import SecretStr

DEFAULT_MODEL = "gpt-4.1-mini"
ENDPOINT = ("OPENAI_API_KEY", "OPENAI_BASE_URL")


class ModelNotConfigured(RuntimeError):
    """No endpoint is named, so no model can be asked; the message says what to set."""


def missing() -> str | None:
    """Say what has to be set before a model can be asked, or None where everything is there."""
    if any(os.environ.get(name) for name in ENDPOINT):
        return None
    return (
        "no model endpoint: expected OPENAI_API_KEY, or OPENAI_BASE_URL for a server of your own, and found "
        "neither; set one (SIDECAR_MODEL names the model), or run `make demo`, which replays recorded answers"
    )


def model_name() -> str:
    return os.environ.get("SIDECAR_MODEL") or DEFAULT_MODEL


def endpoint() -> str:
    return os.environ.get("OPENAI_BASE_URL") or "the OpenAI API"


def chat_model(*, max_tokens: int = 400) -> ChatOpenAI:
    """Build the model that `SIDECAR_MODEL` names; raises `ModelNotConfigured` where no endpoint is set."""
    problem = missing()
    if problem is not None:
        raise ModelNotConfigured(problem)
    # A server of your own often wants no key, but the client insists on one.
    key = os.environ.get("OPENAI_API_KEY") or "none"
    return ChatOpenAI(
        model=model_name(),
        api_key=SecretStr(key),
        temperature=0,
        max_completion_tokens=max_tokens,
    )
