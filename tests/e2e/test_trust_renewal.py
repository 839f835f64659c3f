"""A WFM's root CA that changes: staged, adopted, swapped, intercepted, accepted by a person, through a real process."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from margod import trust
from tests.e2e.checked import CheckedDaemon
from tests.e2e.test_trust_pin import ROUTE, document, root
from tests.shell.test_renewal import sized
from tests.support.devwfm import DevWfm
from tests.support.rawserver import Certificates, RawServer, Turn

pytestmark = pytest.mark.e2e

FAST = "refresh: 1s, adopt_after: 2s"
ACCEPT = f"trust: {{first_use: accept, {FAST}}}"


def other(wfm: DevWfm) -> str:
    """The fingerprint of the second root."""
    return root((wfm.directory / "other-ca" / "ca.pem").read_bytes()).fingerprint


def anchors(status: dict[str, Any]) -> list[str]:
    """The fingerprints of the roots in use."""
    return [anchor["fingerprint"] for anchor in status["trust"]["anchors"]]


async def swap(wfm: DevWfm, daemon: CheckedDaemon) -> dict[str, Any]:
    """Have the WFM present another root without a word before, and wait until the device has met it."""
    await daemon.until("enrolled")
    await wfm.rotate("swap")
    status = await daemon.until_status(lambda s: s["connection"] in ("intercepted", "offline"), "met")
    if status["connection"] == "offline":  # a request was under way just then, and was cut: it waits up to a minute
        await daemon.stop()
        await daemon.restart()  # a retry would do, but a second one within a minute, the test's own, would wait
    return await daemon.until_status(lambda s: s["connection"] == "intercepted", "intercepted")


async def test_staged_adopted_swapped(tmp_path: Path) -> None:
    """Offered, vouched for, presented: the device takes the new root beside the old one, and nobody visits it."""
    async with DevWfm(tmp_path / "wfm") as wfm, CheckedDaemon(tmp_path / "d", url=wfm.url, yaml=ACCEPT) as daemon:
        before = await daemon.until("enrolled")
        await wfm.rotate("offer")
        new, old = other(wfm), anchors(before)
        status = await daemon.until_status(lambda s: bool(s["trust"]["staged"]), "staged")
        (staged,) = status["trust"]["staged"]
        assert (staged["fingerprint"], anchors(status)) == (new, old)
        line = await daemon.journal_line("root-ca-staged")
        assert line.startswith("<4>")
        assert new in line
        assert new in (await daemon.command("trust", "show"))[1]
        assert "Staged CA" in (await daemon.command("status"))[1]
        await daemon.journal_line("root-ca-ripe")
        await daemon.stop()
        await daemon.restart()
        status = await daemon.until("enrolled")
        assert (anchors(status), status["trust"]["staged"][0]["seconds_left"]) == (old, 0), "not without the chain"
        await wfm.rotate("present")
        status = await daemon.until_status(lambda s: len(s["trust"]["anchors"]) == 2, "adopted")
        assert (status["state"], anchors(status), status["trust"]["staged"]) == ("enrolled", [*old, new], [])
        assert status["client_id"] == before["client_id"]
        await daemon.journal_line("root-ca-adopted")
        seen = len(await wfm.requests("certificate"))
        await daemon.until_status(lambda s: s["connection"] == "online", "online")
        while len(await wfm.requests("certificate")) == seen:
            await daemon.until_status(lambda s: s["state"] == "enrolled", "asked again")
        assert len(await wfm.requests("onboarding")) == 1


async def test_what_is_offered_no_more_is_dropped(tmp_path: Path) -> None:
    """A root that the WFM takes back leaves nothing behind."""
    yaml = "trust: {first_use: accept, refresh: 1s}"
    async with DevWfm(tmp_path / "wfm") as wfm, CheckedDaemon(tmp_path / "d", url=wfm.url, yaml=yaml) as daemon:
        await daemon.until("enrolled")
        await wfm.rotate("offer")
        status = await daemon.until_status(lambda s: bool(s["trust"]["staged"]), "staged")
        assert 0 < status["trust"]["staged"][0]["seconds_left"] <= 72 * 3600, "the default is three days"
        await wfm.rotate("back")
        await daemon.until_status(lambda s: not s["trust"]["staged"], "dropped")
        assert other(wfm) in await daemon.journal_line("root-ca-dropped")


async def test_what_others_vouched_for_is_dropped(tmp_path: Path) -> None:
    """When the owner names the root CA, what was staged by the word of another counts for nothing."""
    async with DevWfm(tmp_path / "wfm") as wfm, CheckedDaemon(tmp_path / "d", url=wfm.url, yaml=ACCEPT) as daemon:
        await daemon.until("enrolled")
        await wfm.rotate("offer")
        await daemon.journal_line("root-ca-ripe")
        named = daemon.config.read_text().replace("first_use: accept", f"ca_file: {wfm.ca_file}")
        daemon.config.write_text(named)
        await daemon.reload()
        status = await daemon.until_status(lambda s: s["trust"]["source"] == "ca_file", "named")
        assert status["trust"]["staged"] == []
        await wfm.rotate("present")
        status = await daemon.until_status(lambda s: s["connection"] not in ("idle", "online"), "refused")
        assert len(status["trust"]["anchors"]) == 1


async def test_a_sudden_swap_is_intercepted(tmp_path: Path) -> None:
    """Another root without a word before: nothing is sent, status says what was expected and who is there."""
    async with DevWfm(tmp_path / "wfm") as wfm, CheckedDaemon(tmp_path / "d", url=wfm.url, yaml=ACCEPT) as daemon:
        old = anchors(await daemon.until("enrolled"))
        status = await swap(wfm, daemon)
        sent = len(await wfm.requests())
        assert (status["state"], anchors(status), status["trust"]["staged"]) == ("enrolled", old, [])
        error = status["last_error"]
        assert error["code"] == "intercepted"
        assert f"expected root CA {old[0]}" in error["detail"]
        assert "issued by CN=margod development intermediate CA" in error["detail"]
        assert len(status["trust"]["presented"]["fingerprint"]) == 64
        assert status["trust"]["offered"] == [], "trust.on_change: hold"
        code, out, _ = await daemon.command("trust", "show")
        assert (code, status["trust"]["presented"]["fingerprint"] in out) == (0, True)
        code, _, words = await daemon.command("trust", "accept", other(wfm))
        assert (code, "No root CA with this fingerprint" in words) == (1, True)
        assert len(await wfm.requests()) == sent, "not one request goes to a stranger"
        await wfm.rotate("back")
        await daemon.retry()
        status = await daemon.until_status(lambda s: s["connection"] == "online", "back")
        assert (status["trust"]["presented"], status["last_error"]) == (None, None)


async def test_an_interceptor_is_never_staged(tmp_path: Path) -> None:
    """However long somebody else answers and offers his root, none of it gets into the vault."""
    async with DevWfm(tmp_path / "wfm") as wfm, CheckedDaemon(tmp_path / "d", url=wfm.url, yaml=ACCEPT) as daemon:
        await swap(wfm, daemon)
        met = len(daemon.journal)
        await daemon.retry()
        await daemon.journal_line("no-answer", since=met)
        await daemon.stop()
        for record in daemon.state.glob("gen-*/staged.json"):
            assert json.loads(record.read_bytes()) == {"roots": []}
        assert not [line for line in daemon.journal if "root-ca-staged" in line or "root-ca-adopted" in line]
        await daemon.restart()
        await daemon.until("enrolled")


async def test_pending_stays_pending(tmp_path: Path) -> None:
    """A device that waits for approval goes on waiting while a captive portal answers."""
    async with (
        DevWfm(tmp_path / "wfm", "--approval", "manual") as wfm,
        CheckedDaemon(tmp_path / "d", url=wfm.url, ca_file=wfm.ca_file) as daemon,
    ):
        await daemon.until("pending-approval")
        await wfm.fault("certificate", kind="other-ca", times=0)
        await daemon.retry()
        status = await daemon.until_status(lambda s: s["connection"] == "intercepted", "intercepted")
        assert (status["state"], status["last_error"]["code"]) == ("pending-approval", "intercepted")
        await daemon.stop()
        assert json.loads((daemon.state / "runtime.json").read_text())["intercepted_for"]
        await wfm.clear_faults()
        await wfm.approve()
        since = len(daemon.journal)
        await daemon.restart()
        line = await daemon.journal_line("state", since, having="resumed=yes")
        assert "state=pending-approval" in line  # the status may be further by now: the wait goes on over the stop
        await daemon.retry()
        await daemon.until("enrolled")


async def test_after_a_day_it_is_untrusted(tmp_path: Path) -> None:
    """The day is counted over a restart: what 23 hours and more of it have passed is told from the start of one."""
    async with DevWfm(tmp_path / "wfm") as wfm, CheckedDaemon(tmp_path / "d", url=wfm.url, yaml=ACCEPT) as daemon:
        await swap(wfm, daemon)
        await daemon.stop()
        file = daemon.state / "runtime.json"
        memory = json.loads(file.read_text())
        file.write_text(json.dumps({**memory, "intercepted_for": repr(86_399.9)}))
        await daemon.restart()
        await daemon.until("enrolled")
        await daemon.retry()
        status = await daemon.until_status(lambda s: s["connection"] == "untrusted", "untrusted")
        assert (status["state"], status["last_error"]["code"]) == ("enrolled", "tls-unknown-issuer")


async def test_a_person_settles_a_change(tmp_path: Path) -> None:
    """trust.on_change: ask shows the root that is offered now; accepting it, also after a restart, ends it at once."""
    yaml = "trust: {first_use: accept, refresh: 1s, on_change: ask}"
    async with DevWfm(tmp_path / "wfm") as wfm, CheckedDaemon(tmp_path / "d", url=wfm.url, yaml=yaml) as daemon:
        await daemon.until("enrolled")
        sent = len(await wfm.requests("capabilities"))
        await swap(wfm, daemon)
        status = await daemon.until_status(lambda s: bool(s["trust"]["offered"]), "offered")
        assert [one["fingerprint"] for one in status["trust"]["offered"]] == [other(wfm)]
        await daemon.stop()
        await daemon.restart()
        code, _, words = await daemon.command("trust", "accept", "ab" * 32)
        assert (code, "No root CA with this fingerprint" in words) == (1, True)
        code, _, words = await daemon.command("trust", "accept", other(wfm))
        assert (code, words) == (0, "")
        status = await daemon.until_status(lambda s: s["connection"] == "online", "online")
        assert (anchors(status), status["trust"]["source"]) == ([other(wfm)], "accepted")
        assert len(await wfm.requests("capabilities")) == sent


async def test_a_person_may_be_sooner(tmp_path: Path) -> None:
    """A staged root that a person has compared is in use at once, beside the old one."""
    yaml = "trust: {first_use: accept, refresh: 1s}"
    async with DevWfm(tmp_path / "wfm") as wfm, CheckedDaemon(tmp_path / "d", url=wfm.url, yaml=yaml) as daemon:
        old = anchors(await daemon.until("enrolled"))
        await wfm.rotate("offer")
        await daemon.until_status(lambda s: bool(s["trust"]["staged"]), "staged")
        assert (await daemon.command("trust", "accept", other(wfm)))[0] == 0
        status = await daemon.until_status(lambda s: not s["trust"]["staged"], "taken")
        assert anchors(status) == [*old, other(wfm)]
        assert status["trust"]["source"] == "first_use"


async def test_with_a_file_or_a_pin_it_is_only_reported(tmp_path: Path) -> None:
    """The owner named the root CA: another one that is offered is a warning, once in the journal, and nothing else."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        pin = root(wfm.ca_file.read_bytes()).fingerprint
        for name, how in (("file", f"ca_file: {wfm.ca_file}"), ("pin", f"pin: {pin}")):
            await wfm.rotate("back")
            yaml = f"trust: {{{how}, {FAST}}}"
            async with CheckedDaemon(tmp_path / name, url=wfm.url, yaml=yaml) as daemon:
                await daemon.until("enrolled")
                await wfm.rotate("offer")
                status = await daemon.until_status(lambda s: bool(s["warnings"]), "warned")
                (warning,) = status["warnings"]
                assert warning["code"] == "ca-differs"
                assert other(wfm) in warning["message"]
                asked = len(await wfm.requests("certificate"))
                while len(await wfm.requests("certificate")) < asked + 3:
                    await daemon.until("enrolled")
                status = await daemon.status()
                assert (anchors(status), status["trust"]["staged"]) == ([pin], [])
                assert len([line for line in daemon.journal if "root-ca-differs" in line]) == 1


