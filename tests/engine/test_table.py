"""The design's table, a test per line: what the WFM answers to an enrolment, and what the device then is and does."""

from __future__ import annotations

import json

import pytest

from margod.engine.policy import Policy
from margod.model import reasons
from margod.model.outcome import Step
from margod.model.reasons import Reason
from margod.model.wire import Answer, Request, TransportFailure
from tests.engine.world import World, accepting, answer

HOUR = 3_600.0
TRYING, PENDING, REJECTED, BLOCKED, UNTRUSTED = (0.1, 1), (1, 10), (6, 60), (5.4 * HOUR, 6 * HOUR), (6, 60)

ENROL = [
    (answer(202), "pending-approval", "pending-approval", PENDING),
    (answer(204), "onboarding", "answer-invalid", TRYING),
    (answer(200, b""), "onboarding", "answer-invalid", TRYING),
    (answer(200, b"<html><title>Login</title>"), "onboarding", "answer-invalid", TRYING),
    (answer(201, b'{"clientId": ""}'), "onboarding", "answer-invalid", TRYING),
    (answer(201, b'{"clientId": 7}'), "onboarding", "answer-invalid", TRYING),
    (answer(201, b'{"clientId": "a/b"}'), "onboarding", "answer-invalid", TRYING),
    (answer(201, b'{"clientId": ".."}'), "onboarding", "answer-invalid", TRYING),
    (answer(201, b'{"clientId": "a\\nb"}'), "onboarding", "answer-invalid", TRYING),
    (answer(201, json.dumps({"clientId": "x" * 10_240}).encode()), "onboarding", "answer-invalid", TRYING),
    (answer(201, b"[" * 100_000), "onboarding", "answer-invalid", TRYING),
    (answer(301, location="https://elsewhere"), "onboarding", "redirected", TRYING),
    (answer(302, location="/"), "onboarding", "redirected", TRYING),
    (answer(307), "onboarding", "redirected", TRYING),
    (answer(400, b'{"error": "certificate expired"}'), "blocked", "certificate-refused", BLOCKED),
    (answer(422, b'{"error": "empty subject"}'), "blocked", "certificate-refused", BLOCKED),
    (answer(401, b'{"error": "signature"}'), "blocked", "signature-refused", BLOCKED),
    (answer(403, b'{"error": "Client rejected"}'), "rejected", "rejected", REJECTED),
    (answer(404), "blocked", "wrong-address", BLOCKED),
    (answer(405), "blocked", "wrong-address", BLOCKED),
    (answer(409), "blocked", "registered-by-other", BLOCKED),
    (answer(410), "blocked", "wrong-address", BLOCKED),
    (answer(402), "onboarding", "answer-unexpected", TRYING),
    (answer(418), "onboarding", "answer-unexpected", TRYING),
    (answer(408), "onboarding", "wfm-busy", TRYING),
    (answer(425), "onboarding", "wfm-busy", TRYING),
    (answer(429), "onboarding", "wfm-busy", TRYING),
    (answer(500), "onboarding", "wfm-error", TRYING),
    (answer(502), "onboarding", "wfm-error", TRYING),
    (answer(503), "onboarding", "wfm-busy", TRYING),
    (answer(504), "onboarding", "timed-out", TRYING),
    (answer(599), "onboarding", "wfm-error", TRYING),
]


def _id(value: object) -> str | None:
    return f"{value.status}-{value.body[:20]!r}" if isinstance(value, Answer) else None


@pytest.mark.parametrize(("said", "state", "reason", "window"), ENROL, ids=_id)
def test_enrolment_answers(said: Answer, state: str, reason: str, window: tuple[float, float]) -> None:
    """Each answer leads to its state and reason, and the next attempt lies in its schedule's first window."""
    world = World(server=lambda step, request: said)
    world.settle()
    found = world.condition()
    assert (found[0].value, found[1]) == (state, reason)
    assert world.engine.due is not None
    assert window[0] <= world.engine.due - world.now.mono <= window[1]
    assert world.enrolments() == 1


