"""Shares of what all processes of an installation have only so many of: places at a dependency, retries saved up.

A process uses what it has leased, without asking anybody; only where that does not do, it asks the control
file for more. What holds: the leases of a pool never add up to more than its size. Who does not use its own
gives it back; where all want more than there is, each gets the same. A process that is gone, or does not
run, loses its lease after ten seconds, and uses nothing of it any more until it has asked anew.
"""

from __future__ import annotations

import os
import sqlite3
import warnings
import weakref
from collections.abc import Callable, Mapping
from typing import Protocol

from governance.errors import LedgerError
from governance.plane.control import Control

LEASE = 10.0
TENDED = 1.0
"""Seconds between two looks at whether a share still fits what is needed."""
AGAIN = 0.25
"""Seconds until somebody who got nothing asks again by himself."""
ALL = "SELECT pool, holder, held, wanted FROM shares WHERE until BETWEEN ? AND ?"
LIVE = "SELECT holder, held, wanted FROM shares WHERE pool=? AND holder!=? AND until BETWEEN ? AND ?"


class Owner(Protocol):
    """Who uses a share."""

    def demand(self) -> int:
        """What was needed since this was last asked."""

    def grow(self, held: int, *, alone: bool) -> None:
        """Use so much from now on; `alone` where nobody else is known to use anything of the pool."""

    def shrink(self, held: int) -> int:
        """Take into use no more than this from now on; how much is still in use, or may be."""


class Share:
    """What this process may use of one pool."""

    def __init__(self, shares: Shares, pool: str, size: int, owner: Owner) -> None:
        self.pool = pool
        self.size = size
        self.held = 0
        self.usable = 0
        """What may be taken into use of it: the rest is being given back."""
        self.until = float("-inf")
        """When the lease is over, by our own clock."""
        self.denied = float("-inf")
        """Until when nobody needs to ask for more."""
        self.tended = float("-inf")
        self.wanted = 0
        """What others have been told that we need."""
        self.unfit = self.starved = False
        """Whether it has to be looked at, by what others want; whether it is less than is fair."""
        self._shares = shares
        self._owner = weakref.ref(owner)

    @property
    def lapsed(self) -> bool:
        return self._shares.clock() >= self.until

    @property
    def may_grow(self) -> bool:
        """Whether asking for more may help."""
        now = self._shares.clock()
        return now >= self.until or (self.held < self.size and now >= self.denied)

    @property
    def owner(self) -> Owner | None:
        return self._owner()

    def lease(self, needed: int) -> None:
        """Get what is needed, as far as it is there (blocking)."""
        self._shares.lease(self, needed)


