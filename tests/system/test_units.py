"""The units as files: what systemd thinks of them, and what an installation puts where. Nothing is booted here."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from margod.service import cores
from tests.system.installation import PROJECT

UNITS = PROJECT / "systemd"
SERVICES = ("margod.service", "margod-wait-enrolled.service")

needs_analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def settings(unit: str) -> list[str]:
    """Return the assignments of a unit file, without comments and sections."""
    return [line for line in (UNITS / unit).read_text().splitlines() if "=" in line and not line.startswith("#")]


@needs_analyze
@pytest.mark.parametrize(("service", "score"), [("margod.service", 14), ("margod-wait-enrolled.service", 4)])
def test_the_sandbox_is_within_its_budget(service: str, score: int) -> None:
    """`systemd-analyze security` gives what it gave (tenths, budget 15): a directive lost or weakened shows here."""
    command = [
        "systemd-analyze",
        "security",
        "--offline=yes",
        f"--threshold={score}",
        "--no-pager",
        str(UNITS / service),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stderr == ""


@needs_analyze
def test_systemd_knows_every_directive(tmp_path: Path) -> None:
    """`systemd-analyze verify` returns 0 for a misspelt key and only says so on standard error: that must be empty."""
    for unit in (*SERVICES, "margod-enrolled.target"):
        text = (UNITS / unit).read_text().replace("/opt/margod/bin/margod", "/bin/true")
        (tmp_path / unit).write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_the_daemon_needs_is_not_taken_away() -> None:
    """No user namespace (it hides callers), no watchdog that wakes it often, both exits that are not restarted."""
    unit = settings("margod.service")
    assert not any(line.startswith(("PrivateUsers=", "DynamicUser=")) for line in unit)
    assert "RestartPreventExitStatus=75 78" in unit
    assert "WatchdogSec=4min" in unit
    assert "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK" in unit
    assert "NotifyAccess=main" in unit
    assert "OOMPolicy=continue" in unit


@pytest.mark.parametrize("service", SERVICES)
def test_no_core_is_left_through_a_pipe_either(service: str) -> None:
    """A limit of 0 is not heeded where core_pattern is a pipe, and a process cannot make 1 of it any more."""
    assert f"LimitCORE={cores.LEAST}" in settings(service)


def test_an_image_is_filled_without_asking_the_running_system(tmp_path: Path) -> None:
    """DESTDIR puts the files where systemd looks, the configuration unreadable for others, and needs no root."""
    root = tmp_path / "image"
    env = {"PATH": os.environ["PATH"], "DESTDIR": str(root)}
    configuration = root / "etc/margod/margod.yaml"
    for _ in range(2):
        done = subprocess.run([UNITS / "install.sh"], capture_output=True, text=True, env=env, check=False, timeout=120)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert stat.S_IMODE(configuration.stat().st_mode) == 0o640
    assert configuration.read_bytes() == (PROJECT / "config/margod.yaml").read_bytes()
    placed = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert placed == {
        "usr/lib/systemd/system/margod.service",
        "usr/lib/systemd/system/margod-wait-enrolled.service",
        "usr/lib/systemd/system/margod-enrolled.target",
        "usr/lib/sysusers.d/margod.conf",
        "usr/lib/tmpfiles.d/margod.conf",
        "etc/margod/margod.yaml",
    }


def test_an_operators_configuration_survives_an_upgrade(tmp_path: Path) -> None:
    """A configuration that is there, even a dangling link, is left alone."""
    configuration = tmp_path / "etc/margod/margod.yaml"
    configuration.parent.mkdir(parents=True)
    env = {"PATH": os.environ["PATH"], "DESTDIR": str(tmp_path)}
    configuration.write_text("wfm: {}\n")
    subprocess.run([UNITS / "install.sh"], env=env, check=True, timeout=120)
    assert configuration.read_text() == "wfm: {}\n"
    configuration.unlink()
    configuration.symlink_to("/nonexistent/elsewhere")
    subprocess.run([UNITS / "install.sh"], env=env, check=True, timeout=120)
    assert configuration.is_symlink()
