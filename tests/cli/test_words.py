"""A status in words, with the time given."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from margod.cli.words import describe, line, shown
from margod.client import StatusDocument
from tests.support.local_api import STATUS

NOW = datetime(2026, 11, 21, 18, 2, 50, tzinfo=UTC).timestamp()


def status(**changes: Any) -> StatusDocument:
    return cast("StatusDocument", copy.deepcopy(STATUS) | changes)


@pytest.mark.parametrize(
    ("changes", "now", "said"),
    [
        ({}, NOW, "attempt 4 in 2m 10s, at 2026-11-21 18:05:00 UTC"),
        ({}, NOW + 3600, "attempt 4 now"),
        ({}, None, "attempt 4 at 2026-11-21 18:05:00 UTC"),
        ({"next_attempt_at": None}, NOW, "waiting for an answer"),
        ({"next_attempt_at": None, "state": "enrolled"}, NOW, "nothing to be done"),
        ({"next_attempt_at": None, "state": "starting"}, NOW, "starting"),
        ({"state": "discovering", "reason": "no-url"}, NOW, "when wfm.url is set (margod reload)"),
        (
            {"state": "discovering", "reason": "several-wfms"},
            NOW,
            "when one is chosen, or wfm.url is set (margod reload)",
        ),
        (
            {"state": "discovering", "reason": "no-wfm-found"},
            NOW,
            "when a WFM is seen, or wfm.url is set (margod reload)",
        ),
    ],
)
def test_next(changes: dict[str, Any], now: float | None, said: str) -> None:
    """Pins what is said of the next attempt: how soon while it is read once, only when where the text stays."""
    text = describe(status(**changes), colour=False, now=now)
    assert f"\nNext         {said}\n" in text


def test_the_same_error_is_said_once() -> None:
    """Pins that the last error is left out where it is the present reason."""
    document = status()
    last = document["last_error"]
    assert last is not None
    assert "Last error" in describe(document, colour=False)
    last["code"], last["detail"] = document["reason"], document["detail"]
    assert "Last error" not in describe(document, colour=False)


def test_what_is_not_there_yet() -> None:
    """Pins a fresh device: nothing configured, nothing made."""
    text = describe(
        status(
            wfm={"url": None, "protocol": "signed", "proxy": None},
            identity=None,
            trust={"source": "none", "anchors": [], "offered": [], "staged": [], "retired": [], "presented": None},
            warnings=[],
        ),
        colour=False,
    )
    rows = {row[:13].strip(): row[13:] for row in text.splitlines()}
    assert [rows[name] for name in ("WFM", "Root CA", "Client id", "Certificate")] == [
        "none configured",
        "none yet",
        "none yet",
        "none yet",
    ]


def test_what_helps_stands_apart_from_what_happened() -> None:
    """A warning ends with a file's or a server's own words: the hint is a row of its own, once for several alike."""
    broken = [{"code": "capabilities-invalid", "message": f"It cannot be read. {n}", "hint": "Mend it."} for n in "ab"]
    other = {"code": "config-last-good", "message": "m.yaml: No such file", "hint": ""}
    rows = describe(status(warnings=[*broken, other]), colour=False).splitlines()[-4:]
    assert [(row[:13].strip(), row[13:]) for row in rows] == [
        ("Warning", "capabilities-invalid: It cannot be read. a"),
        ("Warning", "capabilities-invalid: It cannot be read. b"),
        ("What helps", "Mend it."),
        ("Warning", "config-last-good: m.yaml: No such file"),
    ]


def test_one_line() -> None:
    """Pins the line of `--watch` and `wait`."""
    assert line(status()) == (
        "onboarding dns-failed connection=offline attempt=3 next=2026-11-21T18:05:00Z warning=config-last-good"
    )


def test_shown() -> None:
    """Pins that nothing is left that steers a terminal."""
    assert shown("a\x1b[2J\u202e\u2028\x00ä") == "a [2J   ä"


def test_proxy_is_shown_where_there_is_one() -> None:
    """Pins that the proxy on the way to the WFM has a row of its own, and only then."""
    wfm = {"url": "https://wfm.example", "protocol": "signed"}
    assert "Proxy" not in describe(status(wfm={**wfm, "proxy": None}), colour=False)
    text = describe(status(wfm={**wfm, "proxy": "http://proxy.example:3128"}), colour=False)
    assert f"{'Proxy':13}http://proxy.example:3128" in text.splitlines()


def test_the_outbox() -> None:
    """Pins that reports that wait are shown with what keeps them, and that an empty outbox is not."""
    assert "Outbox" not in describe(status(), colour=False)
    error = {"code": "wfm-busy", "message": "Busy.", "hint": "", "detail": "HTTP 503", "at": "2026-11-21T18:00:00Z"}
    waiting = {"waiting": 2, "parked": 0, "oldest": "2026-11-21T17:02:50Z", "next_attempt_at": "2026-11-21T18:05:00Z"}
    text = describe(status(outbox={**waiting, "last_error": error}), colour=False, now=NOW)
    assert "\nOutbox       2 reports of deployments wait, the oldest since 2026-11-21" in text
    assert "\n             wfm-busy: Busy. HTTP 503\n             Next attempt at 2026-11-21 18:05:00 UTC.\n" in text
    text = describe(status(outbox={**waiting, "waiting": 1, "last_error": None}), colour=False)
    assert "\nOutbox       1 report of deployments waits, the oldest since 2026-11-21 17:02:50\n" in text
    unread = {"waiting": None, "parked": None, "oldest": None, "next_attempt_at": None, "last_error": None}
    assert "Outbox" not in describe(status(outbox=unread), colour=False)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"accepted": True, "settling": False, "children": 0}, ""),
        ({"accepted": True, "settling": False, "children": 2}, "as the WFM has them; 2 devices are behind this one"),
        (
            {"accepted": False, "settling": False, "children": 0},
            "not all are accepted yet (margod capabilities --diff)",
        ),
        ({"accepted": False, "settling": True, "children": 1}, "a change is to hold before it is reported"),
    ],
)
def test_what_the_wfm_has_of_the_device(found: dict[str, object], said: str) -> None:
    """Nothing is said where all is as it should be and nobody is behind this device, or it is not onboarded."""
    text = describe(status(capabilities=found, client_id="c-1"), colour=False)
    assert ("\nReported" in text) is bool(said)
    assert said in " ".join(text.split())
    assert "Reported" not in describe(status(capabilities=found), colour=False)
