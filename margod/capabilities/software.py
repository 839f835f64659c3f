"""What is installed here that workloads need: container runtimes, ways of deploying, a collector of telemetry.

Looked for by the names of binaries and sockets; nothing is executed and nothing is connected to.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

_BINARIES: Final = ("usr/bin", "usr/local/bin", "usr/sbin", "usr/local/sbin", "bin", "snap/bin", "opt/bin")
_PLUGINS: Final = ("usr/libexec/docker/cli-plugins", "usr/lib/docker/cli-plugins", "usr/local/lib/docker/cli-plugins")

_OCI: Final = {
    "docker": ("run/docker.sock", "dockerd"),
    "podman": ("run/podman/podman.sock", "podman"),
    "containerd": ("run/containerd/containerd.sock", "containerd"),
    "cri-o": ("run/crio/crio.sock", "crio"),
}
"""What runs OCI containers: its socket, its binary."""
_KUBERNETES: Final = {
    "k3s": ("run/k3s/containerd/containerd.sock", "k3s"),
    "k0s": ("run/k0s/containerd.sock", "k0s"),
    "microk8s": ("var/snap/microk8s/common/run/containerd.sock", "microk8s"),
    "kubernetes": ("var/lib/kubelet/config.yaml", "kubelet"),
}
_COMPOSE: Final = ("docker-compose", "podman-compose")

_OTLP_PORTS: Final = frozenset({4317, 4318})
"""OTLP over gRPC and over HTTP (IANA)."""
_LISTENING: Final = "0A"
"""TCP_LISTEN (include/net/tcp_states.h)."""
_LOCAL: Final = frozenset({"00000000", "0100007F", "0" * 32, "0" * 24 + "01000000", "0000000000000000FFFF00000100007F"})
"""Any address, 127.0.0.1, ::, ::1 and ::ffff:127.0.0.1 as a little-endian kernel writes them."""
_LOCAL_BIG: Final = frozenset({"7F000001", "0" * 31 + "1", "00000000000000000000FFFF7F000001"})
_TABLE_LIMIT: Final = 262_144
"""Bytes of /proc/net/tcp that are read; what listens comes first in it."""


def runtimes(root: Path = Path("/")) -> Mapping[str, tuple[str, ...]]:
    """Return each runtime of the specification's that is here, with what stands for it."""
    found = tuple(_found(root, {**_OCI, **_KUBERNETES}))
    return {"oci": found} if found else {}


def deployment_types(root: Path = Path("/")) -> Mapping[str, tuple[str, ...]]:
    """Return each way of deploying that this device offers, with what stands for it.

    Compose wherever docker is, whose API every implementation of it speaks; with podman where one is installed.
    """
    helm = [*_found(root, _KUBERNETES), *(["helm"] if _binary(root, "helm") else [])]
    compose = list(_found(root, {"docker": _OCI["docker"]}))
    compose += [name for name in _COMPOSE if _binary(root, name)]
    compose += ["docker compose" for name in _PLUGINS if _exists(f"{root}/{name}/docker-compose")][:1]
    return {name: tuple(by) for name, by in (("helm", helm), ("compose", compose)) if by}


def collector(root: Path = Path("/")) -> tuple[str, ...]:
    """Return where something on this device takes OpenTelemetry in: `port 4317`, `port 4318`; empty if nothing does."""
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in _read(root / "proc/net" / table).splitlines()[1:]:
            words = line.split()
            if len(words) < 4 or words[3] != _LISTENING:
                continue
            address, _, port = words[1].partition(":")
            try:
                number = int(port, 16)
            except ValueError:
                continue
            if number in _OTLP_PORTS and (address in _LOCAL or address in _LOCAL_BIG):
                ports.add(number)
    return tuple(f"port {port}" for port in sorted(ports))


def _found(root: Path, of: Mapping[str, tuple[str, str]]) -> Iterable[str]:
    for name, (mark, binary) in of.items():
        if _exists(f"{root}/{mark}") or _binary(root, binary):
            yield name


def _binary(root: Path, name: str) -> bool:
    return any(_exists(f"{root}/{directory}/{name}") for directory in _BINARIES)


def _exists(path: str) -> bool:
    """Return whether there is a file or socket; a link to nowhere and what may not be looked at count as none.

    Texts, not paths: a look asks for over a hundred, and making paths of them was most of what it computed.
    """
    try:
        return not stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116 - see above
    except (OSError, ValueError):
        return False


def _read(path: Path) -> str:
    """Return the beginning of a table of the kernel's; "" where there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return ""
    data = b""
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            while len(data) < _TABLE_LIMIT and (part := os.read(fd, 65_536)):  # /proc gives a page at a time
                data += part
    except OSError:
        pass
    finally:
        os.close(fd)
    return data.decode("ascii", "replace")
