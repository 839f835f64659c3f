"""The clock: waited for, jumping by years, minutes off, given by the WFM. On the real process, under libfaketime."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from margod.service import clock
from margod.trust import decode_certificates
from tests.e2e.faketime import YEARS, OtherTime, needs_faketime
from tests.service.test_clock import set_to_itself
from tests.support.devwfm import DevWfm

SYNCHRONISED = (
    'mount -t tmpfs none /run && mkdir -p /run/systemd/timesync && : > /run/systemd/timesync/synchronized && exec "$@"'
)
"""Runs a command with a /run of its own, in which systemd-timesyncd says that the clock is synchronised."""

pytestmark = [pytest.mark.e2e, needs_faketime]


def to_1970() -> float:
    """How far the clock is ahead of ours that has just begun, as after a boot without a battery."""
    return 1_000.0 - time.time()


def warned(code: str) -> Callable[[dict[str, Any]], bool]:
    """Whether a status document warns of this."""
    return lambda status: code in {warning["code"] for warning in status["warnings"]}


def attempts(daemon: OtherTime) -> int:
    """How often a request was made, by the journal."""
    return sum(" step=" in line and (">request " in line or " request " in line) for line in daemon.journal)


async def test_waits_for_the_clock_and_onboards_once_it_is_set(tmp_path: Path) -> None:
    """In 1970 nothing is minted and nothing leaves; once the clock is set it onboards at once, rightly dated."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        (anchor,) = decode_certificates(wfm.ca_file.read_bytes(), 0.0)
        yaml = f"trust: {{pin: {anchor.fingerprint}}}"
        async with OtherTime(tmp_path / "d", ahead=to_1970(), url=wfm.url, yaml=yaml) as daemon:
            status = await daemon.until("waiting-for-clock", "clock-implausible")
            assert status["identity"] is None
            assert status["clock"]["plausible"] is False
            assert status["side"] == "device"
            code, out, _ = await daemon.command("status")
            assert (code, "waiting-for-clock" in out) == (5, True)
            assert not list(daemon.state.glob("gen-*"))
            daemon.set_clock(0)
            began = time.monotonic()
            status = await daemon.until("enrolled")
            assert time.monotonic() - began < 30, "not spread over two minutes"
            assert status["clock"]["plausible"] is True
            begin = datetime.fromisoformat(status["identity"]["not_before"]).timestamp()
            assert 86_000 < time.time() - begin < 87_000
            requests = await wfm.requests()
            assert [r["route"] for r in requests] == ["certificate", "onboarding", "capabilities"]


@pytest.mark.parametrize("jump", [YEARS, -YEARS])
async def test_jumps_of_an_enrolled_device(tmp_path: Path, jump: float) -> None:
    """It stays enrolled, without a request, over the jump, over a restart in that other time, and back."""
    async with (
        DevWfm(tmp_path / "wfm") as wfm,
        OtherTime(tmp_path / "d", ahead=0, url=wfm.url, ca_file=wfm.ca_file) as daemon,
    ):
        await daemon.until("enrolled")
        before = len(await wfm.requests())
        for ahead in (jump, 0, jump):
            since = len(daemon.journal)
            daemon.set_clock(ahead)
            await daemon.journal_line("clock-set", since)
            status = await daemon.status()
            assert (status["state"], status["clock"]["plausible"]) == ("enrolled", ahead >= 0)
        if jump < 0:
            await daemon.until_status(warned("clock-implausible"), "a warning")
        await daemon.stop()
        await daemon.start()
        await daemon.until("enrolled")
        since = len(daemon.journal)
        daemon.set_clock(0)
        await daemon.journal_line("clock-set", since)
        assert (await daemon.status())["state"] == "enrolled"
        assert len(await wfm.requests()) == before


async def test_a_sleeping_loop_is_woken_by_the_kernel(tmp_path: Path) -> None:
    """Nothing is due for hours, and the clock is set: it is noticed at once, by the timer that the kernel cancels."""
    async with (
        DevWfm(tmp_path / "wfm") as wfm,
        OtherTime(tmp_path / "d", ahead=0, turns=False, url=wfm.url, ca_file=wfm.ca_file) as daemon,
    ):
        await daemon.until("enrolled")
        daemon.set_clock(YEARS)
        set_to_itself()
        await daemon.journal_line("clock-set", having="forward by 3650d")


async def test_jumps_while_approval_is_waited_for(tmp_path: Path) -> None:
    """Ahead: pending stays, told apart from an expired certificate. Back: the clock is waited for. Then it goes on."""
    async with (
        DevWfm(tmp_path / "wfm", "--approval", "manual") as wfm,
        OtherTime(tmp_path / "d", ahead=0, url=wfm.url, ca_file=wfm.ca_file) as daemon,
    ):
        pending = await daemon.until("pending-approval")
        daemon.set_clock(YEARS)
        await daemon.journal_line("clock-set")
        await daemon.retry()
        status = await daemon.until_status(lambda s: s["connection"] == "clock", "connection clock")
        assert status["state"] == "pending-approval"
        assert status["last_error"]["code"] == "clock-implausible"
        assert "ahead of the" in status["last_error"]["detail"]
        daemon.set_clock(-YEARS)
        await daemon.until("waiting-for-clock")
        await daemon.stop()  # in that time, which is all that the next process knows of
        await daemon.start()
        await daemon.until("waiting-for-clock", "clock-implausible")
        made = attempts(daemon)
        daemon.set_clock(0)
        await daemon.until("pending-approval")
        assert attempts(daemon) - made <= 2
        await wfm.approve(1)
        await daemon.retry()
        status = await daemon.until("enrolled")
        assert status["identity"] == pending["identity"]
        assert len(await wfm.clients()) == 1


