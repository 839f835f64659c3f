"""An older state directory that is put back, after the WFM's root CA was replaced: through a real process."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.checked import CheckedDaemon
from tests.e2e.test_trust_renewal import anchors, other
from tests.support.devwfm import DevWfm

pytestmark = pytest.mark.e2e

ASKS = "trust: {first_use: accept, refresh: 1s, on_change: ask}\nonboarding: {confirm: 1s}"
LIST = "retired"


async def replaced(wfm: DevWfm, daemon: CheckedDaemon, copy: Path) -> dict[str, Any]:
    """Enrol, copy the stopped device's directory, replace the WFM's root CA; return the status from before, stopped."""
    before = await daemon.until("enrolled")
    await daemon.stop()
    shutil.copytree(daemon.state, copy, symlinks=True)
    await wfm.rotate("swap")  # while nobody asks: a connection cut in the middle would be asked again a minute later
    await daemon.restart()
    await daemon.until_status(lambda s: s["connection"] == "intercepted", "intercepted")
    assert (await daemon.command("trust", "accept", other(wfm)))[0] == 0
    status = await daemon.until_status(lambda s: anchors(s) == [other(wfm)] and s["connection"] == "online", "taken")
    assert anchors(before)[0] in await daemon.journal_line("root-ca-retired")
    assert status["client_id"] == before["client_id"]
    await daemon.stop()
    return before


def put_back(daemon: CheckedDaemon, copy: Path, *, with_list: bool) -> None:
    """Put the older copy in the place of the directory; `with_list`: the list of retired roots stays as it is."""
    known = (daemon.state / LIST).read_bytes()
    shutil.rmtree(daemon.state)
    shutil.copytree(copy, daemon.state, symlinks=True)
    assert not (daemon.state / LIST).exists(), "the copy is from before"
    if with_list:
        (daemon.state / LIST).write_bytes(known)


async def probed(wfm: DevWfm, daemon: CheckedDaemon, before: dict[str, Any], asked: int) -> None:
    """See it ask for itself by a GET, as who it was, and never onboard again."""
    while len(await wfm.requests("deployments")) <= asked:
        await daemon.until_status(lambda s: s["connection"] == "online", "online")
    status = await daemon.until("enrolled")
    assert (status["client_id"], status["identity"]) == (before["client_id"], before["identity"])
    assert len(await wfm.requests("onboarding")) == 1
    assert len(await wfm.clients()) == 1


@pytest.mark.parametrize("went_back", [False, True])
async def test_with_the_list_the_old_root_verifies_nothing(tmp_path: Path, went_back: bool) -> None:
    """Untrusted, not one request, also where the WFM presents the old root; a person says which one it is."""
    async with DevWfm(tmp_path / "wfm") as wfm, CheckedDaemon(tmp_path / "d", url=wfm.url, yaml=ASKS) as daemon:
        before = await replaced(wfm, daemon, tmp_path / "copy")
        (old,) = anchors(before)
        put_back(daemon, tmp_path / "copy", with_list=True)
        await wfm.rotate("back")
        seen, asked = len(await wfm.requests()), len(await wfm.requests("deployments"))
        await daemon.restart()
        status = await daemon.until("untrusted", "root-ca-retired")
        assert (anchors(status), [each["fingerprint"] for each in status["trust"]["retired"]]) == ([], [old])
        assert old in status["detail"]
        assert (status["client_id"], status["identity"]) == (before["client_id"], before["identity"])
        out = (await daemon.command("trust", "show"))[1]
        assert "Retired CA" in out
        assert old in out
        looked = status["attempt"]
        await daemon.retry()
        await daemon.until_status(lambda s: s["attempt"] > looked, "looked again")
        await daemon.stop()
        await daemon.restart()
        await daemon.until("untrusted", "root-ca-retired")
        assert len(await wfm.requests()) == seen, "nothing is sent by the word of the old root"
        if not went_back:
            await wfm.rotate("swap")
        root = old if went_back else other(wfm)
        code, _, words = await daemon.command("trust", "accept", root)
        assert (code, words) == (0, "")
        status = await daemon.until_status(lambda s: anchors(s) == [root], "accepted")
        assert (status["trust"]["source"], status["trust"]["retired"]) == ("accepted", [])
        if went_back:
            assert old in await daemon.journal_line("root-ca-trusted-again")
        await probed(wfm, daemon, before, asked)
        await daemon.stop()
        await daemon.restart()
        status = await daemon.until_status(lambda s: s["state"] == "enrolled" and anchors(s) == [root], "and stays so")


async def test_restored_as_a_whole_it_knows_the_old_root_only(tmp_path: Path) -> None:
    """List included: the WFM's new root is a stranger's, nothing is sent; the WFM it knows is asked by a GET."""
    async with DevWfm(tmp_path / "wfm") as wfm, CheckedDaemon(tmp_path / "d", url=wfm.url, yaml=ASKS) as daemon:
        before = await replaced(wfm, daemon, tmp_path / "copy")
        put_back(daemon, tmp_path / "copy", with_list=False)
        seen, asked = len(await wfm.requests()), len(await wfm.requests("deployments"))
        await daemon.restart()
        status = await daemon.until_status(lambda s: s["connection"] == "intercepted", "intercepted")
        assert (status["state"], anchors(status)) == ("enrolled", anchors(before))
        requests = await wfm.requests()
        assert [each["route"] for each in requests[seen:] if each["route"] != "certificate"] == []
        assert (await daemon.command("trust", "accept", other(wfm)))[0] == 0
        await probed(wfm, daemon, before, asked)


async def test_the_system_s_store_brings_the_present_root(tmp_path: Path) -> None:
    """With trust.system the present root is downloaded by the store's word, nobody has to come; never the old one."""
    async with DevWfm(tmp_path / "wfm") as wfm, CheckedDaemon(tmp_path / "d", url=wfm.url, yaml=ASKS) as daemon:
        before = await replaced(wfm, daemon, tmp_path / "copy")
        put_back(daemon, tmp_path / "copy", with_list=True)
        asked = len(await wfm.requests("deployments"))
        daemon.configure(url=wfm.url, yaml="trust: {system: true, refresh: 1s}\nonboarding: {confirm: 1s}")
        store = {"SSL_CERT_FILE": str(tmp_path / "store.pem"), "SSL_CERT_DIR": str(tmp_path / "nowhere")}
        (tmp_path / "store.pem").write_bytes(
            wfm.ca_file.read_bytes() + (wfm.directory / "other-ca" / "ca.pem").read_bytes()
        )
        await wfm.rotate("back")
        await daemon.start(env=store)
        status = await daemon.until_status(lambda s: s["connection"] == "untrusted", "refused")
        assert (status["state"], status["last_error"]["code"]) == ("enrolled", "root-ca-retired")
        assert [each["fingerprint"] for each in status["trust"]["retired"]] == anchors(before)
        assert len(await wfm.requests("deployments")) == asked, "the store vouches for the download alone"
        await daemon.stop()
        await wfm.rotate("swap")
        await daemon.start(env=store)
        status = await daemon.until_status(lambda s: anchors(s) == [other(wfm)], "downloaded")
        assert status["trust"]["source"] == "system"
        await probed(wfm, daemon, before, asked)
        assert anchors(before)[0] in (daemon.state / LIST).read_text(), "the old root stays retired"
