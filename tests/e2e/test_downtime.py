"""Downtime, with a running process and a WFM that records every request: silence, and all goes on after it."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.checking import ONLINE, check
from tests.e2e.faketime import OtherTime, needs_faketime
from tests.support.daemon import Daemon
from tests.support.devwfm import DevWfm

pytestmark = pytest.mark.e2e

ALWAYS = "schedule: {downtime: '00:00-24:00'}"
HOUR = 3_600


def seconds(text: str) -> float:
    """Return a time of a document as Unix seconds."""
    return datetime.fromisoformat(text).timestamp()


def warnings(daemon: Daemon) -> list[str]:
    """Return the warnings of the journal that are about attempts."""
    return [line for line in daemon.journal if line.startswith("<4>") and "needs-attention" not in line]


async def untouched(wfm: DevWfm) -> bool:
    """Return whether nobody has come to the WFM, not even to shake hands."""
    stats = await wfm.stats()
    return (stats["requests_total"], stats["connections"]) == (0, 0)


async def through_the_door(daemon: Daemon, path: str) -> tuple[list[str], dict[str, Any]]:
    """Ask the WFM as another program on the device does; return the answer's head and what it says."""
    reader, writer = await asyncio.open_unix_connection(daemon.runtime / "admin" / "admin.sock")
    writer.write(f"GET {path} HTTP/1.1\r\nHost: margod\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(30.0):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head.decode().split("\r\n"), json.loads(body)


async def in_downtime(daemon: Daemon) -> dict[str, Any]:
    """Wait until it is downtime."""
    return await daemon.until_status(lambda s: bool(s["downtime"]["active"]), "downtime")


def ahead_or_done(status: dict[str, Any]) -> bool:
    """Return whether it is no downtime, and the attempt that is spread after one is ahead, or was made and accepted."""
    return not status["downtime"]["active"] and (bool(status["next_attempt_at"]) or status["state"] == "enrolled")


def soon(status: dict[str, Any]) -> bool:
    """Return whether an attempt that is ahead is within the time over which a fleet's are spread."""
    return status["state"] == "enrolled" or seconds(status["next_attempt_at"]) - time.time() <= 121


@pytest.mark.parametrize("protocol", ["signed", "token"])
async def test_onboarding_waits_for_the_end(tmp_path: Path, protocol: str) -> None:
    """With a window over its first start the WFM hears nothing of a device, whoever asks; taken out, it enrols."""
    async with DevWfm(tmp_path / "wfm", "--protocol", protocol) as wfm:
        daemon = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml=ALWAYS, protocol=protocol)
        async with daemon:
            status = await daemon.until("onboarding", "downtime")
            assert status["connection"] == "downtime"
            assert status["detail"] == "until further notice"
            assert status["next_attempt_at"] is None
            assert status["identity"] is not None, "what costs no request goes on"
            assert status["downtime"] == {"active": True, "until": None, "operator_until": None, "next_at": None}
            retried = await daemon.retry()
            assert (
                retried["message"] == "It is downtime until further notice: schedule.downtime says so ('00:00-24:00')."
            )
            code, out, _ = await daemon.command("downtime", "stop")
            assert (code, " ".join(out.split())) == (0, f"No downtime was begun by hand. {retried['message']}")
            assert (await daemon.get("/v1/health"))["downtime"]["active"] is True
            assert not [line for line in daemon.journal if "downtime-ended" in line]
            assert "by=00:00-24:00" in await daemon.journal_line("downtime")
            await daemon.post("/v1/identity/rotate")
            assert await untouched(wfm)
            daemon.configure(url=wfm.url, ca_file=wfm.ca_file)
            await daemon.reload()
            status = await daemon.until_status(ahead_or_done, "the end of the downtime")
            assert soon(status), "spread, and not later"
            await daemon.retry()
            await daemon.until("enrolled")
            await daemon.journal_line("downtime-over")
            assert warnings(daemon) == []