async def test_jumps_in_a_retry_wait(tmp_path: Path) -> None:
    """Twenty jumps while the WFM is away neither storm nor stall: a wait ends early once a minute at most."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        await wfm.fault("answer", route="onboarding", times=1, status=503, headers={"Retry-After": "3600"})
        async with OtherTime(tmp_path / "d", ahead=0, url=wfm.url, ca_file=wfm.ca_file) as daemon:
            status = await daemon.until("onboarding", "wfm-busy")
            made = attempts(daemon)
            for turn in range(10):
                since = len(daemon.journal)
                daemon.set_clock((YEARS, 0)[turn % 2])
                await daemon.journal_line("clock-set", since)
            assert attempts(daemon) == made, "the WFM's Retry-After holds"
            status = await daemon.status()
            next_at = datetime.fromisoformat(status["next_attempt_at"]).timestamp()
            assert next_at - time.time() < 3_700
            daemon.set_clock(-YEARS)
            await daemon.until("waiting-for-clock")
            daemon.set_clock(0)
            status = await daemon.until_status(lambda s: s["state"] != "waiting-for-clock", "the clock is back")
            assert status["state"] == "onboarding"


@pytest.mark.parametrize("ahead", [-600.0, 600.0, 20_000.0])
async def test_signatures_follow_the_wfms_clock(tmp_path: Path, ahead: float) -> None:
    """A strict WFM refuses a signature that is ten minutes off; what it says of the time is used at once."""
    async with (
        DevWfm(tmp_path / "wfm") as wfm,
        OtherTime(tmp_path / "d", ahead=ahead, url=wfm.url, ca_file=wfm.ca_file) as daemon,
    ):
        if clock.synchronised() and abs(ahead) > 900:  # then nothing is guessed, and the next test looks at that
            await daemon.until("blocked", "wfm-clock-offset")
            return
        status = await daemon.until("enrolled")
        assert status["clock"]["offset_seconds"] == pytest.approx(-ahead, abs=30)
        assert status["clock"]["offset_used"] is True
        statuses = [r["status"] for r in await wfm.requests("onboarding")]
        assert statuses == [401, 201]
        code, out, _ = await daemon.command("clock", "show")
        assert (code, "whose time the signatures bear" in out.replace("\n", " ")) == (0, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
async def test_a_synchronised_clock_blames_the_wfm(tmp_path: Path) -> None:
    """Where systemd-timesyncd says that it is right, half an hour is too much, and the WFM's side is named."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = OtherTime(tmp_path / "d", ahead=1_800, url=wfm.url, ca_file=wfm.ca_file)
        daemon.prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c", SYNCHRONISED, "sh"]
        async with daemon:
            status = await daemon.until("blocked", "wfm-clock-offset")
            assert (status["side"], status["clock"]["synchronised"]) == ("wfm", True)
            assert warned("wfm-clock-offset")(status)


async def test_two_days_off_says_which_side(tmp_path: Path) -> None:
    """Beyond the bound nothing is guessed: blocked, with the side that has to be looked at; a step wakes it."""
    async with (
        DevWfm(tmp_path / "wfm") as wfm,
        OtherTime(tmp_path / "d", ahead=172_800, url=wfm.url, ca_file=wfm.ca_file) as daemon,
    ):
        status = await daemon.until("blocked")
        side = {True: ("wfm-clock-offset", "wfm")}.get(status["clock"]["synchronised"], ("clock-offset", "device"))
        assert (status["reason"], status["side"]) == side
        assert "2d ahead of the WFM's" in status["detail"]
        assert side[0] in {warning["code"] for warning in status["warnings"]}
        daemon.set_clock(0)
        await daemon.journal_line("clock-set")
        # None until the WFM is asked again, which the step leads to within two minutes, or at once.
        await daemon.until_status(lambda s: abs(s["clock"]["offset_seconds"] or 0.0) < 60.0, "the offset forgotten")
        await daemon.retry()
        await daemon.until("enrolled")


