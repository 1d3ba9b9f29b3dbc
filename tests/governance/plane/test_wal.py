"""A new file may be opened by many at once."""

from __future__ import annotations

import threading
from pathlib import Path

from governance.plane.ledger_file import LedgerFile


def test_a_new_ledger_is_opened_by_many_at_the_same_moment(tmp_path: Path) -> None:
    """Nobody is refused because somebody else is just making the file."""
    failed: list[Exception] = []

    def opens(path: Path, gate: threading.Barrier) -> None:
        gate.wait()
        file = LedgerFile(path)
        try:
            file.append([("s", 0, "x", "", "", "{}", 0)], durable=False)
        except Exception as error:
            failed.append(error)
        finally:
            file.close()

    for turn in range(40):
        gate = threading.Barrier(8)
        threads = [threading.Thread(target=opens, args=(tmp_path / f"{turn}.db", gate)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert [] == failed
