"""Another WFM in the configuration, and back: what is asked of whom, and what is kept."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from tests.support.daemon import Daemon
from tests.support.devwfm import DevWfm


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
    """A URL where nobody answers leaves the enrolment where it was, at once again when it is set back, killed or not."""
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
