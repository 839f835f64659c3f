"""Run inside the unit's sandbox as the daemon's user: tries what is given and what is denied, prints how each ended.

The output is one JSON object, attempt -> "ok" or the name of the errno. Only the standard library is used, and nothing
of margod's, so that what fails here fails because of the sandbox. The test that starts it is test_sandbox.py.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import mmap
import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

STATE: Final = Path("/var/lib/margod")
LIBC: Final = ctypes.CDLL(None, use_errno=True)

# System calls that the C library has no function for: x86-64 and arm64 number them differently.
NUMBERS: Final = {
    "x86_64": {"init_module": 175, "delete_module": 176, "kexec_load": 246, "bpf": 321},
    "aarch64": {"init_module": 105, "delete_module": 106, "kexec_load": 104, "bpf": 280},
}


def write(path: str | Path) -> None:
    """Make a file and remove it again."""
    Path(path).write_text("x")
    Path(path).unlink()


def execute_from(folder: str | Path) -> None:
    """Execute a copy of /bin/true from `folder`."""
    program = Path(folder) / "program"
    shutil.copyfile("/bin/true", program)
    program.chmod(0o700)
    try:
        subprocess.run([program], check=True)
    finally:
        program.unlink()


def map_from(folder: Path) -> None:
    """Map a file of `folder` as code, which is how a library would come in."""
    path = folder / "library"
    path.write_bytes(b"\0" * mmap.PAGESIZE)
    try:
        with path.open("rb") as file:
            mmap.mmap(file.fileno(), mmap.PAGESIZE, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)
    finally:
        path.unlink()


def call(name: str, *arguments: object) -> None:
    """Call a function of the C library, or a system call by its number."""
    number = NUMBERS[platform.machine()].get(name)
    done = LIBC.syscall(number, *arguments) if number is not None else getattr(LIBC, name)(*arguments)
    if done == -1:
        raise OSError(ctypes.get_errno(), name)


def set_user_id() -> None:
    """Make a file set-user-id."""
    path = STATE / "suid"
    path.write_text("")
    try:
        path.chmod(0o4755)
    finally:
        path.unlink()


def opened(family: int, kind: int = socket.SOCK_RAW, protocol: int = 0) -> None:
    """Open a socket."""
    socket.socket(family, kind, protocol).close()


def multicast() -> None:
    """Join mDNS's group and bind its port, as zeroconf does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as joined:
        joined.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        joined.bind(("", 5353))
        group = socket.inet_aton("224.0.0.251") + socket.inet_aton("127.0.0.1")
        joined.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)


def netlink() -> None:
    """Hear of changes of links and addresses, as discovery does (RTMGRP_LINK, RTMGRP_IPV4_IFADDR)."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as news:
        news.bind((0, 0x11))


def device_events() -> None:
    """Hear of devices that come and go (NETLINK_KOBJECT_UEVENT, the kernel's group)."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15) as news:
        news.bind((0, 1))


GIVEN: Final[dict[str, Callable[[], object]]] = {
    "write the state": lambda: write(STATE / "x"),
    "write the sockets' place": lambda: write("/run/margod/x"),
    "write a temporary file": lambda: write("/tmp/x"),
    "read the configuration": lambda: Path("/etc/margod/margod.yaml").read_text(),
    "read the memory": lambda: Path("/proc/meminfo").read_text().index("MemTotal"),
    "read the processor": lambda: Path("/proc/cpuinfo").read_text().index("processor"),
    "read the interfaces": lambda: Path("/sys/class/net/lo").joinpath("address").read_text(),
    "read the machine id": lambda: Path("/etc/machine-id").read_text(),
    "read the storage": lambda: os.statvfs(STATE).f_blocks,
    "resolve a name": lambda: socket.getaddrinfo("localhost", 443),
    "unix": lambda: opened(socket.AF_UNIX, socket.SOCK_STREAM),
    "inet": lambda: opened(socket.AF_INET, socket.SOCK_STREAM),
    "inet6": lambda: opened(socket.AF_INET6, socket.SOCK_STREAM),
    "netlink": netlink,
    "device events": device_events,
    "read the listeners": lambda: Path("/proc/net/tcp").read_text().index("local_address"),
    "multicast": multicast,
}

DENIED: Final[dict[str, Callable[[], object]]] = {
    "write the configuration": lambda: write("/etc/margod/x"),
    "write where everybody may": lambda: write("/srv/open/x"),
    "write /usr": lambda: write("/usr/x"),
    "write its own program": lambda: write("/opt/margod/x"),
    "write /var": lambda: write("/var/lib/x"),
    "write shared memory": lambda: write("/dev/shm/x"),
    "write a kernel setting": lambda: Path("/proc/sys/kernel/hostname").write_text("x"),
    "write a control group": lambda: write("/sys/fs/cgroup/x"),
    "execute from the state": lambda: execute_from(STATE),
    "execute from the sockets' place": lambda: execute_from("/run/margod"),
    "execute a temporary file": lambda: execute_from("/tmp"),
    "map code from the state": lambda: map_from(STATE),
    "map code that can be written": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC),
    "read a person's home": lambda: Path("/home/member/secret").read_text(),
    "read root's home": lambda: list(Path("/root").iterdir()),
    "see other processes": lambda: Path("/proc/1/status").read_text(),
    "open a device": lambda: Path("/dev/kmsg").read_bytes(),
    "load a module": lambda: call("init_module", b"", 0, b""),
    "remove a module": lambda: call("delete_module", b"loop", 0),
    "load a kernel": lambda: call("kexec_load", 0, 0, None, 0),
    "load a program into the kernel": lambda: call("bpf", 0, None, 0),
    "make a user namespace": lambda: call("unshare", 0x10000000),
    "make a network namespace": lambda: call("unshare", 0x40000000),
    "mount": lambda: call("mount", b"tmpfs", b"/tmp", b"tmpfs", 0, None),
    "trace": lambda: call("ptrace", 0, 0, None, None),
    "set the clock": lambda: call("settimeofday", (ctypes.c_long * 2)(1, 0), None),
    "set the host's name": lambda: call("sethostname", b"x", 1),
    "reboot": lambda: call("reboot", 0),
    "become another user": lambda: os.setuid(0),
    "become another kind of machine": lambda: call("personality", 0x0400000),
    "make a set-user-id file": set_user_id,
    "real-time scheduling": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
    "packet": lambda: opened(socket.AF_PACKET),
    "vsock": lambda: opened(socket.AF_VSOCK, socket.SOCK_STREAM),
    "alg": lambda: opened(socket.AF_ALG, socket.SOCK_SEQPACKET),
    "can": lambda: opened(socket.AF_CAN),
    "bluetooth": lambda: opened(31),
    "tipc": lambda: opened(30, socket.SOCK_DGRAM),
    "key": lambda: opened(15, protocol=2),
}


def outcome(attempt: Callable[[], object]) -> str:
    """Return how an attempt ended."""
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    except subprocess.CalledProcessError as error:
        return f"exit {error.returncode}"
    return "ok"


def main() -> None:
    """Try everything."""
    found = {name: outcome(attempt) for name, attempt in {**GIVEN, **DENIED}.items()}
    with contextlib.suppress(OSError):
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
