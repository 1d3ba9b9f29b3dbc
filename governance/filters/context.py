"""What a model is shown of a long history: rewrites the prompt of a call so that it fits what its node may show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel

from governance.call import Flow, ModelCall, Proceed, Run
from governance.context.histories import Histories
from governance.context.history import extended
from governance.context.left_out import LeftOut
from governance.context.prompt import Prompt, beginning, prompt
from governance.context.settings import Context, Marks
from governance.errors import ContextExceeded
from governance.tokens import COUNTER, PER_ANSWER

AT_ONCE = 50
"""New messages that are folded where they are; more of them, as after a restart, off the event loop."""
CHARACTERS = 50_000
"""The same for the length of new messages: counting takes a tenth of a millisecond for a thousand."""
Memories = Callable[[ModelCall], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Asked:
    """A call, and what is known of its prompt before the history is read."""

    call: ModelCall
    histories: Histories
    first: int
    """How many system messages it begins with."""
    other: int
    """Tokens of tool definitions, and of the answer's frame."""
    marks: Marks
    place: tuple[Any, ...]

    @property
    def is_long(self) -> bool:
        """Whether much has to be read: all of a long history, or the same in objects of another run."""
        messages, newest = self.call.messages, self.histories.newest(self.place)
        size = 0 if newest is None or len(messages) < newest.size else newest.size
        if newest is not None and size > AT_ONCE and messages[size - 1] is not newest.seen[size - 1]:
            return True
        return len(messages) - size > AT_ONCE or sum(len(one.content) for one in messages[size:]) > CHARACTERS


class ContextFilter:
    """Shows a model the newest turns and what is to be known of those before; the state keeps the whole history.

    `memories` gives texts that are shown beside the summary, where there is room for them.
    """

    def __init__(self, context: Context, memories: Memories | None = None) -> None:
        self.context = context
        self.memories = memories

    def __call__(self, call: ModelCall) -> Flow | None:
        if isinstance(call.parent, ModelCall):
            return None  # a model that asks another one: what it was given fits already
        if call.prompts != 1 or not isinstance(call.model, BaseChatModel):
            self._check(call)
            return None
        asked = self._asked(call)
        if asked.is_long:
            return self._off_the_loop(asked)
        self._fit(asked)
        return None

    def _off_the_loop(self, asked: Asked) -> Flow:
        yield Run(lambda: self._fit(asked))
        return (yield Proceed(asked.call))

    def _asked(self, call: ModelCall) -> Asked:
        first = beginning(call.messages)
        other = COUNTER.options(call.options) + PER_ANSWER
        before = other + sum(map(COUNTER.message, call.messages[:first]))
        marks = self.context.marks(before)
        if marks is None:
            raise ContextExceeded(
                f"system prompt and tools take {before} of the {self.context.tokens} tokens that {call.node.place} may "
                "show its model, which leaves no room for a history; raise Context.tokens, or give it fewer tools",
                needed=before, room=self.context.tokens,
            )  # fmt: skip
        place = (call.session.id, call.node.place, marks)
        return Asked(call, call.governance.sidecar.histories, first, other, marks, place)

    def _fit(self, asked: Asked) -> None:
        call = asked.call
        found = asked.histories.take(asked.place, call.messages, asked.first)
        history = extended(found, asked.marks)
        asked.histories.put(asked.place, history)
        memories = self.memories(call) if self.memories is not None else ()
        made = prompt(history, asked.marks.history, self.context.tokens, asked.other, memories)
        _tell(asked, history.left if history.left.digest != found.left.digest else None, made)
        if made.messages != call.messages:
            call.messages = made.messages

    def _check(self, call: ModelCall) -> None:
        """Several prompts at once, and texts to be completed, are no history: they fit, or they are refused."""
        needed = COUNTER.count(call.messages) + COUNTER.options(call.options)
        if self.context.tokens is not None and needed > self.context.tokens * call.prompts:
            raise ContextExceeded(
                f"{call.name} is asked {needed} tokens at once, and {call.node.place} may show it "
                f"{self.context.tokens} in each prompt",
                needed=needed, room=self.context.tokens,
            )  # fmt: skip


def _tell(asked: Asked, left: LeftOut | None, made: Prompt) -> None:
    """What is left out, and why, once for each cut; and whatever else had to be done, each time."""
    if left is not None and left.summary is not None:
        kept = asked.call.governance.policy.ledger.payloads != "none"
        mark = asked.marks.first if left.number == 1 else asked.marks.high
        body = {
            "left_out": left.cut - asked.first, "tokens": left.tokens, "digest": left.digest, "times": left.number,
            "shown": made.tokens, "reason": f"turns took more than {mark} tokens",
        }  # fmt: skip
        _record(asked.call, "compacted", body, {"summary": left.summary.content} if kept else None)
    if made.mended or made.shortened or made.skipped:
        body = {"mended": made.mended, "shortened": made.shortened, "skipped": made.skipped, "shown": made.tokens}
        _record(asked.call, "mended", body)


def _record(call: ModelCall, word: str, body: Mapping[str, Any], payloads: Mapping[str, Any] | None = None) -> None:
    call.governance.ledger.record(
        call.session.id, f"context.{word}", path=call.path, actor=call.name,
        body={**body, "execution": call.execution}, payloads=payloads,
    )  # fmt: skip
