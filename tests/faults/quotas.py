"""A quota of the file system's own under a daemon: what goes over it is told, nothing is lost, and with room it heals.

A subvolume of btrfs with a limit: writes end in EDQUOT there, for root too. ext4 has quotas by user, where the kernel
knows their formats (CONFIG_QFMT_V2); to the daemon the error is the same.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.faults.campaign import Broken, Run, promise
from tests.faults.errors import settled, yaml
from tests.faults.onboardings import Device, a_wfm
from tests.faults.zygote import Quick
from tests.support.zygote import Zygote

SIZE = "128M"
"""Of the image; btrfs takes no less than 109 MiB."""
SAYS = os.strerror(122)
"""EDQUOT (errno(3)), as the daemon has to pass it on."""


class Quota:
    """The quota on the subvolume `place`."""

    def __init__(self, place: Path) -> None:
        """Take a mounted one; see `quota_disk`."""
        self.place = place
        self._group = f"0/{_run('btrfs', 'inspect-internal', 'rootid', str(place)).strip()}"

    def allow(self, kibibytes: int | None) -> None:
        """Set it; None for none."""
        most = "none" if kibibytes is None else f"{kibibytes}k"
        _run("btrfs", "qgroup", "limit", most, self._group, str(self.place.parent))  # by way of what has room

    def used(self) -> int:
        """Return what counts against it, KiB, once what is on its way is there."""
        _run("sync", "--file-system", str(self.place))
        shown = _run("btrfs", "qgroup", "show", "--raw", "-f", str(self.place))
        return int(shown.splitlines()[-1].split()[1]) // 1024


def quotas(run: Run) -> None:
    """Start devices over their quota, at several sizes; then bring enrolled ones over it."""
    if os.geteuid() != 0:
        raise Broken("quotas need root, to mount a disk that has them")
    with quota_disk(run.place) as disk:
        asyncio.run(_quotas(run, disk))


async def _quotas(run: Run, disk: Path) -> None:
    async with a_wfm(run.place / "wfm") as wfm, Zygote() as zygote:
        sizes = range(16, 272, 16)
        for size in sorted(run.rng.sample(sizes, run.of(len(sizes), 3))):
            home = run.place / f"quota-{size}"
            home.mkdir()
            _run("btrfs", "subvolume", "create", str(disk / home.name))
            quota = Quota(disk / home.name)
            daemon = Quick(zygote, home, url=wfm.url, ca_file=wfm.ca_file, yaml=yaml(home.name))
            daemon.state = quota.place / "state"
            daemon.options[-1] = str(daemon.state)
            device = Device(home.name, daemon, wfm)
            quota.allow(size)
            await _over_it_at_first(run, device, quota)
            await _over_it_once_enrolled(run, device, quota, wfm.url, wfm.ca_file)
            shutil.rmtree(home)
            run.count("sizes of quota")


async def _over_it_at_first(run: Run, device: Device, quota: Quota) -> None:
    """Enrolled where it fits; otherwise told, killed at times, and enrolled once there is room."""
    daemon = device.daemon
    await daemon.start()
    status = await daemon.until_status(settled, "settled")
    over = status["state"] != "enrolled"
    if over:
        said = [status["detail"], str(status["last_error"]), *(warning["message"] for warning in status["warnings"])]
        promise(any(SAYS in text for text in said), f"{device.name}: {said}")
        run.count("over it, and said so")
    if killed := run.rng.random() < 0.5:
        await daemon.stop(9)  # type: ignore[arg-type]
        device.look()
    quota.allow(None)
    if killed:
        await daemon.start()
        status = await daemon.until_status(settled, "settled again")
    if status["state"] != "enrolled":
        await daemon.retry()
    await daemon.until("enrolled")
    device.look()
    asked = device.onboardings()
    promise(asked.count(201) == 1 or (over and asked.count(201) <= 2), f"{device.name}: {asked}")


async def _over_it_once_enrolled(run: Run, device: Device, quota: Quota, url: str, ca_file: Path) -> None:
    """Not one byte more: a changed report cannot be kept, the device stays what it is, and room takes the word away."""
    daemon = device.daemon
    before = await daemon.until("enrolled")
    quota.allow(max(1, quota.used() - 16))
    daemon.configure(url=url, ca_file=ca_file, yaml=yaml(device.name, "Another"))
    await daemon.reload()
    status = await daemon.until_status(_told, "told")
    _same(before, status, f"{device.name}: over its quota once enrolled")
    await daemon.stop(9)  # type: ignore[arg-type]
    device.look()
    await daemon.start()
    again = await daemon.until_status(lambda now: now["state"] in ("enrolled", "onboarded", "blocked"), "again")
    _same(before, again, f"{device.name}: started over its quota")
    quota.allow(None)
    await daemon.retry()
    healed = await daemon.until_status(
        lambda now: now["state"] == "enrolled" and now["last_error"] is None and not _told(now), "healed"
    )
    _same(before, healed, f"{device.name}: with room again")
    device.look()
    await daemon.stop()
    run.count("over it once enrolled, told and healed")


def _told(status: dict[str, Any]) -> bool:
    return "state-not-writable" in [warning["code"] for warning in status["warnings"]]


def _same(before: dict[str, object], after: dict[str, object], where: str) -> None:
    for key in ("client_id", "identity"):
        promise(before[key] == after[key], f"{where}: {key} was {before[key]}, is {after[key]}")


@contextmanager
def quota_disk(place: Path) -> Iterator[Path]:
    """Mount a btrfs with quotas below `place`. Raises Broken where this machine has none."""
    image, disk = place / "quota-image", place / "quota-disk"
    _run("truncate", "-s", SIZE, str(image))
    _run("mkfs.btrfs", "-q", str(image))
    disk.mkdir()
    _run("mount", "-o", "loop", str(image), str(disk))
    try:
        _run("btrfs", "quota", "enable", str(disk))
        yield disk
    finally:
        _run("umount", "--lazy", str(disk))


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    if done.returncode:
        raise Broken(f"{' '.join(command)}: {done.stderr.decode(errors='replace')}")
    return done.stdout.decode()