async def test_by_hand(tmp_path: Path) -> None:
    """`margod downtime start`: nothing leaves, everything says so; `stop`: it goes on at once."""
    async with (
        DevWfm(tmp_path / "wfm", "--approval", "manual") as wfm,
        Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file) as daemon,
    ):
        await daemon.until("pending-approval")
        code, out, error = await daemon.command("downtime", "start", "4h")
        assert (code, error) == (0, "")
        assert out.startswith("No request leaves this device until 20")
        # Without the time of the next one, an attempt that was under way has not ended.
        status = await daemon.until_status(lambda s: s["downtime"]["active"] and bool(s["next_attempt_at"]), "downtime")
        assert (status["state"], status["connection"]) == ("pending-approval", "downtime")
        left = seconds(status["downtime"]["until"]) - time.time()
        assert 4 * HOUR - 60 < left <= 4 * HOUR
        assert -1 <= seconds(status["next_attempt_at"]) - seconds(status["downtime"]["until"]) <= 121
        before = (await wfm.stats())["requests_total"]
        await wfm.approve(1)
        code, out, _ = await daemon.command("retry")
        assert (code, "`margod downtime stop` ends it" in out) == (0, True)
        code, out, _ = await daemon.command("status")
        assert (code, "\nDowntime     until 20" in out, "Next         after the downtime" in out) == (4, True, True)
        code, out, _ = await daemon.command("downtime", "show", "--json")
        assert (code, json.loads(out)["operator_until"]) == (0, status["downtime"]["until"])
        code, out, error = await daemon.command("reset", "--unregister", "--yes")
        assert code != 0
        assert (await wfm.stats())["requests_total"] == before
        code, out, _ = await daemon.command("downtime", "stop")
        assert (code, out) == (0, "The downtime is over.\n")
        await daemon.journal_line("downtime-ended")
        await daemon.journal_line("downtime", having="by=hand")
        await daemon.until("enrolled")
        code, out, _ = await daemon.command("downtime", "show")
        assert (code, out) == (0, "none, and none is planned\n")


@pytest.mark.parametrize("length", ["59s", "31d", "soon", ""])
async def test_a_length_that_is_none(tmp_path: Path, length: str) -> None:
    """Lengths out of bounds are a usage error before anything is asked, and refused by the daemon too."""
    async with Daemon(tmp_path, yaml="discovery: {enabled: false}") as daemon:
        assert (await daemon.command("downtime", "start", length))[0] == 2
        for asked in ("59", "2592001", "1e3", "-60", ""):
            refused = await daemon.post(f"/v1/downtime/start?seconds={asked}")
            assert "error" in refused
        assert (await daemon.status())["downtime"]["active"] is False


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
async def test_a_restart_inside(tmp_path: Path, end: signal.Signals) -> None:
    """It goes on over a restart, to the same moment, without a request; and its end is as durable as its beginning."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml=ALWAYS)
        await daemon.start()
        await daemon.until("onboarding", "downtime")
        await daemon.command("downtime", "start", "4h")
        first = await daemon.until_status(lambda s: s["downtime"]["operator_until"] is not None, "its own")
        daemon.configure(url=wfm.url, ca_file=wfm.ca_file)
        await daemon.stop(end)
        await daemon.start()
        second = await daemon.until("onboarding", "downtime")
        assert abs(seconds(second["downtime"]["until"]) - seconds(first["downtime"]["operator_until"])) <= 1
        assert second["detail"] == f"until {second['downtime']['until']}"
        assert await untouched(wfm)
        await daemon.command("downtime", "stop")
        await daemon.until("enrolled")
        await daemon.stop(end)
        async with daemon:
            assert (await daemon.until("enrolled"))["downtime"]["active"] is False


@pytest.mark.parametrize("text", ["", "{", "[]", '{"seconds": 1e9, "until": 1, "boot_id": "", "ends": 0}'])
async def test_a_damaged_file_is_none(tmp_path: Path, text: str) -> None:
    """What was begun by hand is forgotten, that is said, and the device goes its way."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file)
        daemon.state.mkdir(mode=0o700)
        (daemon.state / "downtime.json").write_text(text)
        async with daemon:
            await daemon.until("enrolled")
            await daemon.journal_line("downtime-unreadable")


