"""Reports of deployments, from a local agent to the record of a WFM."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from margod.deployments.items import Item
from margod.deployments.outbox import LIMIT
from margod.deployments.salvage import open_outbox
from margod.protocols.signed.deployment_status import read_status, write_status
from tests.support.daemon import TIMEOUT, Daemon, FreshDaemon
from tests.support.devwfm import DevWfm
from tests.support.filesystems import small_disk

pytestmark = pytest.mark.e2e


@pytest.fixture
async def wfm(tmp_path: Path) -> AsyncIterator[DevWfm]:
    """A development WFM."""
    async with DevWfm(tmp_path / "wfm") as found:
        yield found


@pytest.fixture(params=["signed", "token"])
async def either(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[DevWfm]:
    """A development WFM of each generation."""
    async with DevWfm(tmp_path / "wfm", "--protocol", request.param) as found:
        yield found


def beside(wfm: DevWfm, directory: Path, yaml: str = "") -> Daemon:
    """Return a device that is to be enrolled there."""
    return Daemon(directory, url=wfm.url, ca_file=wfm.ca_file, yaml=yaml, protocol=wfm.protocol)


def status(state: str, message: str = "") -> dict[str, Any]:
    """Return what an agent says of a deployment with one component; `message` makes it unlike others."""
    entry: dict[str, Any] = {"name": "all", "state": state}
    return {"components": [{**entry, "error": {"message": message}} if message else entry]}


async def recorded(wfm: DevWfm, count: int) -> list[tuple[str, str]]:
    """Wait until the WFM has so many reports; return deployment and state of each, as they came."""
    async with asyncio.timeout(TIMEOUT):
        while len(found := await wfm.statuses()) < count:
            await asyncio.sleep(0.05)
    return [(one["deployment_id"], one["state"]) for one in found]


def outbox(**wanted: object) -> Callable[[dict[str, Any]], bool]:
    """Return whether the status document's outbox has these members."""
    return lambda found: all(found["outbox"][name] == value for name, value in wanted.items())


def failed(code: str) -> Callable[[dict[str, Any]], bool]:
    """Return whether the outbox's last error is this one."""
    return lambda found: (found["outbox"]["last_error"] or {}).get("code") == code


async def test_from_the_socket_to_the_wfm(either: DevWfm, tmp_path: Path) -> None:
    """What an agent reports is acknowledged with its number and comes to the WFM in order, once each."""
    async with beside(either, tmp_path) as daemon:
        await daemon.until("enrolled")
        for number, state in enumerate(("pending", "installing", "installed"), 1):
            assert await daemon.report("web", status(state)) == {"number": number}
        assert await recorded(either, 3) == [("web", "pending"), ("web", "installing"), ("web", "installed")]
        await daemon.until_status(outbox(waiting=0, parked=0, last_error=None), "an empty outbox")
        assert {one["came"] for one in await either.statuses()} == {"first", "forward"}


@pytest.mark.parametrize("setting", ["off", "1s"])
async def test_queued_while_the_wfm_is_away(either: DevWfm, tmp_path: Path, setting: str) -> None:
    """Reports of an absence outlive SIGKILL; then all go out in order, or the newest of each run and what is final.

    What has no word in the WFM's generation is not among them.
    """
    async with beside(either, tmp_path, "outbox: {supersede_after: off}") as daemon:
        await daemon.until("enrolled")
        await either.stop()
        states = ["pending", "installing", "installed", "removing", "removed", "pending", "installing"]
        for state in states:
            await daemon.report("web", status(state))
        await daemon.report("other", status("pending"))
        found = await daemon.until_status(outbox(waiting=8), "eight waiting")
        assert found["state"] == "enrolled"
        await daemon.stop(signal.SIGKILL)
        await asyncio.sleep(1.1)  # the absence has to be longer than the setting, by the clock on the wall
        # Only now: a machine that is slow enough would leave some out while the others are still being reported.
        yaml = f"outbox: {{supersede_after: {setting}}}"
        daemon.configure(url=either.url, ca_file=either.ca_file, yaml=yaml)
        await daemon.start()
        await daemon.until_status(lambda found: found["outbox"]["last_error"] is not None, "a failed attempt")
        await either.start()
        await daemon.retry()
        await daemon.until_status(outbox(waiting=0), "an empty outbox")
        kept = states if setting == "off" else ["installed", "removed", "installing"]
        kept = kept if either.protocol == "signed" else [state for state in kept if not state.startswith("remov")]
        assert await recorded(either, len(kept) + 1) == [*(("web", state) for state in kept), ("other", "pending")]
        if setting != "off":
            assert "count=4" in await daemon.journal_line("reports-superseded")


