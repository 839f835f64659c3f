"""Polls against a real WFM: what is taken, what is refused and why, and that what was there before stays."""

from __future__ import annotations

import asyncio
import errno
import json
import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from margod.devwfm.faults import Fault
from margod.devwfm.server import DevServer
from margod.model import reasons
from margod.model.errors import MargodError
from margod.model.outcome import Kind
from margod.model.reasons import Reason
from margod.model.wire import Answer, Request, TransportFailure
from margod.shell.courier import Courier
from margod.shell.mirrored import ADOPTED_APART, Found
from margod.shell.mirroring import Mirroring
from margod.store import files
from margod.vault import Vault
from tests.devwfm.running import running
from tests.support.shell import Shell

A, B, C = b"kind: A\n", b"kind: B\n", b"kind: C\n"


@dataclass
class Device:
    """An enrolled device that polls when it is told to."""

    shell: Shell
    wfm: DevServer
    courier: Courier
    mirroring: Mirroring

    async def poll(self) -> Found:
        """Make one poll."""
        context = self.courier.context
        assert context is not None
        return await self.mirroring.poll(context)

    async def refused(self) -> tuple[Reason, str]:
        """Make one that is refused for what was given, by a WFM that knows the device; return why."""
        found = await self.poll()
        assert found.said is not None
        assert (found.said.kind, found.outcome.kind, found.changed) == (Kind.ACCEPTED, Kind.BAD_ANSWER, False)
        return found.outcome.reason, found.outcome.detail

    async def taken(self) -> Found:
        """Make one that is fine."""
        found = await self.poll()
        assert found.outcome.kind is Kind.ACCEPTED, found
        return found

    async def texts(self) -> dict[str, bytes | None]:
        """Return what is mirrored."""
        held = self.mirroring.held
        names = [one.deployment_id for one in held.manifest.deployments] if held else []
        found = {name: await self.mirroring.text(name) for name in names}
        return {name: each[1] if each else None for name, each in found.items()}

    def asked(self) -> list[str]:
        """Return the routes that were asked for since the last call."""
        routes = [str(record["route"]) for record in self.wfm.desired.requests()]
        before, self._seen = getattr(self, "_seen", 0), len(routes)
        return routes[before:]

    async def again(self) -> None:
        """Open everything anew, as a restart does."""
        await self.shell.disk.run(self.mirroring.close)
        self.mirroring = Mirroring(self.courier, self.shell.disk, self.shell.actions.ground)


@asynccontextmanager
async def enrolled(directory: Path, *, timeout: str = "20s", **settings: str) -> AsyncIterator[Device]:
    """Run a WFM that wants A and B, and a device that has them; `timeout` is wfm.timeout."""
    async with running(directory / "wfm", **settings) as wfm:
        wfm.desired.deploy("a", A)
        wfm.desired.deploy("b", B)
        async with Shell(directory, url=wfm.url, ca_file=wfm.ca_file, timeout=timeout) as shell:
            assert shell.status()["state"] == "enrolled"
            courier = Courier(shell.actions, shell.disk, "polling")
            device = Device(shell, wfm, courier, Mirroring(courier, shell.disk, shell.actions.ground))
            try:
                yield device
            finally:
                await courier.close()
                await shell.disk.run(device.mirroring.close)


@pytest.mark.parametrize("like", ["spec", "sandbox-2026"])
async def test_a_bundle_then_304(like: str, tmp_path: Path) -> None:
    """All comes by the bundle; then the ETag is echoed, over a restart too, nothing is written, and one GET is made."""
    async with enrolled(tmp_path, like=like, prefix="/some/prefix") as device:
        device.asked()
        assert (await device.taken()).changed
        assert device.asked() == ["deployments", "bundle"]
        assert await device.texts() == {"a": A, "b": B}
        written = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("state/**/*"))
        connections = device.wfm.stats.connections
        assert not (await device.taken()).changed
        await device.again()
        await device.taken()
        assert device.asked() == ["deployments", "deployments"]
        assert device.wfm.stats.connections == connections
        assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("state/**/*")) == written


