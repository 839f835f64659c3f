"""Another WFM in the configuration, and back: what is asked of whom, and what is kept."""

from __future__ import annotations

import hashlib
import shutil
import signal
import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Daemon
from tests.support.devwfm import DevWfm

pytestmark = pytest.mark.e2e


def here(status: dict[str, Any]) -> tuple[Any, ...]:
    """Return what makes an enrolment the same one."""
    trust = [anchor["fingerprint"] for anchor in status["trust"]["anchors"]]
    return status["client_id"], status["identity"]["fingerprint"], status["wfm"]["url"], trust


async def go(daemon: Daemon, wfm: DevWfm, yaml: str = "") -> dict[str, Any]:
    """Configure this WFM, reload, and return the status once the device is enrolled there."""
    daemon.configure(url=wfm.url, ca_file=wfm.ca_file, yaml=yaml)
    assert (await daemon.reload())["result"] == "reloaded"
    return await at(daemon, wfm)


async def at(daemon: Daemon, wfm: DevWfm) -> dict[str, Any]:
    """Wait until the device is enrolled at this WFM."""
    return await daemon.until_status(
        lambda status: status["state"] == "enrolled" and status["wfm"]["url"] == wfm.url, f"enrolled at {wfm.url}"
    )


async def asked(*wfms: DevWfm) -> list[int]:
    """Return how many requests each WFM has seen."""
    return [len(await wfm.requests()) for wfm in wfms]


async def no_deletes(*wfms: DevWfm) -> bool:
    """Return whether none of them was ever sent a DELETE."""
    requests = [request for wfm in wfms for request in await wfm.requests()]
    methods = {request["method"] for request in requests}
    return bool(methods) and "DELETE" not in methods


async def test_there_and_back_again(tmp_path: Path) -> None:
    """Another WFM with another root CA is onboarded anew, same key; back and forth then, nobody is asked anything."""
    async with DevWfm(tmp_path / "a") as first, DevWfm(tmp_path / "b") as other:
        daemon = Daemon(tmp_path, url=first.url, ca_file=first.ca_file)
        await daemon.start()
        at_first = here(await daemon.until("enrolled"))
        at_other = here(await go(daemon, other))
        assert at_other[0] != at_first[0]
        assert at_other[1] == at_first[1], "the same key and certificate"
        before = await asked(first, other)
        assert before == [2, 2]
        assert here(await go(daemon, first)) == at_first
        assert here(await go(daemon, other)) == at_other
        await daemon.stop(signal.SIGKILL)
        daemon.configure(url=first.url, ca_file=first.ca_file)
        await daemon.start()
        assert here(await daemon.until("enrolled")) == at_first
        await daemon.stop()
        async with daemon:
            assert here(await daemon.until("enrolled")) == at_first
            assert here(await go(daemon, other)) == at_other
        assert await asked(first, other) == before
        assert await no_deletes(first, other)


async def test_a_mistyped_url_costs_nothing(tmp_path: Path) -> None:
    """A URL where nobody answers leaves the enrolment where it was, at once there again when set back."""
    async with DevWfm(tmp_path / "a") as wfm:
        daemon = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file)
        await daemon.start()
        enrolled = here(await daemon.until("enrolled"))
        for number in (1, 2):
            daemon.configure(url=f"https://127.0.0.1:{number}", ca_file=wfm.ca_file)
            await daemon.reload()
            status = await daemon.until("onboarding")
            assert status["client_id"] is None
            await daemon.stop(signal.SIGKILL)
            await daemon.start()
            await daemon.until("onboarding")
        daemon.configure(url=wfm.url, ca_file=wfm.ca_file)
        await daemon.reload()
        assert here(await daemon.until("enrolled")) == enrolled
        await daemon.stop()
        assert await asked(wfm) == [2]


async def test_a_key_for_each(tmp_path: Path) -> None:
    """With identity.per_wfm no two WFMs see the same key; each finds its own again."""
    own = "identity: {per_wfm: true}"
    async with DevWfm(tmp_path / "a") as first, DevWfm(tmp_path / "b") as other:
        daemon = Daemon(tmp_path, url=first.url, ca_file=first.ca_file, yaml=own)
        async with daemon:
            before = await daemon.until("enrolled")
            there = await go(daemon, other, own)
            assert there["identity"]["key_id"] != before["identity"]["key_id"]
            assert here(await go(daemon, first, own)) == here(before)
            assert here(await go(daemon, other, own)) == here(there)
        assert await asked(first, other) == [2, 2]


async def test_what_was_only_asked_is_taken_up_again(tmp_path: Path) -> None:
    """A request that waits for approval at one WFM still waits there after an excursion; nothing is asked twice."""
    async with DevWfm(tmp_path / "a", "--approval", "manual") as first, DevWfm(tmp_path / "b") as other:
        daemon = Daemon(tmp_path, url=first.url, ca_file=first.ca_file, yaml="identity: {per_wfm: true}")
        async with daemon:
            before = await daemon.until("pending-approval")
            await go(daemon, other, "identity: {per_wfm: true}")
            daemon.configure(url=first.url, ca_file=first.ca_file, yaml="identity: {per_wfm: true}")
            await daemon.reload()
            again = await daemon.until("pending-approval")
            assert again["identity"] == before["identity"]
            assert len(await first.clients()) == 1


