"""Run inside the unit's sandbox as the daemon's user: fetches the desired state from Git as the daemon does.

Prints one JSON object: what came, and how the child process was bound while it worked. What is fetched, and with which
token, is in the vault. The test that starts it is test_sandbox.py.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from margod.gitfetch import Fetched, Job, fetch

STATE: Final = Path("/var/lib/margod")
CA: Final = Path("/etc/margod/ca.pem")
_LIMITS: Final = (
    "Max core file size",
    "Max file size",
    "Max open files",
    "Max data size",
    "Max cpu time",
    "Max processes",
)


_TAKEN_OVER: Final = """
import json, os, sys
from margod.gitfetch import Job, Limits, child, confine
job, key, daemon = Job("https://localhost/x.git", "main", "", "", ""), *sys.argv[1:]
child.bound(Limits())
found = {"kernel": confine.confine(job)}
for name, call in {
    "read": lambda: open(key, "rb"), "empty": lambda: os.truncate(key, 0), "remove": lambda: os.unlink(key),
    "memory": lambda: open(f"/proc/{daemon}/mem", "rb"), "signal": lambda: os.kill(int(daemon), 0), "start": os.fork,
}.items():
    try:
        call()
        found[name] = "ok"
    except OSError as error:
        found[name] = type(error).__name__
print(json.dumps(found))
"""


def taken_over(key: Path) -> dict[str, Any]:
    """Return what a process that is bound as the child is can do to a file of the vault and to the daemon."""
    given = [sys.executable, "-I", "-c", _TAKEN_OVER, str(key), str(os.getpid())]
    found: dict[str, Any] = json.loads(subprocess.run(given, capture_output=True, check=True).stdout)
    return found


def children() -> list[str]:
    """Return the process ids of this one's children."""
    found = (task.joinpath("children").read_text().split() for task in Path("/proc/self/task").iterdir())
    return [pid for each in found for pid in each]


def looked_at(pid: str) -> dict[str, Any]:
    """Return how a process is bound, and everything that it was started with."""
    place = Path("/proc", pid)
    limits = place.joinpath("limits").read_text()
    status = dict(line.split(":\t", 1) for line in place.joinpath("status").read_text().splitlines() if ":\t" in line)
    return {
        "limits": {name: re.findall(rf"(?m)^{name} +(\S+) +(\S+)", limits)[0] for name in _LIMITS},
        "seccomp": status["Seccomp"],
        "no_new_privileges": status["NoNewPrivs"],
        "capabilities": status["CapEff"],
        "oom_score_adj": place.joinpath("oom_score_adj").read_text().strip(),
        "peak": int(status["VmHWM"].split()[0]),
        "cgroup": place.joinpath("cgroup").read_text(),
        "arguments": place.joinpath("cmdline").read_text() + place.joinpath("environ").read_text(),
    }


async def main() -> None:
    """Fetch once, and look at the child until it is gone."""
    newest = max(STATE.glob("gen-*"))
    git = json.loads((newest / "git.json").read_text())
    job = Job(git["url"], "main", CA.read_text(), "oauth2", git["accessToken"])
    working = asyncio.ensure_future(fetch(job))
    seen: dict[str, Any] = {}
    while not working.done():
        with suppress(OSError, IndexError, KeyError):
            seen = max(seen, looked_at(children()[0]), key=lambda each: each.get("peak", 0))
        await asyncio.sleep(0.005)
    result = await working
    files = result.files if isinstance(result, Fetched) else None
    print(
        json.dumps(
            {
                "said": str(result),
                "files": {path: data.decode() for path, data in (files or {}).items()},
                "child": {**seen, "arguments": git["accessToken"] in seen.get("arguments", git["accessToken"])},
                "left": children(),
                "taken_over": taken_over(newest / "git.json"),
                "uid": os.getuid(),
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    asyncio.run(main())