async def test_one_of_another_boot(tmp_path: Path) -> None:
    """After a reboot the wall clock tells how much is left: the rest, or nothing."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file)
        daemon.state.mkdir(mode=0o700)
        stored: dict[str, Any] = {"seconds": 4 * HOUR, "until": time.time() + HOUR, "boot_id": "another", "ends": 1.0}
        (daemon.state / "downtime.json").write_text(json.dumps(stored))
        async with daemon:
            status = await daemon.until("onboarding", "downtime")
            assert abs(seconds(status["downtime"]["until"]) - stored["until"]) <= 1
            assert await untouched(wfm)
        (daemon.state / "downtime.json").write_text(json.dumps({**stored, "until": time.time() - 1.0}))
        async with daemon:
            status = await daemon.until_status(ahead_or_done, "the end of the downtime")
            assert soon(status), "spread: a plant has power again"
            await daemon.retry()
            await daemon.until("enrolled")


async def test_what_was_under_way_and_fails_is_not_reported(tmp_path: Path) -> None:
    """A request that nobody answers, begun before: no warning, no last error, and the enrolment is not lost by it."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        await wfm.fault("hang", route="onboarding", times=1)
        async with Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file) as daemon:
            await daemon.journal_line("request", having="enrol")
            await daemon.post("/v1/downtime/start?seconds=3600")  # the command would take some of the request's 5 s
            since = len(daemon.journal)
            await wfm.close_connections()
            await daemon.journal_line("no-answer", since)
            status = await daemon.until("onboarding", "downtime")
            assert status["last_error"] is None
            assert status["connection"] == "downtime"
            assert warnings(daemon) == []
            await daemon.command("downtime", "stop")
            await daemon.until("enrolled")


