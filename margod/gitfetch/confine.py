"""Takes from the child what it does not need of the system: by the kernel's own rules, so that no code takes it back.

Landlock is asked for by ctypes, because nothing of Python has it. Where the kernel or a filter of system calls does not
have it, the fetch goes on without (docs/decisions/0023-git.md).
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
import sys
from collections.abc import Iterable
from contextlib import suppress
from stat import S_ISDIR
from typing import Any, Final
from urllib.parse import urlsplit

import margod
from margod.gitfetch.job import Job

_PDEATHSIG, _NO_NEW_PRIVS = 1, 38
_CREATE, _ADD, _RESTRICT = 444, 445, 446
_MACHINES: Final = frozenset(
    {"x86_64", "aarch64", "armv8l", "armv7l", "armv6l", "i686", "riscv64", "ppc64le", "s390x", "loongarch64"}
)
"""Where those are the numbers of Landlock's system calls."""
_READ_FILE, _READ_DIR, _CONNECT = 1 << 2, 1 << 3, 1 << 1
_FILES: Final = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""Everything that may be done with files, by the version that knew it first; 4 brought TCP, 6 signals."""
_DNS: Final = 53
READABLE: Final = (
    *("/usr", "/lib", "/lib64", "/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager/resolv.conf"),
    *("/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/etc/ld.so.cache", "/etc/localtime", "/dev/urandom"),
    *("/etc/resolv.conf", "/etc/hosts", "/etc/hostname", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf"),
    *("/etc/services", "/etc/protocols"),
)
"""What Python, OpenSSL and the C library's resolver read, wherever they are installed by a distribution."""


def die_with(parent: int) -> None:
    """End when the process `parent` does, or now if it is no longer there."""
    with suppress(OSError, AttributeError):
        _libc().prctl(_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def confine(job: Job) -> bool:
    """Write no file, read few, execute nothing, reach one TCP port; return whether the kernel holds to that."""
    if platform.machine() not in _MACHINES:
        return False
    readable = (*READABLE, *sys.path, *margod.__path__, sys.prefix, sys.base_prefix, *job.system)
    place = urlsplit(job.url)
    port = (place.port or 443) if job.proxy is None else job.proxy.port
    try:
        return _restrict(_libc(), readable, (port, _DNS))
    except (OSError, AttributeError):
        return False


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _restrict(libc: Any, readable: Iterable[str], ports: Iterable[int]) -> bool:
    version = libc.syscall(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint(1))
    if version < 1:
        return False
    files = _FILES[max(known for known in _FILES if known <= version)]
    handled = struct.pack("=QQQ", files, 3, 3)[: 24 if version >= 6 else 16 if version >= 4 else 8]
    rules = libc.syscall(_CREATE, handled, ctypes.c_size_t(len(handled)), ctypes.c_uint(0))
    if rules < 0:
        return False
    for path in filter(None, readable):
        _readable(libc, rules, path)
    if version >= 4:
        for port in ports:
            libc.syscall(_ADD, rules, 2, struct.pack("=QQ", _CONNECT, port), ctypes.c_uint(0))
    libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    done = bool(libc.syscall(_RESTRICT, rules, ctypes.c_uint(0)) == 0)
    os.close(rules)
    return done


def _readable(libc: Any, rules: int, path: str) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # not on this system
        return
    try:
        rights = _READ_FILE | _READ_DIR if S_ISDIR(os.fstat(place).st_mode) else _READ_FILE
        libc.syscall(_ADD, rules, 1, struct.pack("=Qi", rights, place), ctypes.c_uint(0))
    finally:
        os.close(place)
