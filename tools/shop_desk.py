"""The shop as one session sees it: own orders only, answers in text, effects previewed and found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tools.shop import Shop, email_form, refund_key, unknown_order
from tools.shop_answers import (
    cancellation_text,
    customer_text,
    order_text,
    preview_cancel_text,
    preview_refund_text,
    refund_text,
)
from tools.shop_errors import NotAuthenticated, ShopError
from tools.shop_records import Order
from tools.shop_rules import LONGEST_REASON, check_cancel, check_refund, check_repeat

REFUSED = "refused: "


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class CustomerArguments(_Arguments):
    email: str = Field(min_length=3, max_length=254, description="email address of the customer")
    postcode: str = Field(min_length=2, max_length=12, description="postcode of the customer's address")


class OrderArguments(_Arguments):
    order_id: int = Field(ge=1, le=999_999, description="order number, for example 1001")


class CancelArguments(OrderArguments):
    reason: str = Field(min_length=1, max_length=LONGEST_REASON, description="why, in one short sentence")


class RefundArguments(OrderArguments):
    amount_cents: int = Field(ge=1, le=10_000_000, description="amount in cents: 20.00 EUR is 2000")
    reason: str = Field(min_length=1, max_length=LONGEST_REASON, description="why, in one short sentence")


class Desk:
    """Serves the customer whom `customer_email` names at each call, or everybody when it is None."""

    def __init__(self, shop: Shop, *, customer_email: Callable[[], str] | None) -> None:
        self.shop = shop
        self.customer_email = customer_email

    def look_up_customer(self, email: str, postcode: str) -> str:
        known = self.customer_email() if self.customer_email else ""
        if known and email_form(known) != email_form(email):
            raise NotAuthenticated(
                "one conversation serves one customer",
                came="another customer",
                possible="a new conversation",
            )
        customer = self.shop.find_customer(email, postcode=postcode)
        return customer_text(customer, self.shop.list_orders(customer.email))

    def look_up_order(self, order_id: int) -> str:
        order, made = self._own(order_id), self.shop.get_refund(refund_key(order_id))
        return order_text(order, refund=made, today=self.shop.today(), policy=self.shop.policy)

    def cancel_order(self, order_id: int, reason: str) -> str:
        self._own(order_id)
        return cancellation_text(self.shop.cancel_order(order_id, reason=reason))

    def refund_order(self, order_id: int, amount_cents: int, reason: str) -> str:
        self._own(order_id)
        return refund_text(self.shop.refund_order(order_id, amount_cents=amount_cents, reason=reason))

    def preview_cancel(self, given: Mapping[str, Any]) -> str:
        """What cancelling would do now, or why it would be refused."""
        try:
            order = self._own(CancelArguments.model_validate(dict(given)).order_id)
            if order.cancellation is None:
                check_cancel(order)
        except (ShopError, ValidationError) as error:
            return refusal_text(error)
        return preview_cancel_text(order)

    def preview_refund(self, given: Mapping[str, Any]) -> str:
        """What refunding would do now, or why it would be refused."""
        try:
            return self._preview_refund(RefundArguments.model_validate(dict(given)))
        except (ShopError, ValidationError) as error:
            return refusal_text(error)

    def find_cancel(self, given: Mapping[str, Any]) -> str | None:
        """The cancellation that these arguments already led to, or None."""
        try:
            order = self._own(CancelArguments.model_validate(dict(given)).order_id)
        except (ShopError, ValidationError):
            return None
        return None if order.cancellation is None else cancellation_text(order.cancellation)

    def find_refund(self, given: Mapping[str, Any]) -> str | None:
        """The refund that these arguments already led to, or None."""
        try:
            asked = RefundArguments.model_validate(dict(given))
            self._own(asked.order_id)
        except (ShopError, ValidationError):
            return None
        first = self.shop.get_refund(refund_key(asked.order_id))
        if first is None or first.amount_cents != asked.amount_cents:
            return None
        return refund_text(first)

    def undo_cancel(self, given: Mapping[str, Any], outcome: Any) -> str:
        """Reopen what was cancelled; a refused cancellation and a second undo change nothing."""
        # The session may be over when this runs, so ownership rests on the outcome, not on who asks.
        if str(getattr(outcome, "content", outcome)).startswith(REFUSED):
            return "nothing was cancelled"
        order = self.shop.get_order(CancelArguments.model_validate(dict(given)).order_id)
        if order.cancellation is not None:
            order = self.shop.reopen_order(order.id)
        return f"order {order.id} is {order.status} again"

    def _own(self, order_id: int) -> Order:
        if self.customer_email is None:
            return self.shop.get_order(order_id)
        known = self.customer_email()
        if not known:
            raise NotAuthenticated(
                "a customer is authenticated before any order is touched",
                came="nobody authenticated",
                possible="look the customer up by email and postcode",
            )
        order = self.shop.get_order(order_id)
        if email_form(known) != email_form(order.customer_email):
            raise unknown_order(order_id)
        return order

    def _preview_refund(self, asked: RefundArguments) -> str:
        order, policy = self._own(asked.order_id), self.shop.policy
        first = self.shop.get_refund(refund_key(order.id))
        if first is not None:
            check_repeat(first, order_id=order.id, amount_cents=asked.amount_cents)
            return f"would change nothing: {refund_text(first)}"
        check_refund(order, amount_cents=asked.amount_cents, today=self.shop.today(), policy=policy)
        return preview_refund_text(order, amount_cents=asked.amount_cents, policy=policy)


def refusal_text(error: ShopError | ValidationError) -> str:
    """A refusal as the model reads it, on one line."""
    if isinstance(error, ShopError):
        return f"{REFUSED}{error}"
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{REFUSED}{'.'.join(map(str, first['loc']))}: {first['msg']}"
