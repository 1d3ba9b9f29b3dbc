"""The shop as LangChain tools, with what each does to the world declared beside it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel

from governance.contracts import READ, SideEffect, declares
from tools.shop import Shop
from tools.shop_desk import (
    CancelArguments,
    CustomerArguments,
    Desk,
    OrderArguments,
    RefundArguments,
    refusal_text,
)
from tools.shop_errors import ShopError

P = ParamSpec("P")


def shop_tools(shop: Shop, *, customer_email: Callable[[], str] | None = None) -> list[BaseTool]:
    """Look-up, cancel and refund; with `customer_email` they serve that customer alone.

    `customer_email` is asked at every call and returns the authenticated address, or "" while nobody
    is authenticated: every order is then refused. Without it the tools reach all orders, as for staff.
    What a rule forbids comes back as an error result that starts with "refused: "; nothing has happened then.
    """
    desk = Desk(shop, customer_email=customer_email)
    return [
        _tool(
            desk.look_up_customer,
            arguments=CustomerArguments,
            effect=READ,
            description="Authenticate a customer by email and postcode and list the customer's orders. "
            "Call this first. Changes nothing.",
        ),
        _tool(
            desk.look_up_order,
            arguments=OrderArguments,
            effect=READ,
            description="Show one order: status, goods, payments, and whether it can be cancelled or "
            "refunded now. Call this before any change. Changes nothing.",
        ),
        _tool(
            desk.cancel_order,
            arguments=CancelArguments,
            effect=SideEffect(
                "write",
                idempotent=True,
                declines=True,
                key="cancel:{order_id}",
                undo=desk.undo_cancel,
                dry_run=desk.preview_cancel,
                reconcile=desk.find_cancel,
            ),
            description="Cancel one order that is not shipped yet. Pays nothing back. "
            "Call it only after the customer said yes to cancelling exactly this order.",
        ),
        _tool(
            desk.refund_order,
            arguments=RefundArguments,
            effect=SideEffect(
                "write",
                idempotent=True,
                declines=True,
                key="refund:{order_id}",
                dry_run=desk.preview_refund,
                reconcile=desk.find_refund,
            ),
            description="Pay money back for one delivered, lost or cancelled order. Cannot be undone. "
            "Call it only after the customer said yes to exactly this order and amount.",
        ),
    ]


def _tool(act: Callable[..., str], *, arguments: type[BaseModel], effect: SideEffect, description: str) -> BaseTool:
    tool = StructuredTool.from_function(
        _told(act),
        name=act.__name__,
        description=description,
        args_schema=arguments,
        handle_tool_error=True,
        handle_validation_error=refusal_text,
    )
    return declares(effect)(tool)


def _told(act: Callable[P, str]) -> Callable[P, str]:
    # A refusal must reach the model as a result it can read, marked as an error for everybody else.
    @wraps(act)
    def told(*args: P.args, **kwargs: P.kwargs) -> str:
        try:
            return act(*args, **kwargs)
        except ShopError as error:
            raise ToolException(refusal_text(error)) from error

    return told