async def test_a_refused_report_is_parked(either: DevWfm, tmp_path: Path) -> None:
    """422 and a 404 of one deployment set that report aside; others go on; a person sends it again or drops it."""
    async with beside(either, tmp_path) as daemon:
        await daemon.until("enrolled")
        await either.fault("answer", route="status", deployment="bad", status=422, body='{"error": "no such thing"}')
        await either.fault(
            "answer", route="status", deployment="gone", status=404, times=2, body='{"error": "not here"}'
        )
        for name in ("bad", "gone", "good"):
            await daemon.report(name, status("installed"))
        assert await recorded(either, 1) == [("good", "installed")]
        found = await daemon.until_status(outbox(waiting=0, parked=2), "two parked")
        assert (found["state"], [warning["code"] for warning in found["warnings"]]) == ("enrolled", ["reports-parked"])
        code, out, _ = await daemon.command("deployment", "list")
        assert (code, [line.split()[1] for line in out.splitlines()[1::2]]) == (0, ["bad", "gone"])
        assert "parked, report-refused: HTTP 422: no such thing" in out
        assert "parked, report-refused: HTTP 404: not here" in out
        assert (await daemon.command("deployment", "retry", "1"))[0] == 0
        assert await recorded(either, 2) == [("good", "installed"), ("bad", "installed")]
        assert (await daemon.command("deployment", "drop", "--all"))[1] == "Dropped: 1.\n"
        found = await daemon.until_status(outbox(waiting=0, parked=0), "nothing")
        assert found["warnings"] == []
        assert (await daemon.command("deployment", "retry", "2"))[0] == 1


async def test_one_report_does_not_hold_up_the_others(either: DevWfm, tmp_path: Path) -> None:
    """Named so that a 404 that repeats the name sounds as if the device were unknown: it is parked alone."""
    async with beside(either, tmp_path) as daemon:
        await daemon.until("enrolled")
        for name in ("device-manager", "digest"):
            said = json.dumps({"error": f"deployment {name} not found"})
            await either.fault("answer", route="status", deployment=name, status=404, times=2, body=said)
            await daemon.report(name, status("installed"))
        await daemon.report("good", status("installed"))
        assert await recorded(either, 1) == [("good", "installed")]
        found = await daemon.until_status(outbox(waiting=0, parked=2), "two parked")
        assert found["state"] == "enrolled"


async def test_what_holds_up_the_others_can_be_dropped(wfm: DevWfm, tmp_path: Path) -> None:
    """A proxy's page parks nothing and is said; a person gives up that report, by its number alone."""
    async with Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file) as daemon:
        await daemon.until("enrolled")
        page = "<html><title>404 Not Found</title></html>"
        await wfm.fault("answer", route="status", deployment="bad", status=404, times=0, body=page)
        for name in ("bad", "good"):
            await daemon.report(name, status("installed"))
        found = await daemon.until_status(failed("report-unheard"), "a page")
        assert "404 Not Found" in found["outbox"]["last_error"]["detail"]
        assert (found["outbox"]["waiting"], found["outbox"]["parked"]) == (2, 0)
        assert (await daemon.command("deployment", "drop", "--all"))[1] == "Dropped: 0.\n"
        assert (await daemon.command("deployment", "drop", "1"))[1] == "Dropped: 1.\n"
        assert await recorded(wfm, 1) == [("good", "installed")]
        await daemon.until_status(outbox(waiting=0, parked=0, last_error=None), "an empty outbox")
        assert "number=1" in await daemon.journal_line("reports-dropped", having="count=1")


@pytest.mark.parametrize("like", ["spec", "sandbox-2026"])
async def test_a_wfm_that_does_not_want_the_device(tmp_path: Path, like: str) -> None:
    """Nothing is parked because the WFM refuses or forgot the device; the enrolment hears of it, the reports wait."""
    async with DevWfm(tmp_path / "wfm", "--like", like) as wfm, Daemon(tmp_path) as daemon:
        daemon.configure(url=wfm.url, ca_file=wfm.ca_file)
        await daemon.reload()
        await daemon.until("enrolled")
        client = (await wfm.clients())[0]["client_id"]
        await wfm.reject(client)
        await daemon.report("web", status("installed"))
        await daemon.journal_line("attempt-failed", having="client-refused")
        found = await daemon.until_status(failed("client-refused"), "refused")
        assert (found["state"], found["outbox"]["parked"], found["outbox"]["waiting"]) == ("enrolled", 0, 1)
        await wfm.approve(client)
        await daemon.retry()
        assert await recorded(wfm, 1) == [("web", "installed")]
        await wfm.forget(client)
        await daemon.report("web", status("removed"))
        found = await daemon.until_status(failed("client-unknown"), "forgotten")
        assert (found["state"], found["outbox"]["parked"], found["outbox"]["waiting"]) == ("enrolled", 0, 1)


