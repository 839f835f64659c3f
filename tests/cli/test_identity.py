"""`margod identity`, with the daemon up and down."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from margod.identity import mint
from margod.local import LocalServer
from margod.vault import Vault
from tests.support.local_api import FINGERPRINT, PEM, SteeredController, run_margod


async def test_show(server: LocalServer, controller: SteeredController, directory: Path) -> None:
    """Pins what is compared by a person at the WFM, and the document as --json."""
    code, out, err = await run_margod("identity", "show", "--runtime-dir", str(directory))
    assert (code, err) == (0, "")
    assert f"Fingerprint  {FINGERPRINT}\n" in out
    assert max(len(line) for line in out.splitlines()) <= 80
    _, out, _ = await run_margod("identity", "show", "--json", "--runtime-dir", str(directory))
    assert json.loads(out) == controller.certificate


@pytest.mark.parametrize(
    ("form", "expected"),
    [("pem", PEM.encode()), ("der", base64.b64decode("MAMCAQE=")), ("base64", b"MAMCAQE=\n")],
)
async def test_export(server: LocalServer, directory: Path, tmp_path: Path, form: str, expected: bytes) -> None:
    """Pins the three forms, to standard output and into a file."""
    options = ("--format", form, "--runtime-dir", str(directory))
    code, out, err = await run_margod("identity", "export", *options, "--out", str(tmp_path / "file"))
    assert (code, out, err) == (0, "", "")
    assert (tmp_path / "file").read_bytes() == expected
    if form != "der":
        assert (await run_margod("identity", "export", *options))[1] == expected.decode()


async def test_export_to_nowhere(server: LocalServer, directory: Path, tmp_path: Path) -> None:
    """Pins that a file which cannot be written is named."""
    code, _, err = await run_margod(
        "identity", "export", "--runtime-dir", str(directory), "--out", str(tmp_path / "none" / "file")
    )
    assert code == 1
    assert "none/file could not be written: No such file or directory." in err


async def test_export_follows_no_link(server: LocalServer, directory: Path, tmp_path: Path) -> None:
    """Pins that a link and a device are refused and what they lead to stays; a file is replaced, nothing is left."""
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    options = ("--runtime-dir", str(directory), "--out")
    for out in (tmp_path / "link", Path("/dev/null"), tmp_path):
        code, _, err = await run_margod("identity", "export", *options, str(out))
        assert (code, "no regular file" in err) == (1, True)
    assert (tmp_path / "victim").read_text() == "mine"
    (tmp_path / "other name").hardlink_to(tmp_path / "victim")
    assert (await run_margod("identity", "export", *options, str(tmp_path / "victim")))[0] == 0
    assert (tmp_path / "victim").read_text() == PEM
    assert (tmp_path / "other name").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir() if path != directory} >= {"victim", "link", "other name"}
    assert not list(tmp_path.glob(".*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("running", [True, False])
async def test_without_rights(server: LocalServer, directory: Path, running: bool) -> None:
    """Pins what a user is told who may use neither socket nor state directory, with the daemon up and down."""
    directory.parent.chmod(0o755)
    directory.chmod(0o755)
    state = directory.parent / "state"
    state.mkdir(mode=0o700)
    if not running:
        await server.stop()
    program = (  # once as root for the imports
        "import os, sys; from margod.cli import main; import margod.identity, margod.vault\n"
        "import margod.cli.identity, tempfile\n"
        "os.setgroups([]); os.setgid(61234); os.setuid(61234); sys.exit(main())"
    )
    command = (sys.executable, "-c", program, "identity", "show", "--runtime-dir", str(directory))
    done = await asyncio.to_thread(
        subprocess.run, [*command, "--state-dir", str(state)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert str(state) in done.stderr
    assert "Mend what the message names" not in done.stderr
    if running:
        assert "Join the group margod to read the status" in done.stderr
    else:
        assert "Use root." in done.stderr
        assert "systemctl" in done.stderr


async def test_none_yet(server: LocalServer, controller: SteeredController, directory: Path) -> None:
    """Pins the message before there is a certificate."""
    controller.certificate = None
    code, out, err = await run_margod("identity", "show", "--runtime-dir", str(directory))
    assert (code, out) == (1, "")
    assert err.startswith("margod: This device has no certificate yet.\n")


async def test_the_daemon_down(directory: Path, tmp_path: Path) -> None:
    """Pins that the state directory is read instead, without the daemon, and left as it was."""
    state = tmp_path / "state"
    opened = Vault.open(state)
    opened.commit(mint("gateway-7", None, 86_400.0, time.time()), "")
    opened.close()
    where = ("--runtime-dir", str(directory), "--state-dir", str(state))
    before = sorted(os.walk(state))
    code, out, err = await run_margod("identity", "show", "--json", *where)
    assert (code, err) == (0, "")
    shown = json.loads(out)
    assert "gateway-7" in shown["subject"]
    assert (shown["algorithm"], shown["source"]) == ("ecdsa-p256-sha256", "minted")
    _, der, _ = await run_margod("identity", "export", "--format", "base64", *where)
    assert base64.b64decode(der)[:1] == b"\x30"
    assert sorted(os.walk(state)) == before


async def test_the_daemon_down_and_nothing_stored(directory: Path, tmp_path: Path) -> None:
    """Pins the message without a state directory, and with an empty one given by the environment."""
    code, _, err = await run_margod(
        "identity", "show", "--runtime-dir", str(directory), "--state-dir", str(tmp_path / "none")
    )
    assert code == 1
    assert "There is no state directory" in err
    (tmp_path / "empty").mkdir(mode=0o700)
    code, _, err = await run_margod(
        "identity", "show", "--runtime-dir", str(directory), env={"STATE_DIRECTORY": str(tmp_path / "empty")}
    )
    assert code == 1
    assert "no certificate yet" in err
