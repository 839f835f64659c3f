"""`margod reset`: started again at the same WFM, with what of the old, and cleared for another owner."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from margod.identity import CERTIFICATE_RECORD, KEY_RECORD, mint
from tests.e2e.test_moving import asked, go, here, no_deletes
from tests.support.daemon import Daemon
from tests.support.devwfm import DevWfm
from tests.support.rawserver import Certificates, RawServer, Turn

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("option", ["", "--new-identity"])
async def test_onboarded_anew(tmp_path: Path, option: str) -> None:
    """A second registration with another certificate, of the same key unless another is asked for; over a restart."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file)
        await daemon.start()
        before = await daemon.until("enrolled")
        code, out, _ = await daemon.command("reset", "--yes", *([option] if option else []))
        assert (code, "onboards anew" in out) == (0, True)
        after = await daemon.until("enrolled")
        assert after["client_id"] not in (None, before["client_id"])
        assert after["identity"]["fingerprint"] != before["identity"]["fingerprint"]
        assert (after["identity"]["key_id"] == before["identity"]["key_id"]) is not bool(option)
        await daemon.stop(signal.SIGKILL)
        async with daemon:
            assert here(await daemon.until("enrolled")) == here(after)
        assert len(await wfm.clients()) == 2
        assert await no_deletes(wfm)


