"""The process of one fetch: bounds itself, reads the job from standard input, answers on standard output, and ends."""

from __future__ import annotations

import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from margod.gitfetch.answer import encode_failed, encode_fetched
from margod.gitfetch.confine import confine, die_with
from margod.gitfetch.job import TOO_LARGE, Failed, Fetched, Job, Limits, Refusal

JOB_LIMIT: Final = 4 << 20
OOM_SCORE: Final = Path("/proc/self/oom_score_adj")


def main(parent: int) -> None:
    """Do one job for the process that started this one."""
    die_with(parent)
    job = Job.decode(sys.stdin.buffer.read(JOB_LIMIT))
    bound(job.limits)
    confine(job)
    try:
        pieces = encode_fetched(_fetch(job))
    except Refusal as refusal:
        pieces = encode_failed(Failed(refusal.code, refusal.detail, refusal.retry_after))
    except MemoryError:
        pieces = encode_failed(Failed(TOO_LARGE, f"it takes more than {job.limits.memory} bytes of memory"))
    for piece in pieces:
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
    os._exit(0)  # nothing is worth tidying up, and no library's atexit is to have a say


def _fetch(job: Job) -> Fetched:
    from margod.gitfetch.pack import read_pack
    from margod.gitfetch.trees import descends, files_of
    from margod.gitfetch.wire import Repository

    repository = Repository(job)
    commit, pack = repository.newest()
    if commit == job.known:
        return Fetched(commit, None)
    files, notes = files_of(commit, read_pack(pack or b"", job.limits), job.limits)
    rewound = False
    if job.known:
        try:
            between = read_pack(repository.between(job.known, commit), job.limits)
            rewound = not descends(commit, job.known, between)
        except Refusal as refusal:
            if refusal.code != TOO_LARGE:
                raise
            rewound = True  # a server that knows the old commit need not send all of history
    return Fetched(commit, files, rewound, notes)


def bound(limits: Limits) -> None:
    """Take away what the fetch does not need: time, memory, files, processes, a core that would hold the token."""
    with suppress(OSError):
        OOM_SCORE.write_text("1000")  # if memory runs out all the same, this process is to go, and not the daemon
    seconds = max(1, int(limits.seconds))
    for what, most in (
        (resource.RLIMIT_CORE, 1),  # 0 does not hold where core_pattern is a pipe
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 32),
        (resource.RLIMIT_NPROC, 0),  # not for root, whose processes are ended as a group
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_DATA, limits.memory),
    ):
        _, hard = resource.getrlimit(what)
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (value, value))
    signal.alarm(seconds + 5)  # the parent ends it before; without a parent it ends by itself