async def test_an_enrolled_device(tmp_path: Path) -> None:
    """It stays enrolled, its daily questions wait, and the line of `systemctl status` says until when."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        yaml = "onboarding: {confirm: 1s}\nschedule: {polling: {rate: 1s}}"
        daemon = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file, yaml=yaml)
        async with daemon:
            await daemon.until("enrolled")
            await daemon.command("downtime", "start", "2h")
            status = await in_downtime(daemon)
            assert status["state"] == "enrolled"
            status = await daemon.until_status(lambda s: s["desired_state"]["next_poll_at"] is None, "no poll ahead")
            before = await wfm.stats()
            code, _, error = await daemon.command("deployment", "report", "dep-1", "--state", "installed")
            assert (code, error) == (0, ""), "the outbox takes reports"
            head, refused = await through_the_door(daemon, "/v1/wfm/api/v1/clients/{clientId}/deployments")
            assert head[0].split()[1] == "503"
            assert refused["error"]["code"] == "downtime"
            assert any(7_000 < int(line.split()[1]) <= 7_200 for line in head if line.startswith("Retry-After:"))
            # Two questions would have been due by now: the engine's own time, told by the moment of the next one.
            status = await daemon.until_status(lambda s: s["next_attempt_at"] is not None, "a question that waits")
            assert seconds(status["next_attempt_at"]) >= seconds(status["downtime"]["until"]) - 1
            assert (await wfm.stats())["requests_total"] == before["requests_total"]
            code, out, _ = await daemon.command("status", "--json")
            assert (code, json.loads(out)["connection"]) == (0, "downtime")
            await daemon.command("downtime", "stop")
            await daemon.until_status(lambda s: s["outbox"]["waiting"] == 0, "the report delivered")
            await daemon.until_status(lambda s: s["desired_state"]["next_poll_at"] is not None, "polls again")
            status = await daemon.until("enrolled")
            assert (status["last_error"], status["connection"]) == (None, "online")
            assert warnings(daemon) == []


@needs_faketime
async def test_the_clock_moves_over_a_window(tmp_path: Path) -> None:
    """A window of wall time: the clock is set out of it and into it, and it ends by itself where the clock comes to."""
    now = datetime.now(UTC).timestamp()
    begins, ends = (datetime.fromtimestamp(now + hours * HOUR, UTC) for hours in (-2, 2))
    window = f"{begins:%H:%M}-{ends:%H:%M} UTC"
    end = ends.replace(second=0, microsecond=0).timestamp()
    async with (
        DevWfm(tmp_path / "wfm") as wfm,
        OtherTime(
            tmp_path / "d", ahead=0, url=wfm.url, ca_file=wfm.ca_file, yaml=f"schedule: {{downtime: '{window}'}}"
        ) as daemon,
    ):
        status = await daemon.until("onboarding", "downtime")
        assert seconds(status["downtime"]["until"]) == end
        assert await untouched(wfm)
        since = len(daemon.journal)
        daemon.set_clock(end - time.time() - 600.0)
        await daemon.journal_line("clock-set", since)
        assert (await daemon.status())["downtime"]["active"] is True
        daemon.set_clock(end - time.time() - 3.0)
        await daemon.journal_line("downtime-over", since)
        await daemon.retry()
        await daemon.until("enrolled")
        daemon.set_clock(0)
        await in_downtime(daemon)
        daemon.set_clock(3 * HOUR)
        status = await daemon.until_status(lambda s: not s["downtime"]["active"], "out of the window")
        assert seconds(status["downtime"]["next_at"]) > time.time() + 3 * HOUR


@needs_faketime
async def test_a_clock_that_is_set_does_not_touch_the_operators(tmp_path: Path) -> None:
    """Four hours are four hours: a clock that jumps ahead a day does not end it, nor does one that goes back."""
    async with (
        DevWfm(tmp_path / "wfm") as wfm,
        OtherTime(tmp_path / "d", ahead=0, url=wfm.url, ca_file=wfm.ca_file, yaml=ALWAYS) as daemon,
    ):
        await daemon.until("onboarding", "downtime")
        await daemon.command("downtime", "start", "4h")
        daemon.configure(url=wfm.url, ca_file=wfm.ca_file)
        await daemon.reload()
        for ahead in (20 * HOUR, -1 * HOUR):
            since = len(daemon.journal)
            daemon.set_clock(ahead)
            await daemon.journal_line("clock-set", since)
            status = await in_downtime(daemon)
            left = seconds(status["downtime"]["until"]) - time.time() - ahead
            assert 4 * HOUR - 120 < left <= 4 * HOUR
        assert await untouched(wfm)


async def test_check_is_told(tmp_path: Path) -> None:
    """`margod check` sends nothing in a downtime and says why, with a daemon and without one; unless it is told to."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file)
        async with daemon:
            await daemon.until("enrolled")
            await daemon.command("downtime", "start", "4h")
            await in_downtime(daemon)
            await wfm.stats(reset=True)
            found = await check(daemon)
            assert found.skipped("downtime") == set(ONLINE)
            assert "it is downtime until 20" in found.lines["tls"]["message"]
        found = await check(daemon)  # nobody answers: what is stored says it
        assert found.skipped("downtime") == set(ONLINE)
        assert await untouched(wfm)
        found = await check(daemon, "--in-downtime")
        assert found.verdict("tls") == ("ok", None)
        daemon.configure(url=wfm.url, ca_file=wfm.ca_file, yaml=ALWAYS)
        (daemon.state / "downtime.json").unlink()
        assert "until further notice" in (await check(daemon)).lines["dns"]["message"]
