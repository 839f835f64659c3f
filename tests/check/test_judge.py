"""The judgements, from evidence to a line, without a process around them."""

from __future__ import annotations

import pytest

from margod.check import judge, report
from margod.check.judge import Handshake, Seen, Tried
from margod.check.report import Line, Verdict, exit_code
from margod.cli.check import text
from margod.model import reasons
from margod.model.wire import Answer, TransportFailure

NOW = 1_800_000_000.0
SEEN = Seen("CN=wfm", "CN=root", "ab" * 32, NOW - 10, NOW + 10, ("wfm.example",))


def said(line: Line) -> tuple[str, str | None]:
    """Return verdict and code."""
    return line.verdict.value, line.reason.code if line.reason else None


@pytest.mark.parametrize(
    ("now", "synchronised", "offset", "expected"),
    [
        (NOW, True, 0.5, ("ok", None)),
        (NOW, False, 0.5, ("ok", None)),
        (NOW, True, None, ("ok", None)),
        (NOW, None, None, ("ok", None)),
        (NOW, False, None, ("warning", "clock-unsynchronised")),
        (NOW, False, 5.1, ("warning", "clock-offset")),
        (NOW, True, -299.0, ("warning", "wfm-clock-offset")),
        (NOW, True, 901.0, ("failed", "wfm-clock-offset")),
        (NOW, False, 901.0, ("warning", "clock-offset")),
        (NOW, False, -1e9, ("failed", "clock-offset")),
        (NOW - 1e9, True, 1e9, ("failed", "clock-implausible")),
        (NOW - 200, True, None, ("warning", "clock-implausible")),
    ],
)
def test_clock(now: float, synchronised: bool | None, offset: float | None, expected: tuple[str, str | None]) -> None:
    """Release date first, then the WFM's verified clock, then our certificates, then synchronisation."""
    line = judge.clock(now, NOW - 1000, synchronised, offset, [("the root CA CN=x", NOW - 100)])
    assert said(line) == expected


def test_a_synchronised_clock_blames_the_wfm() -> None:
    """With a synchronised clock here, the hint looks at the WFM's; without, at both."""
    assert judge.clock(NOW, 0, True, 400.0, []).hint == reasons.WFM_CLOCK_OFFSET.hint
    assert judge.clock(NOW, 0, False, 400.0, []).hint == reasons.CLOCK_OFFSET.hint
    assert "behind" in judge.clock(NOW, 0, False, 400.0, []).detail
    assert "ahead of" in judge.clock(NOW, 0, False, -400.0, []).detail


def test_some_addresses_dead() -> None:
    """One dead address of two is a warning, all of them a failure in the first one's words."""
    alive, dead = Tried("127.0.0.1", 0.01), Tried("::1", 0.02, (reasons.CONNECT_REFUSED, "Connection refused"))
    assert said(judge.connections([alive], 1)) == ("ok", None)
    line = judge.connections([dead, alive], 443)
    assert said(line) == ("warning", "connect-refused")
    assert "1 of 2" in line.message
    assert "::1 port 443" in line.detail
    assert said(judge.connections([dead, dead], 443)) == ("failed", "connect-refused")


def test_tls_shows_what_was_presented() -> None:
    """A refused certificate is shown with fingerprint; a wrong name with its names, a wrong time with our clock."""
    for reason, expected in (
        (reasons.TLS_WRONG_HOST, "for wfm.example"),
        (reasons.TLS_EXPIRED, "this device's clock says 2027-01-15T08:00:00Z"),
        (reasons.TLS_VERSION, "the server speaks TLSv1.2"),
    ):
        line = judge.tls(Handshake("TLSv1.2", SEEN, (reason, "no")), NOW)
        assert said(line) == ("failed", reason.code)
        assert expected in line.detail
        assert "ab" * 32 in line.detail
        assert line.facts["verified"] is False
    assert said(judge.tls(Handshake(None, None, (reasons.TIMED_OUT, "")), NOW)) == ("failed", "timed-out")
    assert said(judge.tls(Handshake("TLSv1.3", SEEN), NOW)) == ("ok", None)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b"{}", ("ok", None)),
        (304, b"", ("ok", None)),
        (404, b"page not found", ("ok", None)),
        (404, b'{"error": "no such client"}', ("failed", "client-unknown")),
        (400, b'{"Error": "unknown client"}', ("failed", "client-unknown")),
        (400, b'{"error": "bad digest"}', ("failed", "signature-refused")),
        (401, b"", ("failed", "signature-refused")),
        (403, b'{"error": "revoked"}', ("failed", "client-refused")),
        (302, b"", ("failed", "redirected")),
        (503, b"", ("warning", "wfm-busy")),
        (500, b"", ("warning", "wfm-error")),
    ],
)
def test_signed_request(status: int, body: bytes, expected: tuple[str, str | None]) -> None:
    """It is the signature that is tried: what speaks of a client or a signature fails, a missing route does not."""
    assert said(judge.signed(Answer(status, {}, body, NOW), "/x")) == expected


def test_signed_request_lost() -> None:
    """A connection that broke is what it is."""
    failure = TransportFailure(reasons.CONNECTION_LOST, "cut", sent=True)
    assert said(judge.signed(failure, "/x")) == ("failed", "connection-lost")


def test_exit_codes() -> None:
    """0 for ok and skipped, 10 with warnings, 11 with failures."""
    fine, skip = report.ok("dns", ""), report.skipped("tcp", "dns")
    warned, bad = report.warning("tls", reasons.CA_DIFFERS), report.failed("wfm", reasons.NO_URL)
    assert [exit_code(lines) for lines in ([fine, skip], [fine, warned], [warned, bad, fine])] == [0, 10, 11]
    assert report.document([warned], NOW, 1.0)["result"] == "warnings"


def test_text_is_harmless_and_narrow() -> None:
    """No line is longer than 80 columns whatever a server said, and nothing steers the terminal."""
    hostile = Line("tls", Verdict.FAILED, "x" * 300, reasons.TLS_EXPIRED, "\x1b[2J\u202e\n" + "y" * 200, "do " * 60)
    shown = text([hostile], colour=False)
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.replace("\n", "").isprintable()
    assert "\x1b[1;31mfailed\x1b[0m" in text([hostile], colour=True)
