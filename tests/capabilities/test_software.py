"""Runtimes, ways of deploying and a collector, by what lies where."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from margod.capabilities import software
from margod.capabilities.software import collector, deployment_types, runtimes

LISTENS = "   0: {address}:{port} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 1 1 x"


@pytest.mark.parametrize(
    ("files", "oci", "types"),
    [
        ([], (), {}),
        (["usr/bin/dockerd"], ("docker",), {"compose": ("docker",)}),
        (["run/docker.sock"], ("docker",), {"compose": ("docker",)}),
        (["usr/bin/docker"], (), {}),  # a client alone runs nothing
        (["usr/bin/podman"], ("podman",), {}),
        (["usr/bin/podman", "usr/bin/podman-compose"], ("podman",), {"compose": ("podman-compose",)}),
        (["run/containerd/containerd.sock"], ("containerd",), {}),
        (["usr/local/bin/k3s"], ("k3s",), {"helm": ("k3s",)}),
        (["usr/bin/kubelet", "usr/bin/helm"], ("kubernetes",), {"helm": ("kubernetes", "helm")}),
    ],
)
def test_what_is_installed(tmp_path: Path, files: list[str], oci: tuple[str, ...], types: dict[str, object]) -> None:
    """Each by its socket or its binary; nothing is executed."""
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("#!/bin/sh\ntouch executed\n")
        (tmp_path / name).chmod(0o755)
    assert dict(runtimes(tmp_path)) == ({"oci": oci} if oci else {})
    assert dict(deployment_types(tmp_path)) == types


def test_what_does_not_count(tmp_path: Path) -> None:
    """A link to nowhere and a directory of that name are no runtime."""
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/dockerd").symlink_to("gone")
    (tmp_path / "usr/bin/podman").mkdir()
    assert not runtimes(tmp_path)


@pytest.mark.parametrize(
    ("table", "address", "port", "state", "found"),
    [
        ("tcp", "00000000", "10DD", "0A", ("port 4317",)),
        ("tcp", "0100007F", "10DE", "0A", ("port 4318",)),
        ("tcp6", "0" * 32, "10DD", "0A", ("port 4317",)),
        ("tcp6", "0" * 24 + "01000000", "10DD", "0A", ("port 4317",)),
        ("tcp", "0100007F", "10DD", "01", ()),  # a connection, not a listener
        ("tcp", "0100007F", "1F90", "0A", ()),
        ("tcp", "0A00A8C0", "10DD", "0A", ()),  # on one address of the network alone
        ("tcp", "0100007F", "zzzz", "0A", ()),
    ],
)
def test_collector(tmp_path: Path, table: str, address: str, port: str, state: str, found: tuple[str, ...]) -> None:
    """What listens on OTLP's ports where a workload on this device reaches it."""
    file = tmp_path / "proc/net" / table
    file.parent.mkdir(parents=True)
    file.write_text("  sl  local_address\n" + LISTENS.format(address=address, port=port, state=state) + "\nrubbish\n")
    assert collector(tmp_path) == found


def test_a_real_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's own table says it as it is read; the port is one that the system chose."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        monkeypatch.setattr(software, "_OTLP_PORTS", frozenset({port}))
        assert collector() == (), "bound is not listening"
        listening.listen()
        assert collector() == (f"port {port}",)
    assert collector() == ()
