"""A courier's calls: signed in the device's name, over a connection of their own, for one enrolment."""

from __future__ import annotations

from pathlib import Path

import pytest

from margod.model import reasons
from margod.model.outcome import Kind
from margod.model.wire import Answer, Auth, Request, TransportFailure
from margod.shell.courier import Courier
from tests.support.rawserver import Certificates, RawServer, Turn
from tests.support.shell import Shell
from tests.support.tokenserver import Said, TokenServer, write_ca

POLL = Request("GET", "/api/v1/clients/client-1/deployments", Auth.SIGNATURE, {"Accept": "text/plain"})
pytestmark = pytest.mark.e2e


async def wfm(turn: Turn) -> None:
    """Accept the device, and answer everything else with 200."""
    if "onboarding" in turn.request.line:
        await turn.answer(201, b'{"clientId": "client-1"}')
    else:
        await turn.answer(200, b"fine")


async def stranger(turn: Turn) -> None:
    """Accept nobody."""
    await turn.answer(403)


async def test_a_call_is_signed_and_has_its_own_connection(tmp_path: Path) -> None:
    """Two calls of one courier share a connection, which is not the enrolment's; each bears the device's signature."""
    certificates = Certificates()
    (ca := tmp_path / "ca.pem").write_bytes(certificates.ca.cert_pem.bytes())
    async with (
        RawServer(wfm, context=certificates.server()) as server,
        Shell(tmp_path, url=server.url, ca_file=ca, timeout="20s") as it,
    ):
        assert it.status()["state"] == "enrolled"
        before = server.connections
        courier = Courier(it.actions, it.disk, "test")
        for _ in range(2):
            answer = await courier.call(POLL)
            assert isinstance(answer, Answer)
            assert (answer.status, answer.body) == (200, b"fine")
        assert server.connections == before + 1
        assert {"signature", "signature-input"} <= {name.lower() for name, _ in server.requests[-1].headers}
        await courier.close()
        assert isinstance(await courier.call(POLL), Answer), "it is opened anew where it is needed"
        assert server.connections == before + 2
        await courier.close()


async def test_nobody_speaks_for_a_device_that_is_not_enrolled(tmp_path: Path) -> None:
    """Nothing is sent, and the reason says why."""
    certificates = Certificates()
    (ca := tmp_path / "ca.pem").write_bytes(certificates.ca.cert_pem.bytes())
    async with (
        RawServer(stranger, context=certificates.server()) as server,
        Shell(tmp_path, url=server.url, ca_file=ca, timeout="20s") as it,
    ):
        before = len(server.requests)
        result = await Courier(it.actions, it.disk, "test").call(POLL)
        assert isinstance(result, TransportFailure)
        assert (result.reason, result.sent, len(server.requests)) == (reasons.NOT_ENROLLED, False, before)


async def test_signed_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signature that was made ahead is the one that is sent, once, and not when it has grown old."""
    certificates = Certificates()
    (ca := tmp_path / "ca.pem").write_bytes(certificates.ca.cert_pem.bytes())
    async with (
        RawServer(wfm, context=certificates.server()) as server,
        Shell(tmp_path, url=server.url, ca_file=ca, timeout="20s") as it,
    ):
        courier = Courier(it.actions, it.disk, "test")

        def sent() -> str:
            return next(value for name, value in server.requests[-1].headers if name.lower() == "signature")

        courier.sign_ahead(POLL)
        (ahead,) = courier._ahead.values()
        signed = (await ahead.signing).headers["Signature"]
        await courier.call(POLL)
        assert sent() == signed
        await courier.call(POLL)
        assert sent() != signed
        monkeypatch.setattr("margod.shell.courier.AHEAD", 0.0)
        courier.sign_ahead(POLL)
        (ahead,) = courier._ahead.values()
        signed = (await ahead.signing).headers["Signature"]
        await courier.call(POLL)
        assert sent() != signed
        await courier.close()


async def test_a_question_that_another_enrolment_has_overtaken(tmp_path: Path) -> None:
    """Where the WFM has no route for it, what the former enrolment would tell instead is not told in the new one."""
    certificates = Certificates()
    ca = write_ca(certificates, tmp_path / "ca.pem")
    async with (
        TokenServer(certificates) as server,
        # much is done within the first request
        Shell(tmp_path, url=server.url, ca_file=ca, timeout="60s", protocol="token") as it,
    ):
        courier = Courier(it.actions, it.disk, "test")
        server.confirm = Said(404)
        assert (await courier.ask_whether_known()).kind is Kind.ACCEPTED, "by its capabilities"
        assert len([each for each in server.requests if "/capabilities" in each.line]) == 2

        async def enrol_anew(turn: Turn) -> None:
            before = courier.binding
            await it.disk.run(lambda: it.ground.reset(new_identity=False))
            assert (await it.look())["state"] == "enrolled"
            assert courier.binding not in ("", before)
            await turn.answer(404)

        server.confirm = enrol_anew
        outcome = await courier.ask_whether_known()
        assert (outcome.kind, outcome.reason, outcome.sent) == (Kind.UNREACHABLE, reasons.NOT_ENROLLED, False)
        assert len([each for each in server.requests if "/capabilities" in each.line]) == 3, "the enrolment's own"
        await courier.close()
