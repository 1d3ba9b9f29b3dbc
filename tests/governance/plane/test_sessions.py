"""Sessions in memory: the same one for the same id, the oldest forgotten, nothing lost between threads."""

from __future__ import annotations

import threading

from governance.plane.sessions import Session, Sessions


def test_a_session_is_the_same_whenever_it_is_asked_for() -> None:
    sessions = Sessions()

    assert sessions.get("a") is sessions.get("a")
    assert sessions.get("a") is not sessions.get("b")


def test_the_oldest_session_is_forgotten_first_and_no_more_are_kept_than_allowed() -> None:
    sessions = Sessions(kept=3)
    first, last = sessions.get("0"), [sessions.get(str(n)) for n in range(1, 4)][-1]

    assert 3 == len(sessions)
    assert last is sessions.get("3")
    assert first is not sessions.get("0")


def test_threads_that_ask_at_once_get_one_session() -> None:
    sessions, found, gate = Sessions(), [], threading.Barrier(20)

    def asks() -> None:
        gate.wait()
        found.append(sessions.get("a", _slow))

    threads = [threading.Thread(target=asks) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 1 == len({id(session) for session in found})


def _slow(name: str) -> Session:
    threading.Event().wait(0.01)
    return Session(name)
