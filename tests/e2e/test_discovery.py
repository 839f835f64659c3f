"""Discovery on the loopback interface, where no root is needed; tests/system has the LAN."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.e2e.checking import ONLINE, check
from tests.e2e.test_trust_download import store
from tests.support.daemon import Daemon, FreshDaemon
from tests.support.devwfm import DevWfm

pytestmark = pytest.mark.e2e


async def test_found_and_enrolled(tmp_path: Path) -> None:
    """A WFM that announces itself is listed with the daemon down, found, and enrolled with by a name."""
    name = f"Loopback {os.getpid()}"
    yaml = f'discovery: {{server_names: [other.test, wfm.test]}}\nwfm: {{select: "{name}"}}'
    async with DevWfm(tmp_path / "wfm", "--announce", name, "--host", "wfm.test", prefix="/margo") as wfm:
        daemon = Daemon(tmp_path, ca_file=wfm.ca_file, yaml=yaml)
        code, out, _ = await daemon.command("discover", "--json", "--timeout", "8s")
        seen = next(one for one in json.loads(out) if one["instance"] == name)
        assert (code, seen["path"], seen["addresses"]) == (0, "/margo", ["127.0.0.1"])
        async with daemon:
            status = await daemon.until("enrolled")
            assert status["discovery"]["instance"] == name
            assert (await daemon.command("discover", "--use", name))[0] == 1


async def test_downloaded_root_is_tried_by_the_same_names(tmp_path: Path) -> None:
    """With trust.system a discovered WFM's root is downloaded and tried at its addresses, by the name that it bears."""
    name = f"Loopback system {os.getpid()}"
    yaml = f'trust: {{system: true}}\ndiscovery: {{server_names: [other.test, wfm.test]}}\nwfm: {{select: "{name}"}}'
    async with DevWfm(tmp_path / "wfm", "--announce", name, "--host", "wfm.test") as wfm:
        daemon = Daemon(tmp_path, yaml=yaml)
        await daemon.start(env=store(wfm.ca_file))
        try:
            status = await daemon.until("enrolled")
            assert (status["trust"]["source"], len(status["trust"]["anchors"])) == ("system", 1)
            routes = [request["route"] for request in await wfm.requests()]
            assert routes == ["certificate", "certificate", "onboarding", "capabilities"]
        finally:
            await daemon.stop()


async def test_check_looks_for_it(tmp_path: Path) -> None:
    """`margod check` without a URL finds the WFM by itself and goes on to it; not with --offline, nor switched off."""
    name = f"Loopback check {os.getpid()}"
    yaml = f'discovery: {{server_names: wfm.test}}\nwfm: {{select: "{name}"}}'
    async with DevWfm(tmp_path / "wfm", "--announce", name, "--host", "wfm.test") as wfm:
        daemon = Daemon(tmp_path, ca_file=wfm.ca_file, yaml=yaml)
        found = await check(daemon, "--offline")
        assert found.verdict("wfm") == ("skipped", "offline")
        assert (await wfm.stats())["connections"] == 0
        found = await check(daemon)
        assert name in found.lines["wfm"]["facts"]["seen"]
        assert name in found.lines["wfm"]["message"]
        assert {found.verdict(line) for line in ("wfm", "dns", "tcp", "tls", "certificate-api")} == {("ok", None)}
        assert not daemon.state.exists()
        assert [request["route"] for request in await wfm.requests()] == ["certificate"]
        daemon.configure(ca_file=wfm.ca_file, yaml=yaml.replace(name, "Nobody"))
        found = await check(daemon)
        assert found.verdict("wfm") == ("warning", "wfm-not-seen")
        assert name in found.lines["wfm"]["facts"]["seen"]
        assert found.skipped("wfm") == set(ONLINE)
        daemon.configure(ca_file=wfm.ca_file, yaml="discovery: {enabled: false}")
        found = await check(daemon)
        assert found.verdict("wfm") == ("failed", "no-url")
        assert found.lines["wfm"]["facts"]["seen"] == []


async def test_switched_off(tmp_path: Path) -> None:
    """With discovery switched off nothing is searched, nothing is imported for it, and a URL is what is missing."""
    async with FreshDaemon(tmp_path, yaml="discovery: {enabled: false}") as daemon:
        status = await daemon.until("discovering", "no-url")
        assert status["discovery"] == {"browsing": False, "instance": None, "seen": []}
        assert daemon.process is not None
        assert "zeroconf" not in Path(f"/proc/{daemon.process.pid}/maps").read_text()
