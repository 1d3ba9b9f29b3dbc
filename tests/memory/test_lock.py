"""A file has one writer: the second is told who the first is, and gets in once that one is gone, however it went."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from memory import StoreLocked, TieredStore

HOLD = (
    "import sys; from memory import TieredStore; TieredStore(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
)


def test_a_second_process_learns_who_holds_the_file_and_a_killed_one_holds_nothing(file: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path.cwd()
    ) as holder:
        assert holder.stdout is not None and b"open\n" == holder.stdout.readline()
        with pytest.raises(StoreLocked, match=f"process {holder.pid}") as refused:
            TieredStore(file)
        holder.send_signal(signal.SIGKILL)

    assert holder.pid == refused.value.pid
    TieredStore(file).close()


def test_a_second_store_of_the_same_process_is_refused_too(file: Path) -> None:
    with TieredStore(file), pytest.raises(StoreLocked, match="this process") as refused:
        TieredStore(file)

    assert os.getpid() == refused.value.pid


def test_a_store_that_another_thread_closes_is_free_again(file: Path) -> None:
    """An asynchronous store is closed in a thread, since closing waits for the disk."""
    store = TieredStore(file)
    thread = threading.Thread(target=store.close)
    thread.start()
    thread.join()

    TieredStore(file).close()


def test_a_store_that_could_not_open_holds_nothing(file: Path) -> None:
    with pytest.raises(ValueError, match="index needs `dims`"):
        TieredStore(file, index={"embed": lambda texts: [[0.0] for _ in texts]})  # type: ignore[typeddict-item]

    TieredStore(file).close()
