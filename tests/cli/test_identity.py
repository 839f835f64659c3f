"""`margod identity`, with the daemon up and down."""

from __future__ import annotations

import base64
import json
import os
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