async def test_off(tmp_path: Path) -> None:
    """refresh: off asks for the root CA once, and never again."""
    yaml = "trust: {first_use: accept, refresh: off}\nonboarding: {confirm: 1s}"
    async with DevWfm(tmp_path / "wfm") as wfm, CheckedDaemon(tmp_path / "d", url=wfm.url, yaml=yaml) as daemon:
        await daemon.until("enrolled")
        while len(await wfm.requests("deployments")) < 3:
            await daemon.until("enrolled")
        assert len(await wfm.requests("certificate")) == 1


async def test_a_candidate_meets_the_new_root_first(tmp_path: Path) -> None:
    """The enrolment in force asks nobody today: it adopts all the same, and the candidate goes on under its anchors."""
    yaml = f"{ACCEPT}\nonboarding: {{confirm: off}}"
    async with (
        DevWfm(tmp_path / "wfm", "--approval", "manual", "--retry-after", "1") as wfm,
        CheckedDaemon(tmp_path / "d", url=wfm.url, yaml=yaml) as daemon,
    ):
        await daemon.until("pending-approval")
        await wfm.approve(1)
        await daemon.until("enrolled")
        await wfm.rotate("offer")
        await daemon.retry()
        await daemon.journal_line("root-ca-ripe")
        daemon.config.write_text(daemon.config.read_text().replace("refresh: 1s", "refresh: off"))
        await daemon.reload()
        assert (await daemon.command("identity", "rotate"))[0] == 0
        waits = "pending-approval"
        await daemon.until_status(lambda s: bool(s["rotation"]) and s["rotation"]["state"] == waits, "begun")
        begun, begun_at = len(daemon.journal), time.monotonic()
        await wfm.rotate("present")
        await daemon.until_status(lambda s: len(s["trust"]["anchors"]) == 2, "adopted")
        await wfm.approve(2)
        await daemon.until_status(lambda s: s["rotation"] is None and s["state"] == "enrolled", "promoted")
        assert len([line for line in daemon.journal[begun:] if "root-ca-adopted" in line]) == 1
        asked = 10 * (time.monotonic() - begun_at)  # once a second, in a few lines: no loop, however long it takes
        assert len(daemon.journal) - begun < 40 + asked


