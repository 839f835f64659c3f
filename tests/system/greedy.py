"""Run inside the unit's sandbox as the daemon's user: a fetch's child takes all the memory that it may have.

Beside it a parent as large as the daemon ever is. Prints one JSON object. The test that starts it is test_sandbox.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Final

DAEMON: Final = 64 << 20
"""Bytes: more than the daemon's budget."""

_CHILD: Final = """
import sys
from margod.gitfetch import child, job
child.bound(job.Limits())
held = []
try:
    while True:
        held.append(bytearray(b"x") * (1 << 20))
except MemoryError:
    taken = len(held)
    held.clear()
    print(taken)
"""


def main() -> None:
    """Be large, and have the child take what there is."""
    daemon = b"x" * DAEMON
    done = subprocess.run([sys.executable, "-I", "-c", _CHILD], capture_output=True, text=True, check=False)
    found = {"code": done.returncode, "taken": int(done.stdout or 0), "said": done.stderr, "beside": len(daemon)}
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
