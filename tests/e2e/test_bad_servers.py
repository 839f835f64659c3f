"""The daemon as a process against servers that are broken, slow, hostile or not the right ones."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from margod.engine.policy import PENDING, SPREAD
from tests.e2e.checked import CheckedDaemon, failed
from tests.support.devwfm import DevWfm
from tests.support.rawserver import Certificates, RawServer, Turn

pytestmark = pytest.mark.e2e

KINDS = {
    "expired": "tls-expired",
    "not-yet-valid": "tls-not-yet-valid",
    "wrong-host": "tls-wrong-host",
    "self-signed": "tls-unknown-issuer",
    "other-ca": "tls-unknown-issuer",
}


def waits(reason: str) -> Callable[[dict[str, Any]], bool]:
    """A condition for `until_status`: it failed for this reason and waits for the next attempt."""

    def reached(status: dict[str, Any]) -> bool:
        error = status["last_error"]
        return error is not None and error["code"] == reason and status["next_attempt_at"] is not None

    return reached


def seconds_ahead(status: dict[str, Any]) -> float:
    """How far away the next attempt is."""
    then = datetime.strptime(status["next_attempt_at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    return then.timestamp() - time.time()


async def test_certificates_that_do_not_verify(tmp_path: Path) -> None:
    """Each wrong certificate ends in untrusted with its own reason, before a byte of HTTP; the right one enrols."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        for kind, reason in KINDS.items():
            await wfm.fault("certificate", kind=kind, times=0)
            await wfm.stats(reset=True)
            async with CheckedDaemon(tmp_path / kind[:3], url=wfm.url, ca_file=wfm.ca_file) as daemon:
                status = await daemon.until_status(waits(reason), reason)
                assert failed(status, "untrusted", reason, "untrusted")
                stats = await wfm.stats()
                looks = reason == "tls-unknown-issuer"  # who is there is looked at by another handshake
                assert (stats["requests_total"], stats["connections"]) == (0, 2 if looks else 1)
                await wfm.clear_faults()
                await daemon.retry()
                assert (await daemon.until("enrolled"))["connection"] == "online"
        assert len(await wfm.clients()) == len(KINDS)


async def test_tls_1_2_only(tmp_path: Path) -> None:
    """TLS 1.2 is taken by default, and refused before a byte of HTTP where tls.minimum_version is 1.3."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        await wfm.fault("tls12", times=0)
        async with CheckedDaemon(tmp_path / "a", url=wfm.url, ca_file=wfm.ca_file) as daemon:
            await daemon.until("enrolled")
        await wfm.stats(reset=True)
        strict = 'tls: {minimum_version: "1.3"}'
        async with CheckedDaemon(tmp_path / "b", url=wfm.url, ca_file=wfm.ca_file, yaml=strict) as daemon:
            status = await daemon.until_status(waits("tls-version"), "tls-version")
            assert failed(status, "untrusted", "tls-version", "untrusted")
            stats = await wfm.stats()
            assert (stats["requests_total"], stats["handshakes"], stats["handshakes_failed"]) == (0, 0, 1)
            await wfm.clear_faults()
            await daemon.retry()
            await daemon.until("enrolled")


async def test_answers_without_end_fill_no_memory(tmp_path: Path) -> None:
    """A body that does not stop, or announces 1 GB, is dropped; the memory of the process stays where it was."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        await wfm.fault("answer", route="onboarding", status=500)  # the first attempt loads what every one needs
        await wfm.fault("endless", route="onboarding")
        head = "HTTP/1.1 201 Created\r\nContent-Length: 1000000000\r\n\r\n"
        await wfm.fault("garbage", route="onboarding", body=head + "[" * 200_000, times=0)
        daemon = CheckedDaemon(tmp_path / "d", url=wfm.url, ca_file=wfm.ca_file)
        daemon.fresh = True
        async with daemon:
            await daemon.until_status(lambda s: s["last_error"] is not None, "failed once")
            before = daemon.memory()
            status = await daemon.until_status(waits("answer-too-large"), "answer-too-large")
            assert "65536 bytes" in failed(status, "onboarding", "answer-too-large", "offline")
            while sum("attempt-failed code=answer-too-large" in line for line in daemon.journal) < 2:
                await daemon.journal_line("attempt-failed", len(daemon.journal))
            await wfm.clear_faults()
            await daemon.until("enrolled")  # by itself
            assert daemon.memory("VmHWM") - before < 6 * 1024