@pytest.mark.parametrize("like", ["sandbox-2025", "sandbox-2026"])
async def test_servers_that_deviate(tmp_path: Path, like: str) -> None:
    """The singular route of one, 201 and `null` of both: everything arrives, once, and nothing is parked."""
    async with DevWfm(tmp_path / "wfm", "--like", like) as wfm, Daemon(tmp_path) as daemon:
        daemon.configure(url=wfm.url, ca_file=wfm.ca_file)
        await daemon.reload()
        await daemon.until("enrolled")
        for state in ("pending", "installing", "installed"):
            await daemon.report("web", status(state))
        assert [state for _, state in await recorded(wfm, 3)] == ["pending", "installing", "installed"]
        await daemon.until_status(outbox(waiting=0, parked=0), "an empty outbox")
        refused = [one for one in await wfm.requests() if "/status" in one["target"] and one["status"] == 404]
        assert len(refused) == (1 if like == "sandbox-2025" else 0)


async def test_answers_that_are_lost_or_late(either: DevWfm, tmp_path: Path) -> None:
    """503 with Retry-After is waited for; an answer that was cut off has the report sent again, never another first."""
    async with beside(either, tmp_path) as daemon:
        await daemon.until("enrolled")
        await either.fault("answer", route="status", status=503, headers={"Retry-After": "3600"})
        await daemon.report("web", status("pending"))
        found = await daemon.until_status(lambda found: found["outbox"]["last_error"] is not None, "a failed attempt")
        assert (found["connection"], found["outbox"]["last_error"]["code"]) == ("online", "wfm-busy")
        at, now = (datetime.fromisoformat(found["outbox"][key]) for key in ("next_attempt_at", "oldest"))
        assert (at - now).total_seconds() > 3_500
        await daemon.retry()
        assert await either.statuses() == [], "nobody overrides what the WFM asked for"
        await daemon.stop()
        await either.fault("cut", route="status", when="after")
        await daemon.start()
        await daemon.report("web", status("installed"))
        await daemon.until_status(lambda found: found["outbox"]["last_error"] is not None, "a lost answer")
        await daemon.retry()
        await daemon.until_status(outbox(waiting=0), "an empty outbox")
        came = [(one["state"], one["came"]) for one in await either.statuses()]
        assert came == [("pending", "first"), ("pending", "again"), ("installed", "forward")]


async def test_what_is_not_taken(wfm: DevWfm, tmp_path: Path) -> None:
    """A report that is none is refused with the field; one that finds no room with 507; nothing of either is sent."""
    async with FreshDaemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file) as daemon:
        await daemon.until("enrolled")
        for document, field in (
            ({"components": [{"name": "a", "state": "Installed"}]}, "components[0].state"),
            ({"components": []}, "status.state"),
            (b"{", "not JSON"),
        ):
            answer = await daemon.report("web", document)
            assert (answer["error"]["code"], field in answer["error"]["message"]) == ("report-invalid", True)
        assert daemon.process is not None
        maps = Path(f"/proc/{daemon.process.pid}/maps")
        assert "sqlite" not in maps.read_text(), "SQLite is loaded for the first report, not for none"
        assert not (daemon.state / "outbox.db").exists()
        await wfm.stop()
        await daemon.stop()
        store, _ = open_outbox(daemon.state)
        body = write_status(read_status("web", b'{"status":{"state":"pending"}}'))
        items = [Item(number, f"d{number}", "pending", False, body, 0.0, "") for number in range(1, LIMIT + 1)]
        store.restore(items)
        store.close()
        await daemon.start()
        answer = await daemon.report("web", status("installed"))
        assert answer["error"]["code"] == "outbox-full"
        code, _, error = await daemon.command("deployment", "report", "web", "--state", "installed")
        assert (code, "holds as many" in error) == (1, True)
        assert (await daemon.status())["outbox"]["waiting"] == LIMIT


