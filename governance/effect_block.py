"""`with effect(...)`: a side effect of code that is no tool, which then happens once, as a tool's does.

    with effect("charge", {"invoice": 7}) as charge:
        if charge.fresh:
            charge.outcome = post("/charges", invoice=7)
    receipt = charge.outcome

The block passes the chain that tools pass: the contract must name `charge` among its tools, its arguments
are held to the rule, a person may have to approve them. What it did is found again when the node runs
again: then `fresh` is False and `outcome` is what it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import Token
from types import TracebackType
from typing import Any

from langgraph.errors import GraphBubbleUp, GraphInterrupt

from governance import chain
from governance.boundary import questioned, tool_call
from governance.call import Call, Effect, Proceed
from governance.contracts import SideEffect, declares, expect_effects
from governance.current import CURRENT, current_call
from governance.drivers import aadvance, advance, closing_on_error
from governance.errors import ContractViolation

EXTERNAL = SideEffect("external")
expect_effects()  # whoever imports this means to have some


class Named:
    """What stands in a tool's place: a name, and what is declared of it."""

    def __init__(self, name: str) -> None:
        self.name = name


class EffectBlock:
    """One effect, from its intent to its outcome; made by `effect`, for one `with` or `async with`."""

    def __init__(self, name: str, args: Mapping[str, Any], does: SideEffect) -> None:
        self.args = dict(args)
        """The arguments in force: a person who approved them may have edited them."""
        self.outcome: Any = None
        """What came of it: set it where the effect is done. JSON, or anything a checkpoint can hold."""
        self._tool = declares(does)(Named(name))
        self._chain: chain.Chain | None = None
        self._token: Token[Call | None] | None = None
        self._asked, self._fresh = False, True

    @property
    def fresh(self) -> bool:
        """Whether the effect is still to be done; the block must ask before it does anything."""
        self._asked = True
        return self._fresh

    def __enter__(self) -> EffectBlock:
        made = self._open()
        if made is not None:
            with closing_on_error(made), questioned(made.call):
                self._begin(made, advance(made, made.start))
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        made = self._close()
        if made is None:
            return
        if isinstance(error, GraphInterrupt) and made.call.asks is not None:
            made.call.asks()
        with closing_on_error(made), questioned(made.call):
            _check_over(made, advance(made, lambda: self._end(made, error)))

    async def __aenter__(self) -> EffectBlock:
        made = self._open()
        if made is not None:
            with closing_on_error(made), questioned(made.call):
                self._begin(made, await aadvance(made, made.start))
        return self

    async def __aexit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        made = self._close()
        if made is None:
            return
        if isinstance(error, GraphInterrupt) and made.call.asks is not None:
            await asyncio.to_thread(made.call.asks)
        with closing_on_error(made), questioned(made.call):
            _check_over(made, await aadvance(made, lambda: self._end(made, error)))

    def _open(self) -> chain.Chain | None:
        """The chain around the block; None in code that nothing governs, which is left as it is."""
        parent = current_call()
        if parent is None:
            return None
        call = tool_call(parent, self._tool, self.args, None)
        call.repeats = False
        return chain.Chain(call.governance.chain("tool", call.contract), call)

    def _begin(self, made: chain.Chain, proceed: Proceed | None) -> None:
        if proceed is None:  # it happened before
            self._fresh, self.outcome = False, made.result
            return
        call = made.call
        call.began, self.args = True, dict(call.args)
        self._chain, self._token = made, CURRENT.set(call)

    def _close(self) -> chain.Chain | None:
        made, self._chain = self._chain, None
        if self._token is not None:
            CURRENT.reset(self._token)
            self._token = None
        return made

    def _end(self, made: chain.Chain, error: BaseException | None) -> Effect | None:
        if isinstance(error, GraphBubbleUp) or not (error is None or isinstance(error, Exception)):
            raise error
        if error is None and not self._asked:
            name = made.call.name
            error = ContractViolation(
                f"the block of the effect {name} did not ask whether it is to be done: when its node runs again, it "
                f"would be done again; write `if {name}.fresh:` around what it does",
                tool=name,
            )
        return made.send(self.outcome) if error is None else made.throw(error)


def effect(name: str, args: Mapping[str, Any] | None = None, *, does: SideEffect = EXTERNAL) -> EffectBlock:
    """A side effect of code that is no tool; the contract of its node must name it among the tools.

    `does` declares it, as `declares` does for a tool; without it nobody may take a repeat for harmless.
    Outside of a governed node the block always runs. Raises what a tool's call raises: `AuthorityRefused`,
    `EffectInDoubt`, ...; `ContractViolation` where the block did not ask for `fresh`.
    """
    return EffectBlock(name, args or {}, does)


def _check_over(made: chain.Chain, proceed: Proceed | None) -> None:
    if proceed is not None:
        made.close()
        raise ContractViolation(f"a filter wants the block of {made.call.name} to run twice, which no block can")
