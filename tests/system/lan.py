"""A LAN of network namespaces on one bridge, and an avahi-daemon in one of them.

    with Lan("gw", "wfm") as lan:
        with lan.avahi("wfm", "Plant WFM", port=8443, txt=["path=/margo"]):
            await lan.run("gw", "margod", "discover")

Needs root, iproute2, and for `avahi` avahi-daemon and dbus. Names have the process id in them; nothing is left.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from xml.sax.saxutils import escape

_AVAHI: Final = r"""
set -eu
mount --make-rprivate /; mount -t tmpfs tmpfs /run
mkdir -p /run/dbus /run/avahi-daemon; chown avahi:avahi /run/avahi-daemon
mount --bind "$1" /etc/avahi
dbus-daemon --system --nofork --nopidfile & D=$!
for _ in $(seq 300); do [ -S /run/dbus/system_bus_socket ] && break; sleep .1; done
avahi-daemon --no-drop-root --no-rlimits & A=$!
trap 'kill $A; sleep .3; kill $D' TERM
wait $A || true; wait $D || true
"""
_CONF: Final = """[server]
host-name={host}
use-ipv4=yes
use-ipv6=yes
ratelimit-interval-usec=1000000
ratelimit-burst=1000
[publish]
publish-hinfo=no
publish-workstation=no
"""
_SERVICE: Final = """<?xml version="1.0" standalone="no"?><!DOCTYPE service-group SYSTEM "avahi-service.dtd">
<service-group><name>{name}</name><service><type>_margo-wfm._tcp</type><port>{port}</port>{txt}</service>
</service-group>"""


def missing(*programs: str) -> str:
    """Return why no LAN can be made here, "" if it can."""
    if os.geteuid() != 0:
        return "a LAN of network namespaces needs root"
    if absent := [program for program in ("ip", *programs) if shutil.which(program) is None]:
        return f"not installed: {', '.join(absent)}"
    name = f"mt{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        return "this container may not make network namespaces"
    _ip("netns", "del", name)
    return ""


class Lan:
    """Hosts 10.77.0.1, .2, ... by the order of their names."""

    def __init__(self, *hosts: str, up: bool = True, ipv4: bool = True) -> None:
        """Nothing is made before it is entered. `up`: whether the hosts' interfaces come up with it. Without `ipv4`
        they have no address but the link-local one of IPv6, which the kernel gives them.
        """
        self._hosts = hosts
        self._ipv4 = ipv4
        self._up = up
        self._prefix = f"m{os.getpid()}"
        self._made: list[str] = []

    def __enter__(self) -> Self:
        """Make namespaces, bridge and wires."""
        lan = self._namespace("lan")
        for name in (*self._hosts, "lan"):
            _ip("netns", "add", self._namespace(name))
            self._made.append(self._namespace(name))
            _ip("-n", self._namespace(name), "link", "set", "lo", "up")
        _ip("-n", lan, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        _ip("-n", lan, "link", "set", "br0", "up")
        for number, name in enumerate(self._hosts, 1):
            here = self._namespace(name)
            _ip("link", "add", "eth0", "netns", here, "type", "veth", "peer", "name", f"to{number}", "netns", lan)
            _ip("-n", lan, "link", "set", f"to{number}", "master", "br0", "up")
            if self._up:
                self.connect(name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take it all down."""
        for name in self._made:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def address(self, host: str) -> str:
        """Return the host's address."""
        return f"10.77.0.{self._hosts.index(host) + 1}"

    def connect(self, host: str, address: str | None = None) -> None:
        """Bring the host's interface up with its address, or take over another one."""
        here = self._namespace(host)
        _ip("-n", here, "addr", "flush", "dev", "eth0", "scope", "global")
        if self._ipv4:
            _ip("-n", here, "addr", "add", f"{address or self.address(host)}/24", "dev", "eth0")
        _ip("-n", here, "link", "set", "eth0", "up")

    def settle(self, host: str) -> None:
        """Wait until the host may use its IPv6 addresses: nobody else has them (RFC 4862, 5.4), which takes seconds."""
        deadline = time.monotonic() + 60
        while _ip("-n", self._namespace(host), "-6", "addr", "show", "dev", "eth0", "tentative"):
            assert time.monotonic() < deadline, "still tentative"
            time.sleep(0.05)

    def at(self, host: str, *command: str) -> list[str]:
        """Return the command line that runs `command` on this host."""
        return ["ip", "netns", "exec", self._namespace(host), *command]

    @contextlib.contextmanager
    def avahi(self, host: str, name: str, *, port: int, folder: Path, txt: tuple[str, ...] = ()) -> Iterator[None]:
        """Publish one WFM from this host for as long as the block runs."""
        etc = folder / f"avahi-{host}"
        (etc / "services").mkdir(parents=True)
        (etc / "hosts").touch()
        (etc / "avahi-daemon.conf").write_text(_CONF.format(host=host))
        records = "".join(f"<txt-record>{escape(one)}</txt-record>" for one in txt)
        service = _SERVICE.format(name=escape(name), port=port, txt=records)
        (etc / "services" / "wfm.service").write_text(service)
        command = self.at(host, "unshare", "-m", "bash", "-c", _AVAHI, "avahi", str(etc))
        with (folder / f"avahi-{host}.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as run:
            try:
                self._published(folder / f"avahi-{host}.log")
                yield
            finally:
                run.terminate()
                run.wait(60)

    def _published(self, log: Path) -> None:
        deadline = time.monotonic() + 60
        while b"successfully established" not in log.read_bytes():
            assert time.monotonic() < deadline, log.read_text(errors="replace")
            time.sleep(0.05)

    def _namespace(self, host: str) -> str:
        return f"{self._prefix}{host}"


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=60, text=True).stdout