@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.parametrize("own", ["", "identity: {per_wfm: true}"])
async def test_the_wfm_has_moved(tmp_path: Path, own: str, *, pinned: bool) -> None:
    """The same WFM at another URL is asked once whether it knows the device, and keeps it: no new registration.

    Back at the old URL, and at the new one again, nobody is asked anything.
    """
    async with DevWfm(tmp_path / "wfm") as wfm, Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file) as daemon:
        pin = f"trust: {{pin: '{fingerprint(wfm.ca_file)}'}}\n{own}"

        async def now(at: str) -> dict[str, Any]:
            daemon.configure(url=at, ca_file=None if pinned else wfm.ca_file, yaml=pin if pinned else own)
            await daemon.reload()
            return await daemon.until_status(lambda s: s["state"] == "enrolled" and s["wfm"]["url"] == at, "moved")

        old, before = wfm.url, await now(wfm.url)
        await wfm.stop()
        moved = DevWfm(wfm.directory)
        async with moved:
            after = await now(moved.url)
            assert moved.url != old
            assert (after["client_id"], after["identity"]) == (before["client_id"], before["identity"])
            assert len(await moved.clients()) == 1
            assert await wire(moved) == [
                "POST onboarding",
                "POST capabilities",
                *["GET certificate"] * pinned,
                CONFIRM,
            ]
            await now(old)
            assert here(await now(moved.url)) == here(after)
            assert len(await moved.requests()) == 3 + pinned
            await daemon.stop(signal.SIGKILL)
            await daemon.start()
            assert here(await daemon.until("enrolled")) == here(after)


async def test_another_wfm_of_the_same_root_ca(tmp_path: Path) -> None:
    """A WFM that the same root CA vouches for is asked first; it knows no such client, and onboards the device anew."""
    async with DevWfm(tmp_path / "a") as first:
        shutil.copytree(first.directory / "pki", tmp_path / "b" / "pki")
        async with (
            DevWfm(tmp_path / "b") as other,
            Daemon(tmp_path, url=first.url, ca_file=first.ca_file) as daemon,
        ):
            before = await daemon.until("enrolled")
            after = await go(daemon, other)
            assert after["client_id"] != before["client_id"]
            assert after["identity"] == before["identity"]
            assert await wire(other) == [CONFIRM, "POST onboarding", "POST capabilities"]
            await go(daemon, first)
            assert here(await go(daemon, other)) == here(after)
            assert await asked(first, other) == [2, 3]


async def test_another_root_ca_by_pin(tmp_path: Path) -> None:
    """Where the root CA is downloaded only after the move and is another one, the former id is told to nobody."""
    async with (
        DevWfm(tmp_path / "a") as first,
        DevWfm(tmp_path / "b") as other,
        Daemon(tmp_path, url=first.url, ca_file=first.ca_file) as daemon,
    ):
        before = await daemon.until("enrolled")
        daemon.configure(url=other.url, yaml=f"trust: {{pin: '{fingerprint(other.ca_file)}'}}")
        await daemon.reload()
        after = await at(daemon, other)
        assert after["client_id"] != before["client_id"]
        assert await wire(other) == ["GET certificate", "POST onboarding", "POST capabilities"]


async def test_the_moved_wfm_cannot_be_reached(tmp_path: Path) -> None:
    """Whether the WFM has moved is asked until it is answered: no registration meanwhile, also over a SIGKILL."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = Daemon(tmp_path, url=wfm.url, ca_file=wfm.ca_file)
        await daemon.start()
        before = await daemon.until("enrolled")
        await wfm.stop()
        moved = DevWfm(wfm.directory)
        async with moved:
            await moved.fault("answer", route="deployments", status=503, times=0)
            daemon.configure(url=moved.url, ca_file=wfm.ca_file)
            since = len(daemon.journal)
            await daemon.reload()
            for _ in range(2):
                await daemon.journal_line("answer", since, having="503")
                assert (await daemon.status())["state"] == "onboarding"
                await daemon.stop(signal.SIGKILL)
                since = len(daemon.journal)
                await daemon.start()
            await moved.clear_faults()
            await daemon.retry()
            after = await at(daemon, moved)
            await daemon.stop()
            assert after["client_id"] == before["client_id"]
            assert [r["route"] for r in await moved.requests()].count("onboarding") == 1


CONFIRM = "GET deployments"


async def wire(wfm: DevWfm) -> list[str]:
    """Return method and route of all that a WFM was asked."""
    return [f"{request['method']} {request['route']}" for request in await wfm.requests()]


def fingerprint(ca_file: Path) -> str:
    """Return the pin of a root CA."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(ca_file.read_text())).hexdigest()