async def test_one_user_leaves_room(wfm: DevWfm, tmp_path: Path) -> None:
    """Who holds as much as is left is told so with 507, after a restart too; others are not kept out by it."""
    async with Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file) as daemon:
        await daemon.until("enrolled")
        await wfm.stop()
        await daemon.stop()
        store, _ = open_outbox(daemon.state)
        body = write_status(read_status("web", b'{"status":{"state":"pending"}}'))
        held = range(1, LIMIT // 2)
        store.restore([Item(number, f"d{number}", "pending", False, body, 0.0, "", uid=os.getuid()) for number in held])
        store.close()
        await daemon.start()
        assert await daemon.report("web", status("installed")) == {"number": LIMIT // 2}
        error = (await daemon.report("web", status("installed")))["error"]
        assert (error["code"], f"uid {os.getuid()} has {LIMIT // 2}" in error["message"]) == ("outbox-full", True)
        await daemon.stop()
        store, _ = open_outbox(daemon.state)
        assert store.put("web", "pending", final=False, body=body, at=0.0, uid=os.getuid() + 1) > LIMIT // 2
        store.close()


async def test_another_wfm(wfm: DevWfm, tmp_path: Path) -> None:
    """What was reported for one WFM is not told to another; back at the first it arrives; a person may decide else."""
    async with DevWfm(tmp_path / "other") as other, Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file) as daemon:
        await daemon.until("enrolled")
        await wfm.stop()
        await daemon.report("web", status("pending"))
        await daemon.report("db", status("pending"))
        daemon.configure(url=other.url, ca_file=other.ca_file)
        await daemon.reload()
        found = await daemon.until_status(outbox(parked=2, waiting=0), "two parked")
        assert found["wfm"]["url"] == other.url
        assert (await daemon.outbox())[0]["parked"] == "report-of-other-enrolment"
        assert (await daemon.command("deployment", "retry", "2"))[0] == 0
        assert await recorded(other, 1) == [("db", "pending")]
        await wfm.start()
        daemon.configure(url=wfm.url, ca_file=wfm.ca_file)
        await daemon.reload()
        assert await recorded(wfm, 1) == [("web", "pending")]
        await daemon.until_status(outbox(parked=0, waiting=0), "an empty outbox")


@pytest.mark.parametrize("what", ["damaged", "newer"])
async def test_an_outbox_that_cannot_be_read(wfm: DevWfm, tmp_path: Path, what: str) -> None:
    """A damaged one is put away and said, and reports are taken on; a newer one is left as it is, and none is."""
    async with Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file) as daemon:
        await daemon.until("enrolled")
        await wfm.stop()
        await daemon.report("web", status("pending"))
        await daemon.stop()
        file = daemon.state / "outbox.db"
        data = file.read_bytes()
        version = (2).to_bytes(4, "big")
        file.write_bytes(data[:60] + version + data[64:] if what == "newer" else b"\x00" * 4096 + data[4096:])
        before = file.read_bytes()
        await daemon.start()
        found = await daemon.until_status(lambda found: bool(found["warnings"]), "a warning")
        assert [warning["code"] for warning in found["warnings"]] == [f"outbox-{what}"]
        answer = await daemon.report("web", status("installed"))
        if what == "newer":
            assert answer["error"]["code"] == "outbox-newer"
            assert file.read_bytes() == before
        else:
            assert answer == {"number": 1}
            assert (daemon.state / "quarantine" / "outbox.db").read_bytes() == before
            await wfm.start()
            await daemon.retry()
            assert await recorded(wfm, 1) == [("web", "installed")]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a tmpfs")
async def test_a_full_disk(wfm: DevWfm, tmp_path: Path) -> None:
    """A report that finds no room is refused with 503 and said; what was taken before arrives; then there is room."""
    with small_disk(tmp_path / "disk", "2m") as disk:
        async with Daemon(disk.place, url=wfm.url, ca_file=wfm.ca_file) as daemon:
            await daemon.until("enrolled")
            await wfm.stop()
            assert await daemon.report("web", status("pending")) == {"number": 1}
            disk.fill()
            async with asyncio.timeout(TIMEOUT):
                while "error" not in (answer := await daemon.report("web", status("installing", "x" * 2_000))):
                    pass
            assert answer["error"]["code"] == "outbox-unusable"
            seen = await daemon.until_status(lambda found: bool(found["warnings"]), "a warning")
            assert "outbox-unusable" in {warning["code"] for warning in seen["warnings"]}
            disk.free()
            taken = (await daemon.report("web", status("installed")))["number"]
            await wfm.start()
            await daemon.retry()
            arrived = [state for _, state in await recorded(wfm, taken)]
            assert (arrived[0], arrived[-1]) == ("pending", "installed")
            await daemon.until_status(outbox(waiting=0), "an empty outbox")


async def test_a_wipe_takes_it_along(wfm: DevWfm, tmp_path: Path) -> None:
    """`margod reset --wipe` leaves no report behind, and none is taken after it."""
    async with Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file) as daemon:
        await daemon.until("enrolled")
        await daemon.report("web", status("pending"))
        await recorded(wfm, 1)
        assert (await daemon.command("reset", "--wipe", "--yes"))[0] == 0
        assert not list(daemon.state.glob("outbox*"))
        assert (await daemon.report("web", status("installed")))["error"]["code"] == "outbox-unusable"
        assert not list(daemon.state.glob("outbox*"))
