"""`margod check` as a process, its report checked for what holds of every report."""

from __future__ import annotations

import asyncio
import json
import stat
import time
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

from margod.check.report import NAMES
from tests.support.daemon import TIMEOUT, Daemon
from tests.support.devwfm import DevWfm, environment
from tests.support.zygote import Child, margod

ONLINE = ("dns", "tcp", "proxy", "tls", "certificate-api", "signed-request")
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


class Report:
    """One run: exit code, lines by name, seconds."""

    def __init__(self, code: int, document: dict[str, Any], seconds: float) -> None:
        """Check what holds of every report."""
        self.code, self.document, self.seconds = code, document, seconds
        assert document["schema"] == 1
        names = [line["name"] for line in document["lines"]]
        assert names in ([n for n in NAMES if n != other] for other in ("signed-request", "secret-hosts"))
        self.lines = {line["name"]: line for line in document["lines"]}
        verdicts = {line["verdict"] for line in document["lines"]}
        assert code == (11 if "failed" in verdicts else 10 if "warning" in verdicts else 0)
        for line in document["lines"]:
            assert line["message"].isprintable()
            assert line["detail"].isprintable()
            assert (line["verdict"] == "skipped") == (line["because"] is not None)
            assert line["verdict"] in ("ok", "skipped") or line["code"]
            assert line["verdict"] != "failed" or line["hint"] or line["code"] in ("wfm-busy",)

    def verdict(self, name: str) -> tuple[str, str | None]:
        """Return verdict and code, or `skipped` and because of what."""
        line = self.lines[name]
        return line["verdict"], line["because"] if line["verdict"] == "skipped" else line["code"]

    def skipped(self, because: str) -> set[str]:
        """Return the lines that were skipped because of this."""
        return {name for name, line in self.lines.items() if line["because"] == because}


def arguments(daemon: Daemon) -> list[str]:
    """Return the options that point the check at a daemon's files."""
    return [*daemon.options, "--runtime-dir", str(daemon.runtime)]


async def run(*command: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Run a command; nothing may come out on standard error."""
    return await _said(await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, env=_clean(env)))


async def check(daemon: Daemon, *options: str, env: dict[str, str] | None = None) -> Report:
    """Run `margod check --json` with a daemon's files, whether it runs or not."""
    began = time.monotonic()
    command = ("check", "--json", *arguments(daemon), *options)
    code, out = await _said(await margod(*command, stdout=PIPE, stderr=PIPE, env=_clean(env)))
    return Report(code, json.loads(out), time.monotonic() - began)


def _clean(env: dict[str, str] | None) -> dict[str, str]:
    clean = {k: v for k, v in environment().items() if not k.upper().endswith("_PROXY") and not k.startswith("MARGOD")}
    return {**clean, **(env or {})}


async def _said(process: asyncio.subprocess.Process | Child) -> tuple[int, str]:
    async with asyncio.timeout(TIMEOUT):
        out, error = await process.communicate()
    assert error.decode() == ""
    assert process.returncode is not None
    return process.returncode, out.decode()


def everything(directory: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Return mode, owner, mtime and content of all below a directory and of itself."""
    found = {}
    for path in [directory, *directory.rglob("*")]:
        about = path.lstat()
        data = path.read_bytes() if stat.S_ISREG(about.st_mode) else b""
        found[str(path)] = (about.st_mode, about.st_uid, about.st_mtime_ns, data)
    return found


async def enrolled(directory: Path, wfm: DevWfm, yaml: str = "") -> Daemon:
    """Return a daemon that has enrolled and was stopped."""
    daemon = Daemon(directory, url=wfm.url, ca_file=wfm.ca_file, yaml=yaml)
    async with daemon:
        await daemon.until("enrolled")
    return daemon
