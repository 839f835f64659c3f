"""What a device does not use it does not load: a generation's own code, and Git, which is for a child process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.devwfm import DevWfm

pytestmark = pytest.mark.e2e

OF_TOKEN = ("margod.protocols.token", "margod.engine.bearer", "margod.gitfetch")
OF_GIT = ("dulwich", "urllib3", "margod.gitfetch.child", "margod.gitfetch.wire")


def imported(daemon: Daemon) -> set[str]:
    """Return every module that the process has imported, as the interpreter itself tells it."""
    told = [line.rsplit("|", 1)[1].strip() for line in daemon.journal if line.startswith("import time:")]
    daemon.journal = [line for line in daemon.journal if not line.startswith("import time:")]
    assert {"margod.daemon", "aiohttp"} <= set(told)
    return set(told)


def of(modules: set[str], *families: str) -> set[str]:
    """Return those that are one of these or inside of one."""
    return {module for module in modules if any(f"{module}.".startswith(f"{family}.") for family in families)}


async def test_a_signed_device_loads_nothing_of_token(tmp_path: Path) -> None:
    """Onboarded, mirroring, stopped: no module of the other generation, and no library of Git, was imported."""
    (tmp_path / "d").mkdir()
    daemon = Daemon(tmp_path / "d")
    async with DevWfm(tmp_path / "wfm") as wfm:
        await wfm.deploy("pump", "kind: ApplicationDeployment\n")
        daemon.configure(url=wfm.url, ca_file=wfm.ca_file, yaml="schedule: {polling: {rate: 1s}}")
        await daemon.start(env={"PYTHONPROFILEIMPORTTIME": "1"})
        await daemon.until("enrolled")
        await daemon.journal_line("desired-state", having="deployments=1")
        await daemon.stop()
    assert of(imported(daemon), *OF_TOKEN, *OF_GIT) == set()


async def test_a_token_device_leaves_git_to_the_child(tmp_path: Path) -> None:
    """Mirroring by the other generation it has that one's code, and Git's library is nowhere in the daemon."""
    (tmp_path / "d").mkdir()
    daemon = Daemon(tmp_path / "d")
    async with DevWfm(tmp_path / "wfm", "--protocol", "token") as wfm:
        await wfm.deploy("pump", "kind: ApplicationDeployment\n")
        daemon.protocol = "token"
        daemon.configure(url=wfm.url, ca_file=wfm.ca_file, yaml="schedule: {polling: {rate: 1s}}")
        await daemon.start(env={"PYTHONPROFILEIMPORTTIME": "1"})
        await daemon.until("enrolled")
        await daemon.journal_line("desired-state", having="deployments=1")
        await daemon.stop()
    modules = imported(daemon)
    assert of(modules, "margod.protocols.token")
    assert of(modules, *OF_GIT) == set()
