"""The command line as a whole: usage, errors, interruption, start-up."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from margod import __version__
from margod.cli import COMMANDS, main
from margod.cli.exits import error_exit
from margod.local import LocalServer
from margod.model.errors import ConfigError, MargodError, StateInUse
from margod.model.reasons import CONFIG_INVALID, STATE_IN_USE, STATE_UNUSABLE
from tests.support.local_api import TIMEOUT, SteeredController, run_margod, start_margod

ROOT = Path(__file__).parents[2]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """Pins `--version`."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"margod {__version__}\n"


def test_help_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Pins that COLUMNS counts, also for a command's help, and that nonsense there is 80."""
    for columns, widest in (("60", 60), ("nonsense", 80), ("0", 80)):
        monkeypatch.setenv("COLUMNS", columns)
        assert main(["status", "--help"]) == 0
        assert widest - 20 < max(map(len, capsys.readouterr().out.splitlines())) <= widest


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Pins that the help is whole though a command loads only itself."""
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    named = {line.split()[0] for line in out.splitlines() if line.startswith("    ") and line.split()}
    assert set(COMMANDS) <= named


@pytest.mark.parametrize(
    "command",
    [
        *([name] for name in COMMANDS),
        *(["identity", name] for name in ("show", "export")),
        *(["trust", name] for name in ("show", "accept", "forget", "pin")),
        *(["config", name] for name in ("check", "show", "schema")),
        *(["devwfm", name] for name in ("serve", "list", "approve", "upload", "stats", "fault")),
    ],
    ids=" ".join,
)
def test_every_help_names_the_exit_codes(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Pins that a script's author finds the exit codes in the help."""
    assert main([*command, "--help"]) == 0
    assert "Exit codes: 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["no-such-command"],
        ["status", "--no-such-option"],
        ["status", "--socket", "a", "--runtime-dir", "b"],
        ["wait"],
        ["wait", "--for", "happiness"],
        ["wait", "--for", "enrolled", "--timeout", "soon"],
        ["wait", "--for", "enrolled", "--timeout", "-5s"],
        ["identity"],
        ["identity", "export", "--format", "pdf"],
    ],
)
def test_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Pins exit code 2 and the usage on standard error."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "usage: margod" in captured.err


def test_errors_have_their_codes() -> None:
    """Pins the exit codes that are not a command's own."""
    assert error_exit(ConfigError(CONFIG_INVALID, ())) == 78
    assert error_exit(StateInUse(STATE_IN_USE)) == 75
    assert error_exit(MargodError(STATE_UNUSABLE)) == 1


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["status", "--json"], ["wait", "--for", "enrolled", "--timeout", "1s"], ["retry"], ["reload"]],
)
async def test_no_daemon(arguments: list[str], directory: Path) -> None:
    """Pins exit code 1, what happened and what to do on standard error, and no traceback."""
    code, out, err = await run_margod(*arguments, "--runtime-dir", str(directory))
    assert (code, out) == (1, "")
    first, second = err.splitlines()
    assert first.startswith("margod: No margod answers on ")
    assert "systemctl start margod" in second


async def test_ctrl_c(server: LocalServer, controller: SteeredController, directory: Path) -> None:
    """Pins 130 without a word."""
    process = await start_margod("wait", "--for", "enrolled", env={"MARGOD_RUNTIME_DIR": str(directory)})
    await controller.until_listeners(1)
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(TIMEOUT):
        out, err = await process.communicate()
    assert (process.returncode, out, err) == (130, b"", b"")


async def test_broken_pipe(server: LocalServer, directory: Path) -> None:
    """Pins that a reader who has gone is no reason for a traceback."""
    reading, writing = os.pipe()
    os.close(reading)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "margod", "status", "--runtime-dir", str(directory)),
        stdout=writing,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(writing)
    async with asyncio.timeout(TIMEOUT):
        _, err = await process.communicate()
    assert (process.returncode, err) == (141, b"")


@pytest.mark.parametrize("command", ["status", "wait", "retry", "reload", "identity"])
def test_start_up_is_light(command: str) -> None:
    """Pins what a command for the socket may not import: it would cost more than the command itself."""
    code = f"from margod.cli import main; main(['{command}', '--help'])"
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, timeout=TIMEOUT, check=True
    )
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in run.stderr.splitlines()}
    assert "argparse" in imported
    heavy = {"aiohttp", "cryptography", "yaml", "asyncio", "structlog", "attr", "cattrs", "shutil", "lzma"}
    assert imported & heavy == set()
    others = set(COMMANDS) - {command}
    assert not [line for line in run.stderr.splitlines() if line.rpartition("margod.cli.")[2] in others]


@pytest.mark.parametrize("name", ["status", "wait", "retry", "reload"])
def test_what_talks_to_a_socket_is_light(name: str) -> None:
    """Pins that these commands load no heavy library, nor one of the standard library's that doubles their time."""
    heavy = {"aiohttp", "cryptography", "yaml", "structlog", "asyncio", "ssl", "http.client", "dataclasses", "inspect"}
    code = (
        f"import argparse, sys; from margod.cli import {name}\n"
        f"{name}.add_parser(argparse.ArgumentParser().add_subparsers())\n"
        f"assert not (found := {heavy!r} & set(sys.modules)), found\n"
    )
    # Isolated and without site: what the test environment loads at every start is not ours.
    subprocess.run([sys.executable, "-SIc", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"], check=True)
