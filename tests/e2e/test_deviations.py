"""WFMs that speak an older form: found by `wfm.dialect: auto`, set by hand, and never registered with twice."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.checked import CheckedDaemon, failed
from tests.support.devwfm import DevWfm

pytestmark = pytest.mark.e2e

BY_HAND = {
    "sandbox-2025": (
        "dialect: auto, certificate_field: public_certificate, certificate_encoding: pem, capabilities_route: client"
    ),
    "sandbox-2026": "dialect: auto, certificate_field: certificate, certificate_encoding: der",
}


def form(request: dict[str, Any]) -> str:
    """The certificate field of an onboarding request, and how it is encoded."""
    document = json.loads(request["body"])
    name = "public_certificate" if "public_certificate" in document else "certificate"
    return f"{name}-{'pem' if document[name].startswith('LS0tLS1CRUdJTi') else 'der'}"


async def registrations(wfm: DevWfm) -> list[int | None]:
    """The client ids that the server gave out, as a list of the statuses of the requests that got one."""
    return [r["status"] for r in await wfm.requests("onboarding") if r["client_id"]]


@pytest.mark.parametrize("like", ["sandbox-2025", "sandbox-2026"])
async def test_found_by_itself(tmp_path: Path, like: str) -> None:
    """`auto` ends in enrolled with exactly one registration, and stays so without a request after a SIGKILL."""
    async with DevWfm(tmp_path / "wfm", "--like", like) as wfm:
        daemon = CheckedDaemon(tmp_path / "d", url=wfm.url, ca_file=wfm.ca_file)
        async with daemon:
            status = await daemon.until("enrolled")
            assert await registrations(wfm) == [201]
            old = ["certificate-der", "public_certificate-pem"]
            forms = [form(request) for request in await wfm.requests("onboarding")]
            assert forms == (old if like == "sandbox-2025" else old[:1])
            assert [client["client_id"] for client in await wfm.clients()] == [status["client_id"]]
            seen = len(await wfm.requests())
            await daemon.stop(signal.SIGKILL)
            await daemon.restart()
            assert (await daemon.until("enrolled"))["client_id"] == status["client_id"]
            assert len(await wfm.requests()) == seen


@pytest.mark.parametrize("like", ["sandbox-2025", "sandbox-2026"])
async def test_set_by_hand(tmp_path: Path, like: str) -> None:
    """With the knobs set it takes two requests: there is nothing to try out."""
    async with (
        DevWfm(tmp_path / "wfm", "--like", like) as wfm,
        CheckedDaemon(tmp_path / "d", url=wfm.url, ca_file=wfm.ca_file, wfm=BY_HAND[like]) as daemon,
    ):
        await daemon.until("enrolled")
        assert [r["status"] for r in await wfm.requests()] == [201, 201]
        assert await registrations(wfm) == [201]


async def test_spec_alone_is_blocked_by_an_old_server(tmp_path: Path) -> None:
    """`wfm.dialect: spec` sends one form only, ends in blocked with what the server said, and reloads into enrolled."""
    async with (
        DevWfm(tmp_path / "wfm", "--like", "sandbox-2025") as wfm,
        CheckedDaemon(tmp_path / "d", url=wfm.url, ca_file=wfm.ca_file, wfm="dialect: spec") as daemon,
    ):
        status = await daemon.until("blocked")
        detail = failed(status, "blocked", "certificate-refused", "online")
        assert detail == "HTTP 400: public_certificate is missing"
        assert [form(request) for request in await wfm.requests()] == ["certificate-der"]
        daemon.config.write_text(daemon.config.read_text().replace("dialect: spec", "dialect: auto"))
        code, out, said = await daemon.command("reload")
        assert code == 0, out + said
        await daemon.until("enrolled")
        assert await registrations(wfm) == [201]


async def test_killed_between_two_forms(tmp_path: Path) -> None:
    """Killed while the older form is under way, it goes on with that form: the first is not asked a second time."""
    async with DevWfm(tmp_path / "wfm", "--like", "sandbox-2025") as wfm:
        said = json.dumps({"Error": "public_certificate is missing"})
        await wfm.fault("answer", route="onboarding", status=400, body=said)
        await wfm.fault("hang", route="onboarding")
        daemon = CheckedDaemon(tmp_path / "d", url=wfm.url, ca_file=wfm.ca_file)
        async with daemon:
            await daemon.journal_line("dialect-form")
            await daemon.journal_line("request", since=1 + daemon.journal.index(await daemon.journal_line("answer")))
            await daemon.stop(signal.SIGKILL)
            await wfm.clear_faults()  # the request under way when it was killed may not have arrived
            await daemon.restart()
            await daemon.until("enrolled")
            forms = [form(request) for request in await wfm.requests("onboarding")]
            assert forms[0] == "certificate-der"
            assert set(forms[1:]) == {"public_certificate-pem"}
            assert await registrations(wfm) == [201]


async def test_busy_first(tmp_path: Path) -> None:
    """A server of an older form that is busy at first is found out all the same."""
    async with DevWfm(tmp_path / "wfm", "--like", "sandbox-2025") as wfm:
        await wfm.fault("answer", route="onboarding", status=503)
        async with CheckedDaemon(tmp_path / "d", url=wfm.url, ca_file=wfm.ca_file) as daemon:
            await daemon.until("enrolled")
            assert await registrations(wfm) == [201]


async def test_no_other_form_after_an_answer_was_lost(tmp_path: Path) -> None:
    """Once an answer was lost no other form is tried by itself: it could register a second time. A knob mends it."""
    async with DevWfm(tmp_path / "wfm", "--like", "sandbox-2025") as wfm:
        await wfm.fault("cut", route="onboarding")
        async with CheckedDaemon(tmp_path / "d", url=wfm.url, ca_file=wfm.ca_file) as daemon:
            await daemon.until("blocked", "certificate-refused")
            assert [form(request) for request in await wfm.requests()] == ["certificate-der"] * 2
            text = daemon.config.read_text().replace("timeout: 5s", "certificate_field: public_certificate")
            daemon.config.write_text(text)
            assert (await daemon.command("reload"))[0] == 0
            await daemon.until("enrolled")
            assert await registrations(wfm) == [201]


async def test_a_passing_404_at_the_capabilities(tmp_path: Path) -> None:
    """A WFM that does not know the new client for a moment is asked by the specification's route again."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        await wfm.fault("answer", route="capabilities", times=2, status=404)
        async with CheckedDaemon(tmp_path / "d", url=wfm.url, ca_file=wfm.ca_file) as daemon:
            status = await daemon.until_status(lambda s: s["next_attempt_at"] is not None, "onboarded and waiting")
            assert failed(status, "onboarded", "client-unknown", "online") == "HTTP 404"
            await daemon.retry()
            await daemon.until("enrolled")
            assert await registrations(wfm) == [201]
