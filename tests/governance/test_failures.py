"""What an error of a dependency says, whichever client raised it."""

from __future__ import annotations

import asyncio
import email.message
import socket
import time
import urllib.error
from email.utils import formatdate
from typing import Any

import httpx
import openai
import pytest
import requests

from governance.errors import CircuitOpen
from governance.failures import answered, retry_after, weather

REQUEST = httpx.Request("POST", "http://model")


def of_httpx(status: int, **headers: str) -> httpx.HTTPStatusError:
    response = httpx.Response(status, headers=headers, request=REQUEST)
    return httpx.HTTPStatusError("no", request=REQUEST, response=response)


def of_openai(kind: Any, status: int, **headers: str) -> Exception:
    made: Exception = kind("no", response=httpx.Response(status, headers=headers, request=REQUEST), body=None)
    return made


def of_requests(status: int) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError("no", response=response)


def of_urllib(status: int) -> urllib.error.HTTPError:
    headers = email.message.Message()
    headers["Retry-After"] = "7"
    return urllib.error.HTTPError("http://model", status, "no", headers, None)


class Busy(Exception):
    """An author's own error."""


class VeryBusy(Busy):
    """One kind of it."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TimeoutError(), "timeout"),
        (TimeoutError(), "timeout"),
        (httpx.ReadTimeout("slow"), "timeout"),
        (ConnectionResetError(), "connection"),
        (httpx.ConnectError("no"), "connection"),
        (httpx.RemoteProtocolError("cut"), "connection"),
        (requests.ConnectionError(), "connection"),
        (requests.ReadTimeout(), "timeout"),
        (openai.APIConnectionError(request=REQUEST), "connection"),
        (openai.APITimeoutError(request=REQUEST), "timeout"),
        (of_httpx(503), "server"),
        (of_httpx(529), "server"),
        (of_httpx(408), "server"),
        (of_httpx(429), "rate-limited"),
        (of_requests(502), "server"),
        (of_urllib(503), "server"),
        (of_openai(openai.InternalServerError, 500), "server"),
        (of_openai(openai.RateLimitError, 429), "rate-limited"),
        (ExceptionGroup("both", [of_httpx(503), ExceptionGroup("inner", [TimeoutError()])]), "server"),
    ],
)
def test_what_passes_by_itself(error: Exception, expected: str) -> None:
    assert expected == weather(error)
    assert not answered(error)


@pytest.mark.parametrize(
    "error",
    [
        of_httpx(400), of_httpx(401), of_httpx(404), of_httpx(422), of_httpx(501), of_requests(403), of_urllib(404),
        of_openai(openai.BadRequestError, 400), of_openai(openai.AuthenticationError, 401),
    ],
)  # fmt: skip
def test_an_answer_that_says_no_will_say_it_again(error: Exception) -> None:
    """The dependency works: it counts as a success for a breaker."""
    assert weather(error) is None
    assert answered(error)


@pytest.mark.parametrize(
    "error",
    [ValueError(), KeyError("x"), ExceptionGroup("both", [ConnectionError(), ValueError()]),
     ExceptionGroup("both", [ConnectionError(), of_httpx(400)]), RuntimeError(), FileNotFoundError(), socket.gaierror(), CircuitOpen("open"),
     asyncio.CancelledError(), KeyboardInterrupt()],
)  # fmt: skip
def test_what_says_nothing_of_a_dependency_is_neither(error: BaseException) -> None:
    assert weather(error) is None
    assert not answered(error)


@pytest.mark.parametrize("name", ["Busy", f"{__name__}.Busy"])
def test_classes_that_an_operator_names(name: str) -> None:
    """By name or with their module, and what derives from them."""
    assert "named" == weather(VeryBusy(), (name,))
    assert weather(VeryBusy(), ("Idle",)) is None


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_when_to_come_back(headers: dict[str, str], expected: float | None) -> None:
    assert expected == retry_after(of_httpx(429, **headers))
    plain = Busy()
    plain.headers = headers  # type: ignore[attr-defined]  # clients hang on errors what they like
    assert expected == retry_after(plain)


def test_when_to_come_back_as_a_date() -> None:
    found = retry_after(of_httpx(503, **{"retry-after": formatdate(time.time() + 60, usegmt=True)}))

    assert found is not None
    assert 57 < found <= 60
    assert 0 == retry_after(of_httpx(503, **{"retry-after": formatdate(time.time() - 60, usegmt=True)}))
    local = retry_after(of_httpx(503, **{"retry-after": formatdate(time.time() + 60)}))  # `-0000`: no zone is named
    assert local is not None
    assert 57 < local <= 60
    assert retry_after(of_httpx(503, **{"retry-after": "Fri, 31 Dec 99999 23:59:59 GMT"})) is None
    assert retry_after(of_httpx(503, **{"retry-after": "Fri, 99 Dec 2030 23:59:59 GMT"})) is None
    assert 7 == retry_after(of_urllib(503))
    assert 7 == retry_after(ExceptionGroup("both", [of_httpx(429, **{"retry-after": "3"}), of_urllib(503)]))
    assert 1e300 == retry_after(of_httpx(429, **{"retry-after": "1e300"}))  # longer than anybody waits
