"""The times of the server's certificates by another clock than OpenSSL's, and the one request without any."""

from __future__ import annotations

import ssl
import time

import pytest

from margod.model.wire import Answer, Auth, Request, TransportFailure
from margod.wfm import WfmClient, fetch_timeless
from margod.wfm.validity import NO_CHECK_TIME
from tests.support.rawserver import Certificates, RawServer
from tests.wfm.common import answers, failed, get

DAY = 86_400.0


def timeless(certificates: Certificates) -> ssl.SSLContext:
    """A context that verifies everything but times."""
    context = certificates.client()
    context.verify_flags |= ssl.VerifyFlags(NO_CHECK_TIME)
    return context


@pytest.mark.parametrize(
    ("days", "ahead", "expected"),
    [
        ((-1, 1), 0.0, ""),
        ((-1, 1), 2 * DAY, "tls-expired"),
        ((-1, 1), -2 * DAY, "tls-not-yet-valid"),
        ((-9, -8), 0.0, "tls-expired"),
        ((-9, -8), -8.5 * DAY, ""),
        ((8, 9), 0.0, "tls-not-yet-valid"),
        ((8, 9), 8.5 * DAY, ""),
        ((-1, 1), 3e10, "tls-expired"),
    ],
)
async def test_the_clock_that_is_given_counts(days: tuple[int, int], ahead: float, expected: str) -> None:
    """Before a byte of HTTP, whatever the system's clock says; answers bear the time of that clock."""
    certificates = Certificates()
    async with RawServer(answers, context=certificates.server(days=days)) as server:
        client = WfmClient(timeless(certificates), timeout=5.0, clock=lambda: time.time() + ahead)
        result = await client.send(get(f"{server.url}/"))
        again = await client.send(get(f"{server.url}/"))
        await client.close()
        if expected:
            assert failed(result) == failed(again) == (expected, False)
            assert server.requests == []
            return
        assert isinstance(result, Answer)
        assert abs(result.at - time.time() - ahead) < 10
        assert result.valid is not None
        assert result.valid[0] <= result.at <= result.valid[1]
        assert (result.valid[1] - result.valid[0]) == pytest.approx((days[1] - days[0]) * DAY, abs=2)


async def test_everything_else_is_verified() -> None:
    """Without times, an unknown issuer and another host name are refused as ever, by both."""
    certificates = Certificates()
    request = Request("GET", "/", Auth.NONE, limit=1000)
    for context, expected in (
        (Certificates().server(), "tls-unknown-issuer"),
        (certificates.server("elsewhere.example"), "tls-wrong-host"),
    ):
        async with RawServer(answers, context=context) as server:
            client = WfmClient(timeless(certificates), timeout=5.0, clock=time.time)
            assert failed(await client.send(get(f"{server.url}/"))) == (expected, False)
            await client.close()
            result = await fetch_timeless(timeless(certificates), server.url, request, seconds=5.0)
            assert isinstance(result, TransportFailure)
            assert result.reason.code == expected
            assert server.requests == []


async def test_the_request_without_a_time_is_a_bare_get() -> None:
    """It goes through to an expired server, and is refused for everything but an unsigned GET."""
    certificates = Certificates()
    async with RawServer(answers, context=certificates.server(days=(-9, -8))) as server:
        request = Request("GET", "/", Auth.NONE, {"Accept": "a/b", "X": "y"}, limit=1000)
        assert isinstance(await fetch_timeless(timeless(certificates), server.url, request, seconds=5.0), Answer)
        assert "X" not in {name for name, _ in server.requests[0].headers}
        for other in (Request("POST", "/", Auth.NONE), Request("GET", "/", Auth.SIGNATURE)):
            with pytest.raises(ValueError, match="unsigned GET"):
                await fetch_timeless(timeless(certificates), server.url, other, seconds=5.0)
        assert len(server.requests) == 1


async def test_no_client_is_without_a_clock() -> None:
    """A context that leaves the times out needs a clock, and a clock needs such a context."""
    certificates = Certificates()
    with pytest.raises(ValueError, match="one clock"):
        WfmClient(timeless(certificates), timeout=5.0)
    with pytest.raises(ValueError, match="one clock"):
        WfmClient(certificates.client(), timeout=5.0, clock=time.time)


async def test_an_answer_says_how_long_the_certificate_holds() -> None:
    """Over a verified channel; the system's clock verifies."""
    certificates = Certificates()
    async with RawServer(answers, context=certificates.server(days=(-3, 4))) as server:
        client = WfmClient(certificates.client(), timeout=5.0)
        result = await client.send(get(f"{server.url}/"))
        await client.close()
        assert isinstance(result, Answer)
        assert result.valid is not None
        assert result.valid[0] == pytest.approx(time.time() - 3 * DAY, abs=30)
        assert result.valid[1] == pytest.approx(time.time() + 4 * DAY, abs=30)