async def test_a_given_identity_stays(tmp_path: Path) -> None:
    """With identity.key_file the same certificate asks again; another key is the files' to bring, and nothing else."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        key, certificate = tmp_path / "d.key", tmp_path / "d.crt"
        made = mint("given", None, 86_400.0, time.time())
        for file, record in ((key, KEY_RECORD), (certificate, CERTIFICATE_RECORD)):
            file.write_bytes(made[record])
            file.chmod(0o600)
        given = f"identity: {{key_file: {key}, certificate_file: {certificate}}}"
        async with Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml=given) as daemon:
            before = await daemon.until("enrolled")
            code, _, said = await daemon.command("reset", "--yes", "--new-identity")
            assert (code, "identity.key_file" in said) == (1, True)
            assert here(await daemon.status()) == here(before)
            await wfm.forget()
            assert (await daemon.command("reset", "--yes"))[0] == 0
            after = await daemon.until("enrolled")
            assert after["client_id"] not in (None, before["client_id"])
            assert after["identity"] == before["identity"]


async def test_unregistered_first(tmp_path: Path) -> None:
    """The one DELETE: where the WFM confirms it the device starts again, otherwise nothing is reset."""
    async with DevWfm(tmp_path / "wfm") as wfm, Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file) as daemon:
        before = await daemon.until("enrolled")
        await wfm.fault("answer", route="capabilities", status=503)
        code, _, said = await daemon.command("reset", "--yes", "--unregister")
        assert (code, "503" in said, "without --unregister" in said) == (1, True, True)
        await wfm.stop()
        code, _, said = await daemon.command("reset", "--yes", "--unregister")
        assert (code, "nothing was reset" in said) == (1, True)
        assert here(await daemon.status()) == here(before)
        await wfm.start()
        assert [one["device_id"] for one in await wfm.devices()] == [before["device_id"]]
        assert (await daemon.command("reset", "--yes", "--unregister"))[0] == 0
        after = await daemon.until("enrolled")
        assert [one["device_id"] for one in await wfm.devices()] == [after["device_id"]]
        deletes = [one for one in await wfm.requests("capabilities") if one["method"] == "DELETE"]
        assert [(one["status"], one["client_id"]) for one in deletes if one["status"]] == [(204, before["client_id"])]


async def test_nothing_to_unregister(tmp_path: Path) -> None:
    """A device that is not enrolled has nothing to unregister; without that it may be reset."""
    wfm = DevWfm(tmp_path / "wfm", "--approval", "manual")
    async with wfm, Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file) as daemon:
        before = await daemon.until("pending-approval")
        code, _, said = await daemon.command("reset", "--yes", "--unregister")
        assert (code, "not enrolled" in said) == (1, True)
        assert (await daemon.command("reset", "--yes"))[0] == 0
        status = await daemon.until("pending-approval")
        assert status["identity"]["fingerprint"] != before["identity"]["fingerprint"], "asked anew"
        assert len(await wfm.clients()) == 2


@pytest.mark.parametrize(("route", "step"), [("onboarding", "enrol"), ("capabilities", "report")])
async def test_while_a_request_is_under_way(tmp_path: Path, route: str, step: str) -> None:
    """A reset waits for the answer: what it brings belongs to the old enrolment and is archived with it.

    Whoever was told that it is done is not shown the old enrolment by the status any more.
    """
    async with DevWfm(tmp_path / "wfm") as wfm:
        await wfm.fault("slow", route=route, when="after", seconds=0.02)
        async with Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file) as daemon:
            await daemon.journal_line("request", having=f"step={step}")
            assert "message" in await daemon.post("/v1/reset")  # a command would take as long as the answer to start
            await daemon.until("enrolled")
            registered = [one["client_id"] for one in await wfm.clients()]
            assert len(registered) == 2
            assert (await daemon.status())["client_id"] == registered[1]


async def test_a_reset_is_not_undone_by_the_configuration(tmp_path: Path) -> None:
    """What was reset does not come back when the WFM is left and returned to; what was not, does."""
    first = DevWfm(tmp_path / "a")
    async with first, DevWfm(tmp_path / "b") as other, Daemon(tmp_path, url=first.url, ca_file=first.ca_file) as daemon:
        old = await daemon.until("enrolled")
        there = await go(daemon, other)
        await go(daemon, first)
        assert (await daemon.command("reset", "--yes"))[0] == 0
        anew = await daemon.until("enrolled")
        assert anew["client_id"] != old["client_id"]
        before = await asked(first, other)
        assert here(await go(daemon, other)) == here(there)
        assert here(await go(daemon, first)) == here(anew)
        assert await asked(first, other) == before


WAYS_OUT = ["reset", "reset --new-identity", "retry"]


@pytest.mark.parametrize("way", WAYS_OUT)
async def test_registered_by_other(tmp_path: Path, way: str) -> None:
    """Each way out that the hint of the 409 lock-out names is one command, and leads to enrolled."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        await wfm.fault("answer", route="onboarding", status=409)
        async with Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file) as daemon:
            status = await daemon.until("blocked", "registered-by-other")
            assert f"`margod {way}`" in status["hint"]
            assert (await daemon.command(*way.split(), *(["--yes"] if "reset" in way else [])))[0] == 0
            await daemon.until("enrolled")


async def test_wiped(tmp_path: Path) -> None:
    """Nothing but the lock is left of key, enrolment, archives and quarantine, and nothing is made until a restart."""
    async with DevWfm(tmp_path / "a") as first, DevWfm(tmp_path / "b") as other:
        daemon = Daemon(tmp_path, url=first.url, ca_file=first.ca_file)
        await daemon.start()
        before = await daemon.until("enrolled")
        await go(daemon, other)
        (daemon.state / "quarantine").mkdir()
        (daemon.state / "quarantine" / "gen-000001").write_text("an old key")
        assert (await daemon.command("reset", "--yes", "--wipe"))[0] == 0
        await daemon.until("blocked", "wiped")
        seen = await asked(first, other)
        await daemon.reload()
        await daemon.retry()
        assert (await daemon.until("blocked", "wiped"))["identity"] is None
        assert await daemon.stop() == 0
        assert sorted(path.name for path in daemon.state.iterdir()) == ["lock"]
        assert await asked(first, other) == seen
        async with daemon:
            after = await daemon.until("enrolled")
            assert after["identity"]["key_id"] != before["identity"]["key_id"]


