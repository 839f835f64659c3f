"""State on what does not survive a restart: real mounts, in a namespace of their own, under a real process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.daemon import Daemon
from tests.support.devwfm import DevWfm
from tests.support.machine import as_root
from tests.support.mounts import Mounts, mounts

pytestmark = [pytest.mark.e2e, pytest.mark.system, as_root]

REFUSED: Final = "state: {allow_volatile: false}"
ALLOWED: Final = "state: {allow_volatile: true}"


@pytest.fixture
def space() -> Iterator[Mounts]:
    """A namespace of mounts."""
    with mounts() as made:
        yield made


def memory(space: Mounts, state: Path) -> None:
    """A tmpfs at the state directory."""
    space.run("mount", "-t", "tmpfs", "-o", "mode=0700", "tmpfs", str(state))


def above(space: Mounts, state: Path) -> None:
    """A tmpfs at the directory above."""
    space.run("mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", str(state.parent))
    space.run("mkdir", "-m", "0700", str(state))


def overlay(space: Mounts, state: Path) -> None:
    """An overlay whose upper directory is on a tmpfs, as a read-only root with changes in memory has it."""
    place = state.parent.parent / "memory"
    place.mkdir()
    space.run("mount", "-t", "tmpfs", "tmpfs", str(place))
    space.run("mkdir", "-m", "0700", str(place / "upper"))
    space.run("mkdir", str(place / "work"))
    options = f"lowerdir={state},upperdir={place / 'upper'},workdir={place / 'work'}"
    space.run("mount", "-t", "overlay", "-o", options, "overlay", str(state))


def unmounted(space: Mounts, state: Path) -> None:
    """A partition that /etc/fstab names for it, and that is not mounted."""
    fstab = state.parent.parent / "fstab"
    fstab.write_text(f"/dev/mmcblk0p4 {state.parent} ext4 defaults,nofail 0 2\n")
    space.run("mount", "--bind", str(fstab), "/etc/fstab")


def sandboxed(space: Mounts, state: Path) -> None:
    """The same under the shipped unit: its sandbox mounts the state directory on itself."""
    unmounted(space, state)
    space.run("mount", "--bind", str(state), str(state))


KINDS: dict[str, tuple[Callable[[Mounts, Path], None], str]] = {
    "tmpfs": (memory, "is on a tmpfs"),
    "tmpfs-above": (above, "is on a tmpfs"),
    "overlay": (overlay, "is on an overlay whose upper directory is on a tmpfs"),
    "fstab-sandboxed": (sandboxed, "is in /etc/fstab and not mounted"),
    "fstab": (unmounted, "is in /etc/fstab and not mounted"),
}


def device(place: Path, wfm: DevWfm, space: Mounts) -> Daemon:
    """Return a device in this namespace whose state is in a directory of its own: what is above it may be mounted."""
    place.mkdir()
    daemon = Daemon(place, url=wfm.url, ca_file=wfm.ca_file, yaml=REFUSED)
    daemon.prefix = space.prefix
    daemon.state = place / "var" / "state"
    daemon.state.mkdir(parents=True, mode=0o700)
    daemon.options[-1] = str(daemon.state)
    return daemon


async def allow(daemon: Daemon, wfm: DevWfm, yaml: str) -> None:
    """Change state.allow_volatile under a running daemon."""
    daemon.configure(url=wfm.url, ca_file=wfm.ca_file, yaml=yaml)
    assert (await daemon.reload())["result"] == "reloaded"


def made(daemon: Daemon, space: Mounts) -> list[str]:
    """Return the names in the state directory, as they are seen there, but for what each start leaves."""
    found = f"{daemon.directory}/found"
    space.run("sh", "-c", f"ls -A {daemon.state} > {found}")
    passing = {"lock", "config.last-good", "runtime.json", "clock.json"}
    return sorted(set(Path(found).read_text().split()) - passing)


@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_is_minted_on_what_does_not_last(tmp_path: Path, space: Mounts, kind: str) -> None:
    """Blocked, with what it is on; nothing made, nothing sent, over a restart; the owner's word lets it go."""
    mount, said = KINDS[kind]
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = device(tmp_path / "d", wfm, space)
        mount(space, daemon.state)
        for _ in range(2):
            async with daemon:
                status = await daemon.until("blocked", "state-volatile")
                assert said in status["detail"]
                assert "state.allow_volatile" in status["hint"]
                assert (status["identity"], status["client_id"]) == (None, None)
                assert (await daemon.command("status"))[0] == 5
                await daemon.retry()
                await daemon.until_status(lambda s: s["attempt"] > 1, "looked again")
        assert made(daemon, space) == []
        assert await wfm.requests() == []
        async with daemon:
            await daemon.until("blocked", "state-volatile")
            await allow(daemon, wfm, ALLOWED)
            status = await daemon.until("enrolled")
            assert status["warnings"] == []
            assert len(await wfm.requests("onboarding")) == 1


