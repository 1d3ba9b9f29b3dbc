"""Leave for one call at a breaker, and the word on how it ended: as a slot, so that no probe is ever lost."""

from __future__ import annotations

import threading

from governance.plane.breaker import Breaker
from governance.plane.circuit import Circuit


class Permit:
    """A slot that a filter holds: whatever way the call ends, a probe is given back."""

    __slots__ = ("_circuit", "_lock", "_over", "_tenant", "breaker")

    def __init__(self, breaker: Breaker, tenant: str = "") -> None:
        self.breaker = breaker
        self._tenant = tenant
        self._lock = threading.Lock()
        self._circuit: Circuit | None = None
        self._over = False

    def take(self) -> None:
        """Leave by what this process knows; where others have a say, `ask` has to follow."""
        if not self.breaker.must_ask:
            self._circuit = self.breaker.admit()

    @property
    def open(self) -> bool:
        """Whether it still has to be asked for."""
        return self._circuit is None

    @property
    def probes(self) -> bool:
        """Whether saying how it ended may block."""
        return self._circuit is not None and self._circuit.state == "half-open"

    def ask(self) -> None:
        """Leave by what all know (blocking)."""
        circuit = self.breaker.ask()
        with self._lock:
            if not self._over:
                self._circuit = circuit
                return
        self.breaker.give_back(circuit)  # whoever asked has gone meanwhile

    def release(self) -> None:
        with self._lock:
            circuit, self._circuit, self._over = self._circuit, None, True
        if circuit is not None:
            self.breaker.give_back(circuit)

    def settle(self, failed: bool | None, seconds: float, why: str = "") -> None:
        """Say how the call ended; the first word counts."""
        with self._lock:
            circuit, self._circuit = self._circuit, None
        if circuit is not None:
            self.breaker.settle(circuit, failed, seconds, why, self._tenant)