async def test_a_row_of_faults_and_then_by_itself(tmp_path: Path) -> None:
    """No TLS, a cut connection and a 503 in a row: each is told, and it enrols without anybody's help."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        await wfm.fault("plain")
        await wfm.fault("cut", route="onboarding")
        await wfm.fault("answer", route="onboarding", status=503, body=json.dumps({"error": "\x1b[31mbu\u202e\r\nsy"}))
        async with CheckedDaemon(tmp_path / "d", url=wfm.url, ca_file=wfm.ca_file) as daemon:
            status = await daemon.until("enrolled")
            assert status["attempt"] == 0
            lines = [line for line in daemon.journal if "attempt-failed" in line]
            codes = ["tls-failed", "connection-lost", "wfm-busy"]
            assert [code for code, line in zip(codes, lines, strict=True) if f"code={code}" in line] == codes
            assert "HTTP 503: [31mbu sy" in lines[-1]
            assert len([c for c in await wfm.clients() if c["client_id"]]) == 1


async def test_slow_and_silent_servers(tmp_path: Path) -> None:
    """A server that accepts and says nothing, one silent before TLS, and one that sends a byte a second: timed out."""
    async with DevWfm(tmp_path / "a") as quiet, DevWfm(tmp_path / "b") as silent, DevWfm(tmp_path / "c") as slow:
        await quiet.fault("hang", times=0)
        await silent.fault("silent", times=0)
        await slow.fault("slow", times=0, status=201, body='{"clientId": "never-read"}')

        async def look(wfm: DevWfm, name: str) -> None:
            options = "timeout: 5s"  # so long may pass between the line and the look at the status
            async with CheckedDaemon(tmp_path / name, url=wfm.url, ca_file=wfm.ca_file, wfm=options) as daemon:
                await daemon.journal_line("request")
                during = await daemon.status()  # served while it waits
                assert (during["state"], during["reason"], during["next_attempt_at"]) == ("onboarding", "asking", None)
                status = await daemon.until_status(waits("timed-out"), "timed-out")
                assert failed(status, "onboarding", "timed-out", "offline")
                await wfm.clear_faults()
                await wfm.close_connections()
                await daemon.until("enrolled")

        await asyncio.gather(look(quiet, "x"), look(silent, "y"), look(slow, "z"))


@pytest.mark.parametrize("where", ["itself", "elsewhere"])
async def test_redirects_are_not_followed(tmp_path: Path, where: str) -> None:
    """A redirect is shown with its aim and followed by nothing: one request here, no connection there."""

    async def unwanted(turn: Turn) -> None:
        await turn.answer(201, b'{"clientId": "planted"}')

    certificates = Certificates()
    async with (
        DevWfm(tmp_path / "wfm") as wfm,
        RawServer(unwanted, context=certificates.server(), wild=True) as elsewhere,
    ):
        aim = {} if where == "itself" else {"location": f"{elsewhere.url}/api/v1/onboarding"}
        await wfm.fault("redirect", route="onboarding", times=0, **aim)
        async with CheckedDaemon(tmp_path / "d", url=wfm.url, ca_file=wfm.ca_file) as daemon:
            status = await daemon.until_status(waits("redirected"), "redirected")
            detail = failed(status, "onboarding", "redirected", "online")
            assert f"to {aim.get('location', wfm.url)}" in detail
            await wfm.clear_faults()
            await daemon.until("enrolled")
            *redirected, _ = await wfm.requests("onboarding")
            assert len(redirected) == sum("attempt-failed code=redirected" in line for line in daemon.journal)
            assert elsewhere.connections == 0


async def test_retry_after_is_kept(tmp_path: Path) -> None:
    """Before a Retry-After is over nothing is sent: not by `margod retry`, not after a SIGKILL and a new start."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        await wfm.fault("answer", route="onboarding", status=503, headers={"Retry-After": "3600"})
        daemon = CheckedDaemon(tmp_path / "d", url=wfm.url, ca_file=wfm.ca_file)
        async with daemon:
            status = await daemon.until_status(waits("wfm-busy"), "wfm-busy")
            failed(status, "onboarding", "wfm-busy", "online")
            assert 3400 < seconds_ahead(status) < 3600 + SPREAD + 5
            await daemon.answer_kept()
            await daemon.retry()
            assert seconds_ahead(await daemon.status()) > 3400
            await daemon.stop(signal.SIGKILL)
            await daemon.restart()
            status = await daemon.until("onboarding", "wfm-busy")
            assert seconds_ahead(status) > 3400
            await daemon.retry()
            assert seconds_ahead(await daemon.status()) > 3400
            assert len(await wfm.requests()) == 1