async def test_what_is_enrolled_there_goes_on(tmp_path: Path, space: Mounts) -> None:
    """With a warning, as who it is: taking the word back makes nobody a stranger."""
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = device(tmp_path / "d", wfm, space)
        memory(space, daemon.state)
        daemon.configure(url=wfm.url, ca_file=wfm.ca_file, yaml=ALLOWED)
        async with daemon:
            before = await daemon.until("enrolled")
            await allow(daemon, wfm, REFUSED)
            status = await daemon.until_status(lambda s: bool(s["warnings"]), "warned")
            assert (status["state"], status["identity"]) == ("enrolled", before["identity"])
        async with daemon:
            status = await daemon.until("enrolled")
            assert [warning["code"] for warning in status["warnings"]] == ["state-volatile"]
            assert status["client_id"] == before["client_id"]
        assert len(await wfm.requests("onboarding")) == 1


async def test_mounted_under_a_running_daemon(tmp_path: Path, space: Mounts) -> None:
    """While the WFM decides, a tmpfs comes over the directory: it stops, makes nothing there, goes on without it."""
    async with DevWfm(tmp_path / "wfm", "--approval", "manual", "--retry-after", "600") as wfm:
        daemon = device(tmp_path / "d", wfm, space)
        daemon.configure(url=wfm.url, ca_file=wfm.ca_file, yaml=ALLOWED)  # wherever the tests' files are
        async with daemon:
            before = await daemon.until("pending-approval")
            await daemon.answer_kept()
            asked = len(await wfm.requests())
            memory(space, daemon.state)
            await allow(daemon, wfm, REFUSED)
            status = await daemon.until("blocked", "state-volatile")
            assert f"{daemon.state} is on a tmpfs" in status["detail"]
            await daemon.retry()
            await daemon.until_status(lambda s: s["attempt"] > 1, "looked again")
            assert made(daemon, space) == []
            assert len(await wfm.requests()) == asked
            space.run("umount", str(daemon.state))
            await allow(daemon, wfm, ALLOWED)
            status = await daemon.until("pending-approval")
            assert status["identity"] == before["identity"]
            assert len({request["body"] for request in await wfm.requests("onboarding")}) == 1
        async with daemon:
            assert (await daemon.until("pending-approval"))["identity"] == before["identity"]


async def test_a_disk_lasts(tmp_path: Path, space: Mounts) -> None:
    """An ext4 of its own, in the same place: enrolled, and no word about it. What is refused above is the mount."""
    image = tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(8 << 20)
    space.run("mkfs.ext4", "-q", "-F", str(image))
    async with DevWfm(tmp_path / "wfm") as wfm:
        daemon = device(tmp_path / "d", wfm, space)
        space.run("mount", "-o", "loop", str(image), str(daemon.state))
        space.run("chmod", "0700", str(daemon.state))
        async with daemon:
            assert (await daemon.until("enrolled"))["warnings"] == []
        space.run("umount", str(daemon.state))