async def test_only_what_is_missing_is_fetched(tmp_path: Path) -> None:
    """What is here already is not asked for again: a removal costs one request, without a bundle one file."""
    async with enrolled(tmp_path) as device:
        await device.taken()
        device.wfm.desired.remove("a")
        device.asked()
        assert (await device.taken()).changed
        assert device.asked() == ["deployments"]
        device.wfm.desired.spoil(["bundle-none"])
        device.wfm.desired.deploy("c", C)
        await device.taken()
        assert device.asked() == ["deployments", "deployment"]
        assert await device.texts() == {"b": B, "c": C}


@pytest.mark.parametrize(
    "spoil",
    [
        *("bundle-mismatch", "bundle-content", "bundle-404", "bundle-none", "bundle-not-gzip", "bundle-cut"),
        *("bundle-more", "bundle-fewer", "bomb", "link", "symlink", "device", "dotdot", "absolute"),
    ],
)
async def test_a_bundle_that_cannot_be_used(spoil: str, tmp_path: Path) -> None:
    """The files alone make up for it, each with its digest; nothing is written outside of the mirror."""
    async with enrolled(tmp_path) as device:
        device.wfm.desired.spoil([spoil])
        assert (await device.taken()).changed
        assert await device.texts() == {"a": A, "b": B}
        assert "deployment" in device.asked()
        assert not [*tmp_path.rglob("escaped*")]
        assert not Path("/tmp/escaped.yaml").exists()


@pytest.mark.parametrize("spoil", ["size", "number", "etag-bare", "etag-weak", "etag-bundle", "etag-none"])
async def test_what_is_odd_is_accepted(spoil: str, tmp_path: Path) -> None:
    """A wrong sizeBytes, a version as 3.0, and ETags in every form; echoed as they came they bring a 304."""
    async with enrolled(tmp_path) as device:
        device.wfm.desired.spoil([spoil])
        assert (await device.taken()).changed
        assert not (await device.taken()).changed
        verdicts = [str(record["verdict"]) for record in device.wfm.desired.requests()]
        assert verdicts[-1] == ("desired state 3 given" if spoil == "etag-none" else "desired state unchanged")


