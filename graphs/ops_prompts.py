"""What the model is asked in the ops graph, and the forms of its answers.

All of it reaches the model, names and docstrings too: whoever changes a word records the cassettes again.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, create_model

TRIAGE = (
    "You are on call. Judge the alerts: sev1 when customers cannot do what they came for, sev2 when it is "
    "slow or partly broken, sev3 otherwise. Summarise in one sentence."
)
INVESTIGATE = (
    "You investigate an incident with read-only tools. Call the tool that brings you closer to the service "
    "in which it began; reply when the evidence names a cause."
)
DIAGNOSE = (
    "Name the one service in which the incident began, the cause in one sentence, and as evidence the ids of "
    "the lines that show it."
)
PLAN = (
    "You repair services. Choose the one action that takes back the change behind the incident: rollback_deploy "
    "for a version, set_config for a setting."
)

EvidenceId = Annotated[str, Field(pattern=r"^[A-Za-z0-9:_./-]+$")]


class Triage(BaseModel):
    """How bad it is."""

    severity: Literal["sev1", "sev2", "sev3"]
    summary: str


class Diagnosis(BaseModel):
    """Where it began, why, and the ids of the evidence for that."""

    service: str
    cause: str
    evidence: Annotated[list[EvidenceId], Field(min_length=1, max_length=4)]


class Plan(BaseModel):
    """One action with its arguments."""

    tool: Literal["rollback_deploy", "restart_service", "set_config"]
    args: dict[str, str]


def limited_to(ids: list[str]) -> type[Diagnosis]:
    """Build the form of a diagnosis that can cite nothing but these ids."""
    known = list[Literal[tuple(ids)]]  # type: ignore[misc]
    return create_model("Diagnosis", __base__=Diagnosis, evidence=(known, Field(min_length=1, max_length=4)))