async def test_401_with_another_clock(tmp_path: Path) -> None:
    """A refused signature beside a Date hours away names the clock; without that it names what was said."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        date = {"Date": formatdate(time.time() + 7255, usegmt=True)}  # 2h still, where the device asks a minute later
        await wfm.fault("answer", route="onboarding", status=401, headers=date, body='{"error": "signature"}', times=2)
        async with CheckedDaemon(tmp_path / "d", url=wfm.url, ca_file=wfm.ca_file) as daemon:
            status = await daemon.until("blocked")
            detail = failed(status, "blocked", "signature-refused", "online")
            assert detail.startswith("this device's clock is 2h behind the WFM's; HTTP 401: signature")
            assert seconds_ahead(status) > 5 * 3600
            await daemon.retry()
            await daemon.until("enrolled")


async def test_403_means_pending_where_the_owner_says_so(tmp_path: Path) -> None:
    """A WFM that says 403 until a person approves: rejected by default, pending by setting, enrolled afterwards."""
    async with DevWfm(tmp_path / "wfm", "--approval", "manual", "--pending", "403") as wfm:
        pending = "onboarding: {forbidden_means: pending}"
        async with (
            CheckedDaemon(tmp_path / "a", url=wfm.url, ca_file=wfm.ca_file) as plain,
            CheckedDaemon(tmp_path / "b", url=wfm.url, ca_file=wfm.ca_file, yaml=pending) as patient,
        ):
            status = await plain.until("rejected")
            assert failed(status, "rejected", "rejected", "online") == "HTTP 403: client not approved"
            assert seconds_ahead(status) > 0
            status = await patient.until_status(
                lambda s: s["state"] == "pending-approval" and bool(s["next_attempt_at"]),
                "pending, between two attempts",
            )
            assert (status["reason"], status["last_error"], status["connection"]) == (
                "not-approved-yet",
                None,
                "online",
            )
            assert seconds_ahead(status) <= PENDING.window(status["attempt"])
            for client in await wfm.clients():
                await wfm.approve(client["number"])
            await asyncio.gather(plain.retry(), patient.retry())
            await asyncio.gather(plain.until("enrolled"), patient.until("enrolled"))


async def test_an_unusable_client_id_is_not_taken(tmp_path: Path) -> None:
    """An id that could change a path leaves nothing in the vault; a later good one counts."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        planted = json.dumps({"clientId": "../../../etc"})
        await wfm.fault("answer", route="onboarding", status=201, body=planted, times=0)
        async with CheckedDaemon(tmp_path / "d", url=wfm.url, ca_file=wfm.ca_file) as daemon:
            status = await daemon.until_status(waits("answer-invalid"), "answer-invalid")
            failed(status, "onboarding", "answer-invalid", "online")
            assert (status["client_id"], list(daemon.state.glob("gen-*/enrolment.json"))) == (None, [])
            await wfm.clear_faults()
            status = await daemon.until("enrolled")
            assert status["client_id"] == (await wfm.clients())[0]["client_id"]


async def test_what_was_said_outlives_a_failing_network(tmp_path: Path) -> None:
    """After 202 a connection that breaks and a 500 take nothing back: pending, offline, with the last error beside."""
    async with (
        DevWfm(tmp_path / "wfm", "--approval", "manual", "--retry-after", "0") as wfm,
        CheckedDaemon(tmp_path / "d", url=wfm.url, ca_file=wfm.ca_file) as daemon,
    ):
        await daemon.until("pending-approval")
        await wfm.fault("cut", route="onboarding", times=0)
        await daemon.retry()
        status = await daemon.until_status(lambda s: s["connection"] == "offline", "offline")
        assert (status["state"], status["reason"]) == ("pending-approval", "pending-approval")
        assert status["last_error"]["code"] == "connection-lost"
        await wfm.clear_faults()
        await wfm.approve(1)
        await daemon.until("enrolled")
