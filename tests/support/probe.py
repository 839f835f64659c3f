"""Tells what a forked process finds, in place of margod: test_zygote's code for one, and for one of its own."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sys
import time
from pathlib import Path

from tests.support import forking


def run() -> int:
    """Do what the first argument says."""
    what, *arguments = sys.argv[1:]
    if what == "end":
        return int(arguments[0])
    if what == "hang":
        print("hangs", flush=True)
        time.sleep(600)
    found = {
        "random": random.random(),
        "environment": dict(os.environ),
        "directory": str(Path.cwd()),
        "path": sys.path[0],
        "arguments": sys.argv[1:],
        "descriptors": sorted(int(each.name) for each in Path("/proc/self/fd").iterdir())[:-1],
        "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "handlers": [str(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
        "umask": os.umask(0),
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "processor": resource.getrlimit(resource.RLIMIT_CPU),
        "in": sys.stdin.read(),
    }
    print(json.dumps(found))
    print("error", file=sys.stderr)
    return 0


if __name__ == "__main__":
    forking.main(run) if sys.argv[1] in forking.IMPORTS else sys.exit(run())