@pytest.mark.parametrize(
    "reason", [reasons.DNS_FAILED, reasons.TIMED_OUT, reasons.CONNECTION_LOST], ids=lambda r: r.code
)
def test_network_failures_are_retried(reason: Reason) -> None:
    """A network that fails leaves the device onboarding, offline, and trying again within a second."""
    world = World(server=lambda step, request: TransportFailure(reason, "gone", sent=False))
    world.settle()
    assert world.condition()[0].value == "onboarding"
    assert world.engine.condition(world.now).connection.value == "offline"
    assert 0.1 <= world.until_due() <= 1.0


def test_untrusted_server_is_untrusted() -> None:
    """A certificate that does not verify makes the state untrusted, with the exact cause."""
    world = World(server=lambda step, request: TransportFailure(reasons.TLS_WRONG_HOST, "other.example", sent=False))
    world.settle()
    assert (world.condition()[0].value, world.condition()[1]) == ("untrusted", "tls-wrong-host")
    assert world.engine.condition(world.now).connection.value == "untrusted"


def test_forbidden_means_pending_by_setting() -> None:
    """With onboarding.forbidden_means: pending a 403 is a wait for approval, asked again like one."""
    world = World(server=lambda step, request: answer(403), policy=Policy(forbidden_is_pending=True))
    world.settle()
    assert (world.condition()[0].value, world.condition()[1]) == ("pending-approval", "not-approved-yet")
    assert 1 <= world.until_due() <= 10


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (answer(400), "capabilities-refused"),
        (answer(401), "signature-refused"),
        (answer(403), "client-refused"),
        (answer(404), "client-unknown"),
        (answer(422, b'{"error": "serialNumber: must not be empty"}'), "capabilities-refused"),
        (answer(429), "wfm-busy"),
        (answer(500), "wfm-error"),
        (answer(302), "redirected"),
        (answer(202), "pending-approval"),
    ],
    ids=_id,
)
def test_report_answers_stay_onboarded(said: Answer, reason: str) -> None:
    """No answer to the first report undoes the enrolment; the state stays onboarded and says why."""

    def server(step: Step, request: Request) -> Answer:
        return accepting(step, request) if step is Step.ENROL else said

    world = World(server=server)
    world.settle()
    assert (world.condition()[0].value, world.condition()[1]) == ("onboarded", reason)
    for _ in range(5):
        world.until_due()
    assert world.enrolments() == 1
    assert world.condition()[0].value == "onboarded"


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 405, 409, 418, 422, 202, 204])
def test_root_ca_download_refusals_are_untrusted(status: int) -> None:
    """Without a root CA there is no trust, whatever the refusal was; nothing but that GET is sent."""
    world = World(server=lambda step, request: answer(status), trusted=False)
    world.settle()
    assert world.condition()[0].value == "untrusted"
    assert {step for step, _, _ in world.asked} == {Step.FETCH_TRUST}


def test_server_words_are_shown_clean() -> None:
    """What the server said is in the detail, without control or direction characters, at most 200 long."""
    body = json.dumps({"error": "bad\u202e\x1b[31m" + "x" * 500}).encode()
    world = World(server=lambda step, request: answer(403, body))
    world.settle()
    detail = world.engine.condition(world.now).detail
    assert detail.startswith("HTTP 403: bad [31mxxx")
    assert len(detail) <= 200
    assert detail.isprintable()


def test_clock_offset_explains_a_refused_signature() -> None:
    """A 401 from a server whose Date is far from ours names the clock."""
    said = answer(401, date="Mon, 12 Jan 1970 16:46:40 GMT")  # three hours ahead of the world's clock
    world = World(server=lambda step, request: said)
    world.settle()
    assert "clock is 3h behind the WFM's" in world.engine.condition(world.now).detail