async def test_long_roots_brick_nothing(tmp_path: Path) -> None:
    """Four roots of 16 KB, offered for as long as it takes: a warning, and the device is enrolled as before."""
    certificates = Certificates()
    offered = [certificates.ca.cert_pem.bytes()]

    async def script(turn: Turn) -> None:
        if turn.request.line == ROUTE:
            await turn.answer(200, document(b"".join(offered)))
        elif turn.request.line.startswith("GET "):
            await turn.answer(200, b'{"manifestVersion": 1, "deployments": []}')
        else:
            await turn.answer(201, b'{"clientId": "client-1"}')

    async with (
        RawServer(script, context=certificates.server()) as server,
        CheckedDaemon(tmp_path / "d", url=server.url, yaml=ACCEPT) as daemon,
    ):
        before = anchors(await daemon.until("enrolled"))
        offered.append(trust.to_pem([sized(11_600) for _ in range(3)]))
        status = await daemon.until_status(lambda s: "ca-differs" in [w["code"] for w in s["warnings"]], "reported")
        asked = len(server.requests)
        while len(server.requests) < asked + 4:
            status = await daemon.status()
            await asyncio.sleep(0.1)
        assert (status["state"], anchors(status), status["trust"]["staged"]) == ("enrolled", before, [])
        await daemon.stop()
        await daemon.restart()
        await daemon.until("enrolled")