async def test_the_question(tmp_path: Path) -> None:
    """Without a terminal it asks for --yes; flags that exclude each other and a missing daemon are plain errors."""
    daemon = Daemon(tmp_path)
    code, _, said = await daemon.command("reset")
    assert (code, "--yes" in said) == (2, True)
    code, _, said = await daemon.command("reset", "--wipe", "--new-identity", "--yes")
    assert (code, "not allowed with" in said) == (2, True)
    code, _, said = await daemon.command("reset", "--yes")
    assert (code, "systemctl start margod" in said, "Traceback" in said) == (1, True, False)
    code, out, _ = await daemon.command("reset", "--help")
    assert (code, "Exit codes: 0 done" in out) == (0, True)


QUICK = "onboarding: {confirm: 1s, forgotten_after: 1s, when_forgotten: reonboard}"


async def test_unregistered_and_killed_before_the_reset(tmp_path: Path) -> None:
    """The owner's word outlives the process: what the WFM has removed does not register itself again, and says why."""
    certificates, deleted, registered = Certificates(), asyncio.Event(), 0
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(certificates.ca.cert_pem.bytes())

    async def script(turn: Turn) -> None:
        nonlocal registered
        line = turn.request.line
        if line.startswith("DELETE"):
            deleted.set()
            await turn.hold()
        elif line.startswith("POST /api/v1/onboarding "):
            registered += 1
            await turn.answer(201, b'{"clientId":"c%d"}' % registered)
        elif deleted.is_set() and "/c1/" in line:
            await turn.answer(404, b'{"error":"unknown client"}')
        elif "capab" in line:
            await turn.answer(201)
        else:
            await turn.answer(200, b'{"manifestVersion":1,"deployments":[]}')

    async with RawServer(script, context=certificates.server()) as server:
        daemon = Daemon(tmp_path, url=server.url, ca_file=ca_file, yaml=QUICK)
        await daemon.start()
        await daemon.until("enrolled")
        asked = asyncio.ensure_future(daemon.command("reset", "--yes", "--unregister"))
        async with asyncio.timeout(60):
            await deleted.wait()
        await daemon.stop(signal.SIGKILL)
        assert (await asked)[0] != 0
        async with daemon:
            await daemon.until_status(lambda s: s["last_error"] is not None, "doubted")
            await asyncio.sleep(1.1)  # what is waited for is time itself: onboarding.forgotten_after
            await daemon.retry()
            await daemon.until("refused", "forgotten")
            for _ in range(3):  # each waits for the disk, as what would be begun does
                await daemon.reload()
            status = await daemon.status()
            assert (status["rotation"], registered) == (None, 1)
            assert [(w["code"], "margod reset" in w["hint"]) for w in status["warnings"]] == [("leaving", True)]
            assert (await daemon.command("reset", "--yes"))[0] == 0
            after = await daemon.until("enrolled")
            assert (after["client_id"], after["warnings"], registered) == ("c2", [], 2)
            assert not [line for line in daemon.journal if "rotation-begun" in line]


@pytest.mark.parametrize(("status", "leaves"), [(403, []), (502, ["leaving"])])
async def test_a_refused_unregistering_is_over(tmp_path: Path, status: int, leaves: list[str]) -> None:
    """A clear no leaves everything as it was; after an answer that may be a proxy's the device may be gone."""
    async with DevWfm(tmp_path / "wfm") as wfm, Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file) as daemon:
        before = await daemon.until("enrolled")
        await wfm.fault("answer", route="capabilities", status=status)
        assert (await daemon.command("reset", "--yes", "--unregister"))[0] == 1
        now = await daemon.until_status(lambda s: [w["code"] for w in s["warnings"]] == leaves, "as it is")
        assert here(now) == here(before)
        assert (await daemon.command("reset", "--yes", "--unregister"))[0] == 0
        assert (await daemon.until("enrolled"))["warnings"] == []