class Shares:
    """The shares of one process."""

    def __init__(self, control: Control, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._control = control
        self._holder = os.urandom(8).hex()
        self._all: dict[str, Share] = {}
        self._warned = False

    def open(self, pool: str, size: int, owner: Owner) -> Share:
        """A share of a pool; nothing is leased yet."""
        found = self._all[pool] = Share(self, pool, size, owner)
        return found

    def lease(self, share: Share, needed: int) -> None:
        now, owner = self.clock(), share.owner
        if owner is None:
            return
        with self._control.lock:
            if not share.lapsed and share.usable >= needed:
                return  # somebody else has asked meanwhile
            try:
                self._lease(share, owner, needed, now)
            except LedgerError as error:
                self._go_on_alone(share, owner, now, error)

    def _lease(self, share: Share, owner: Owner, needed: int, now: float) -> None:
        with self._control.transaction(synced=False) as db:
            others = self._others(db, share, now)
            free = share.size - sum(held for held, _ in others.values())
            fair = self._fair(share, others, needed, now)
            held = min(share.held, free)  # others may have taken over what had lapsed
            ahead = held + (free - held + 1) // 2  # the next calls need not ask then
            held = max(held, min(free, fair if fair < needed else max(needed, ahead)))
            self._write(db, share, held, needed, now)
        share.usable = held if fair >= needed else min(held, fair)
        share.denied = now + AGAIN if share.usable < needed else now
        owner.grow(share.usable, alone=not others)
        if held < needed:
            self._control.ring()  # whoever has more than its part gives some of it back

    def tend(self, db: sqlite3.Connection) -> None:
        """A chore of the control file's thread: renew what is used, give back what is not."""
        now, fits = self.clock(), list[tuple[Share, Owner, int]]()
        for pool, share in list(self._all.items()):
            owner = share.owner
            if owner is None:
                self._drop(pool, share)
            elif share.until > float("-inf") and (share.unfit or now - share.tended >= TENDED):
                unfit, share.unfit, share.tended = share.unfit, False, now
                wanted = min(owner.demand(), share.size)
                if unfit or wanted != share.wanted or share.until - now < LEASE / 2:
                    fits.append((share, owner, wanted))
        if not fits:
            return
        with self._control.lock:
            before = [share.held for share, _, _ in fits]
            with self._control.transaction(synced=False) as db:
                grown = [self._fit(db, share, owner, wanted, now) for share, owner, wanted in fits]
            for (share, owner, _), grows in zip(fits, grown, strict=True):
                if grows:
                    share.usable = share.held
                    owner.grow(share.held, alone=False)
            after = [share.held for share, _, _ in fits]
        if before != after or any(share.starved for share, _, _ in fits):
            self._control.ring()

    def read(self, db: sqlite3.Connection) -> None:
        """With the snapshot: whether somebody needs what is ours, or has given back what we need."""
        if not self._all:
            return
        now, rows = self.clock(), dict[str, dict[str, tuple[int, int]]]()
        for pool, holder, held, wanted in db.execute(ALL, (now, now + 2 * LEASE)):
            rows.setdefault(pool, {})[holder] = held, wanted
        for pool, found in rows.items():
            share = self._all.get(pool)
            if share is None or self._holder not in found:
                continue
            full = sum(held for held, _ in found.values()) >= share.size
            fair = self._fair(share, found, found[self._holder][1], now)
            if fair < share.held if full else fair > share.held:
                share.unfit = True
                if now - share.tended >= AGAIN / 5:
                    self._control.look()

    def close(self) -> None:
        """Give everything back."""
        if not any(share.held for share in self._all.values()):
            return
        try:
            with self._control.transaction(synced=False) as db:
                db.execute("DELETE FROM shares WHERE holder=?", (self._holder,))
        except LedgerError:
            return  # the leases end by themselves
        for share in self._all.values():
            share.held, share.usable, share.until = 0, 0, float("-inf")

    def _fit(self, db: sqlite3.Connection, share: Share, owner: Owner, wanted: int, now: float) -> bool:
        """Make a share what it should be by what everybody wants; whether it grows, once that is on disk."""
        others = self._others(db, share, now)
        free = share.size - sum(held for held, _ in others.values())
        fair = self._fair(share, others, wanted, now)
        held = min(share.held, free)
        shrinks = fair < held
        if shrinks:
            share.usable = fair
            held = min(held, owner.shrink(fair))
        else:
            held = min(free, fair)
        share.starved, share.unfit = held < fair, held > fair  # the rest is given back as calls end
        self._write(db, share, held, wanted, now)
        return not shrinks

    def _fair(self, share: Share, others: Mapping[str, tuple[int, int]], wanted: int, now: float) -> int:
        wants = {holder: wants for holder, (_, wants) in others.items()}
        return divided(share.size, {**wants, self._holder: wanted}, int(now / LEASE))[self._holder]

    def _others(self, db: sqlite3.Connection, share: Share, now: float) -> dict[str, tuple[int, int]]:
        rows = db.execute(LIVE, (share.pool, self._holder, now, now + 2 * LEASE))
        return {holder: (held, wanted) for holder, held, wanted in rows}

    def _write(self, db: sqlite3.Connection, share: Share, held: int, wanted: int, now: float) -> None:
        db.execute("DELETE FROM shares WHERE pool=? AND until NOT BETWEEN ? AND ?", (share.pool, now, now + 2 * LEASE))
        if held or wanted:
            values = (share.pool, self._holder, held, wanted, now + LEASE)
            db.execute("INSERT OR REPLACE INTO shares VALUES(?,?,?,?,?)", values)
        else:
            db.execute("DELETE FROM shares WHERE pool=? AND holder=?", (share.pool, self._holder))
        share.tended = now
        share.wanted = wanted
        share.held, share.until = held, (now + LEASE if held or wanted else float("-inf"))

    def _drop(self, pool: str, share: Share) -> None:
        del self._all[pool]
        with self._control.transaction(synced=False) as db:
            db.execute("DELETE FROM shares WHERE pool=? AND holder=?", (pool, self._holder))

    def _go_on_alone(self, share: Share, owner: Owner, now: float, error: LedgerError) -> None:
        """No authority hangs on this: better with what we have, or all of it where we have nothing, than not at all."""
        if not self._warned:
            self._warned = True
            warnings.warn(f"Sidecar shares limits with no other process: {error.reason}", RuntimeWarning, stacklevel=2)
        alone = share.until == float("-inf")
        share.held = share.usable = share.size if alone else max(1, share.held)
        share.until = now + TENDED
        owner.grow(share.held, alone=alone)


def divided(size: int, wants: Mapping[str, int], turn: int) -> dict[str, int]:
    """Each what it wants, and the same for all who want more than that; what cannot be divided goes round."""
    found, left = dict.fromkeys(wants, 0), size
    names = sorted(wants)
    start = turn % len(names) if names else 0
    hungry = [name for name in names[start:] + names[:start] if wants[name] > 0]
    while left and hungry:
        each = max(1, left // len(hungry))
        for name in hungry[:left]:
            given = min(each, wants[name] - found[name])
            found[name] += given
            left -= given
        hungry = [name for name in hungry if found[name] < wants[name]]
    return found