@pytest.mark.parametrize("by", ["ca_file", "pin"])
async def test_the_wfms_time(tmp_path: Path, by: str) -> None:
    """With clock.bootstrap a device in 1970 onboards by the WFM's time, and goes on when its clock is set."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        (anchor,) = decode_certificates(wfm.ca_file.read_bytes(), 0.0)
        trust = {"ca_file": f"ca_file: {wfm.ca_file}", "pin": f"pin: {anchor.fingerprint}"}[by]
        yaml = f"trust: {{{trust}}}\nclock: {{bootstrap: wfm}}"
        async with OtherTime(tmp_path / "d", ahead=to_1970(), url=wfm.url, yaml=yaml) as daemon:
            status = await daemon.until("enrolled")
            assert status["clock"]["source"] == "wfm"
            assert "clock-from-wfm" in {warning["code"] for warning in status["warnings"]}
            begin = datetime.fromisoformat(status["identity"]["not_before"]).timestamp()
            assert 86_000 < time.time() - begin < 87_000
            assert abs(datetime.fromisoformat(status["since"]).timestamp() - time.time()) < 60
            assert {r["status"] for r in await wfm.requests("onboarding")} == {201}
            daemon.set_clock(0)
            await daemon.journal_line("clock-set")
            status = await daemon.until_status(lambda s: s["clock"]["source"] == "system", "the system's clock")
            assert status["state"] == "enrolled"


@pytest.mark.parametrize("kind", ["expired", "not-yet-valid", "other-ca", "self-signed", "wrong-host"])
async def test_the_time_of_a_stranger_is_not_taken(tmp_path: Path, kind: str) -> None:
    """A chain that does not verify at the time that it gives, or not at all, gives no time; nothing else is sent."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        await wfm.fault("certificate", kind=kind, times=0)
        yaml = "clock: {bootstrap: wfm}"
        async with OtherTime(tmp_path / "d", ahead=to_1970(), url=wfm.url, ca_file=wfm.ca_file, yaml=yaml) as daemon:
            await daemon.until("waiting-for-clock")
            await daemon.journal_line("clock-not-found")
            status = await daemon.status()
            assert (status["state"], status["clock"]["source"]) == ("waiting-for-clock", "system")
            assert status["identity"] is None
            assert {r["route"] for r in await wfm.requests()} <= {"certificate"}


async def test_the_time_needs_an_anchor_of_the_owner(tmp_path: Path) -> None:
    """With trust on first use nobody vouches for the time: the clock is waited for, and nothing is sent."""
    yaml = "clock: {bootstrap: wfm}\ntrust: {first_use: accept}"
    async with (
        DevWfm(tmp_path / "wfm") as wfm,
        OtherTime(tmp_path / "d", ahead=to_1970(), url=wfm.url, yaml=yaml) as daemon,
    ):
        await daemon.until("waiting-for-clock")
        await daemon.retry()
        await daemon.until_status(lambda s: s["attempt"] >= 2, "another look")
        assert (await wfm.stats())["connections"] == 0


async def test_a_floor_too_high_is_forgotten_by_the_operator(tmp_path: Path) -> None:
    """A floor in 2099 keeps a device from beginning, and `margod clock reset` is the way out that the hint names."""
    state = tmp_path / "d" / "state"
    state.mkdir(parents=True, mode=0o700)
    (state / "clock.json").write_text(json.dumps({"floor": 4_070_908_800.0, "boot_id": "x", "at": 1.0}))
    async with (
        DevWfm(tmp_path / "wfm") as wfm,
        OtherTime(tmp_path / "d", ahead=0, url=wfm.url, ca_file=wfm.ca_file) as daemon,
    ):
        status = await daemon.until("waiting-for-clock")
        assert "2099" in status["detail"]
        assert "margod clock reset" in status["hint"]
        code, out, error = await daemon.command("clock", "reset")
        assert (code, error) == (0, ""), out
        await daemon.until("enrolled")


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '{"floor": "x", "boot_id": 1, "at": 0}', '{"floor": 1e300}', "9" * 5_000]
)
async def test_a_damaged_floor_is_no_floor(tmp_path: Path, text: str) -> None:
    """What is stored of the time is disposable: damage is passed over."""
    state = tmp_path / "d" / "state"
    state.mkdir(parents=True, mode=0o700)
    (state / "clock.json").write_text(text)
    async with (
        DevWfm(tmp_path / "wfm") as wfm,
        OtherTime(tmp_path / "d", ahead=0, url=wfm.url, ca_file=wfm.ca_file) as daemon,
    ):
        await daemon.until("enrolled")


async def test_the_floor_rises_and_holds(tmp_path: Path) -> None:
    """After contact with the WFM the floor is stored, once; a clock behind it is known to be wrong."""
    async with (
        DevWfm(tmp_path / "wfm", "--approval", "manual") as wfm,
        OtherTime(tmp_path / "d", ahead=20 * 86_400, url=wfm.url, ca_file=wfm.ca_file) as daemon,
    ):
        # The WFM's clock does not agree with this device's: it vouches for nothing, whatever it says.
        await daemon.until("blocked")
        assert clock.synchronised() or (await daemon.status())["clock"]["floor"] == "2026-11-21T00:00:00Z"
        daemon.set_clock(0)
        await daemon.journal_line("clock-set")
        await daemon.retry()
        await daemon.until("pending-approval")
        await daemon.stop()
        first = (daemon.state / "clock.json").read_text() if (daemon.state / "clock.json").exists() else ""
        assert not first or json.loads(first)["floor"] <= time.time()