@pytest.mark.parametrize("spoil", ["etag-text", "etag-large"])
async def test_an_etag_that_cannot_be_sent_back(spoil: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not kept, and one that an earlier version kept is not sent: each poll brings the whole, none fails."""
    async with enrolled(tmp_path) as device:
        device.wfm.desired.spoil([spoil])
        for _ in range(2):
            await device.taken()
            assert device.mirroring.held is not None
            assert device.mirroring.held.etag == ""
        with monkeypatch.context() as before:
            before.setattr("margod.shell.mirroring.kept_etag", str)
            device.wfm.desired.deploy("c", C)
            assert (await device.taken()).changed
        await device.again()
        await device.taken()
        await device.taken()


@pytest.mark.parametrize(
    ("spoils", "reason", "says"),
    [
        (["algorithm"], reasons.MANIFEST_INVALID, "deployments[0].digest: not sha256"),
        (["duplicate"], reasons.MANIFEST_INVALID, "two with the same deploymentId"),
        (["version-back"], reasons.MANIFEST_ROLLED_BACK, "version 3; mirrored is 4"),
        (["bundle-none", "file-mismatch"], reasons.DEPLOYMENT_MISMATCH, "c is not what"),
        (["bundle-404", "file-404"], reasons.DEPLOYMENT_NOT_GIVEN, "c: HTTP 404"),
        (["bundle-content", "file-mismatch"], reasons.DEPLOYMENT_MISMATCH, "c is not what"),
    ],
)
async def test_what_is_refused(spoils: list[str], reason: Reason, says: str, tmp_path: Path) -> None:
    """Each with its own words; what was mirrored stays, over a restart too, and is replaced once all is well."""
    async with enrolled(tmp_path) as device:
        device.wfm.desired.deploy("a", C)
        await device.taken()
        if "version-back" not in spoils:
            device.wfm.desired.deploy("c", b"kind: New\n")
        device.wfm.desired.spoil(spoils)
        for _ in range(2):
            why, detail = await device.refused()
            assert (why, says in detail) == (reason, True), detail
            assert await device.texts() == {"a": C, "b": B}
            await device.again()
        device.wfm.desired.spoil([])
        device.wfm.desired.deploy("c", b"kind: Newer\n")
        assert (await device.taken()).changed
        assert (await device.texts())["c"] == b"kind: Newer\n"


async def test_a_version_that_stands_still(tmp_path: Path) -> None:
    """With another content it is refused; with the same one under another ETag it is as good as a 304."""
    async with enrolled(tmp_path) as device:
        await device.taken()
        device.wfm.desired.spoil(["version-still"])
        assert await device.refused() == (
            reasons.MANIFEST_ROLLED_BACK,
            "version 3, with another content; mirrored is 3",
        )
        device.wfm.desired.spoil(["etag-weak"])
        assert not (await device.taken()).changed
        device.asked()
        await device.taken()
        assert [str(r["verdict"]) for r in device.wfm.desired.requests()][-1] == "desired state unchanged"


async def test_a_manifest_that_is_too_large(tmp_path: Path) -> None:
    """It is not read to its end, and says nothing about the device."""
    async with enrolled(tmp_path) as device:
        device.wfm.desired.spoil(["large"])
        found = await device.poll()
        assert found.outcome.kind is not Kind.ACCEPTED
        assert device.mirroring.held is None


async def test_a_wfm_that_is_busy_in_the_midst(tmp_path: Path) -> None:
    """A Retry-After at the bundle ends the poll and is obeyed: no file is asked for."""
    async with enrolled(tmp_path) as device:
        busy = Fault("answer", route="bundle", status=503, headers=(("Retry-After", "77"),))
        device.wfm.faults.add(busy)
        found = await device.poll()
        assert (found.outcome.kind, found.outcome.retry_after) == (Kind.BUSY, 77.0)
        assert device.asked()[-1] == "bundle"
        assert (await device.taken()).changed


async def test_what_the_wfm_says_of_the_device(tmp_path: Path) -> None:
    """Who is forgotten or not answered is told so; the mirror stays."""
    async with enrolled(tmp_path) as device:
        await device.taken()
        device.wfm.faults.add(Fault("answer", route="deployments", status=404, body='{"error": "no such client"}'))
        found = await device.poll()
        assert found.said is found.outcome
        assert found.outcome.kind is Kind.UNKNOWN
        device.wfm.faults.add(Fault("cut", route="deployments"))
        assert (await device.poll()).outcome.kind is Kind.UNREACHABLE
        device.wfm.faults.add(Fault("answer", route="deployments", status=200, body="<html>login</html>"))
        found = await device.poll()
        assert (found.outcome.reason, found.said) == (reasons.MANIFEST_INVALID, None), "who says that is no WFM"
        assert await device.texts() == {"a": A, "b": B}


async def test_damage_is_fetched_again(tmp_path: Path) -> None:
    """A file that rotted is asked for without an ETag, alone, under the version that is mirrored."""
    async with enrolled(tmp_path) as device:
        await device.taken()
        await device.again()
        rotten = next(path for path in tmp_path.glob("state/mirror/d-*") if path.read_bytes() == A)
        rotten.write_bytes(b"rot")
        await device.mirroring.open()
        assert [device.mirroring.whole] == [False]
        assert await device.texts() == {"a": None, "b": B}
        assert (await device.taken()).changed
        assert device.mirroring.whole
        assert await device.texts() == {"a": A, "b": B}


async def test_damage_is_said_when_it_is_met(tmp_path: Path) -> None:
    """A file that rots while margod runs is in the journal as soon as somebody reads it, once."""
    async with enrolled(tmp_path) as device:
        await device.taken()
        next(path for path in tmp_path.glob("state/mirror/d-*") if path.read_bytes() == A).write_bytes(b"rot")
        with capture_logs() as logs:
            for _ in range(2):
                assert await device.texts() == {"a": None, "b": B}
        assert [entry["code"] for entry in logs if entry["event"] == "mirror-damaged"] == ["deployment-damaged"]


async def test_an_enrolment_that_ends_takes_the_mirror_along(tmp_path: Path) -> None:
    """After a reset nothing is shown and nothing lies there; a wipe is not written into."""
    async with enrolled(tmp_path) as device:
        await device.taken()
        ground = device.shell.actions.ground
        await device.shell.disk.run(lambda: ground.reset(new_identity=False))
        await device.mirroring.open()
        assert device.mirroring.held is None
        assert not (tmp_path / "state" / "mirror").exists()
        found = await device.poll()
        assert found.outcome.kind is not Kind.ACCEPTED
        await device.shell.disk.run(ground.wipe)
        await device.mirroring.open()
        assert [path.name for path in (tmp_path / "state").iterdir()] == ["lock"]


async def test_many_and_large(tmp_path: Path) -> None:
    """A hundred deployments of 30 KB each come in two requests."""
    async with enrolled(tmp_path) as device:
        for number in range(98):
            device.wfm.desired.deploy(f"n{number}", json.dumps({"n": number, "x": "y" * 30_000}).encode())
        device.asked()
        assert (await device.taken()).changed
        assert device.asked() == ["deployments", "bundle"]
        assert len(await device.texts()) == 100


async def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written is said, the old one stays, and the next poll makes it good."""
    async with enrolled(tmp_path) as device:
        await device.taken()
        device.wfm.desired.deploy("a", C)

        def full(path: object, *_rest: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

        with monkeypatch.context() as patched:
            patched.setattr(files, "create", full)
            why, detail = await device.refused()
        assert (why, "No space left on device" in detail) == (reasons.STATE_NOT_WRITABLE, True)
        assert await device.texts() == {"a": A, "b": B}
        assert (await device.taken()).changed
        assert await device.texts() == {"a": C, "b": B}


async def test_a_slow_bundle_has_its_time(tmp_path: Path) -> None:
    """Longer than wfm.timeout in all, as long as something comes; one that hangs is given up."""
    async with enrolled(tmp_path, timeout="3s") as device:
        device.wfm.desired.deploy("b", random.Random(1).randbytes(2_000))  # what does not shrink
        device.wfm.faults.add(Fault("slow", route="bundle", when="after", seconds=0.002))
        began = time.monotonic()
        assert (await device.taken()).changed
        assert time.monotonic() - began > 3.0
        assert device.asked() == ["deployments", "bundle"]
        device.wfm.desired.deploy("c", C)
        device.wfm.faults.add(Fault("hang", route="bundle"))
        assert (await device.taken()).changed
        assert device.asked() == ["deployments", "bundle", "deployment"]


@pytest.mark.parametrize("files", [True, False])
async def test_an_enrolment_that_changes_in_the_midst(files: bool, tmp_path: Path) -> None:
    """What was asked for in one enrolment's name never gets into the mirror of the next one, nor is more asked for."""
    async with enrolled(tmp_path) as device:
        await device.taken()
        if files:
            device.wfm.desired.deploy("c", C)
        else:
            device.wfm.desired.remove("a")
        ground = device.shell.actions.ground
        call = device.courier.call

        async def meanwhile(request: Request, **rest: Any) -> Answer | TransportFailure:
            answer = await call(request, **rest)
            if not others:
                others.append(device.courier.binding)
                await device.shell.disk.run(lambda: ground.reset(new_identity=True))
                await device.shell.look()
                assert device.courier.binding not in {"", others[0]}, "enrolled anew, as another client"
            return answer

        others: list[str] = []
        device.courier.call = meanwhile  # type: ignore[method-assign]  # between two requests, the WFM cannot do that
        device.asked()
        found = await device.poll()
        assert found.outcome.kind is not Kind.ACCEPTED
        assert device.asked() == ["deployments"]
        await device.mirroring.open()
        assert device.mirroring.held is None


async def test_an_agent_that_cannot_make_up_its_mind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand versions in turn are one commit, and one more a second later; the same version is none."""
    async with enrolled(tmp_path) as device:
        await device.taken()
        commits = []
        real = Vault.commit

        def commit(vault: Vault, records: Mapping[str, bytes | None], binding: str) -> None:
            commits.append(records)
            real(vault, records, binding)

        monkeypatch.setattr(Vault, "commit", commit)

        async def adopt(version: int) -> str:
            try:
                await device.mirroring.adopt(version)
            except MargodError as error:
                return error.code
            return ""

        assert await adopt(99) == reasons.VERSION_UNKNOWN.code
        answers = await asyncio.gather(*(adopt(1 + at % 2) for at in range(1000)))
        assert answers[0] == ""
        assert set(answers[1::2]) == {reasons.ADOPTED_TOO_OFTEN.code}
        assert await adopt(1) == await adopt(1) == ""
        assert len(commits) == 1
        await asyncio.sleep(ADOPTED_APART)
        assert await adopt(2) == ""
        assert len(commits) == 2
        await device.again()
        await device.mirroring.open()
        assert device.mirroring.held is not None
        assert device.mirroring.held.adopted == 2
