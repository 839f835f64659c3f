"""The unit's sandbox, from inside: what margod needs works, what it does not need is denied by the kernel."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.system import probe
from tests.system.box import Box
from tests.system.service import MARGOD, Service

pytestmark = pytest.mark.system

_REPLACED: Final = ("Type", "NotifyAccess", "ExecStart", "ExecReload", "Restart", "RestartSec", "WatchdogSec")
_PROBE: Final = "/opt/margod/bin/python -I /mnt/margod/tests/system/probe.py"

_FETCHING: Final = "/opt/margod/bin/python -I /mnt/margod/tests/system/fetching.py"

_REPORTED: Final = """
import sqlite3
print(sqlite3.connect("/srv/devwfm/registry.db").execute("SELECT manifest FROM devices").fetchone()[0])
"""

_USER, _PASSWORD, _WRONG = "gateway-17", "kX9-tulip-71QZ", "wR3-cedar-55LM"

_TINYPROXY: Final = """\
Port 3128
Listen 10.78.0.2
Timeout 60
MaxClients 20
ConnectPort 8443
PidFile "/tmp/tinyproxy.pid"
"""


@pytest.fixture
def service(installed_box: Box) -> Iterator[Service]:
    """Give margod.service of a fresh device, and take a plant's network away again."""
    fresh = Service(installed_box)
    fresh.reset()
    yield fresh
    fresh.box.shell(
        "systemctl stop devwfm.service plant-proxy.service 2>/dev/null || true\n"
        "ip netns del plant 2>/dev/null || true; ip link del plant0 2>/dev/null || true\n"
        "sed '/wfm.test/d' /etc/hosts >/tmp/hosts; cat /tmp/hosts >/etc/hosts"
    )
    assert "Traceback" not in fresh.journal()


def within_the_sandbox(service: Service, command: str) -> dict[str, Any]:
    """Run `command` in margod.service's own sandbox, as its user, and return what it prints as JSON."""
    text = service.box.run("cat", "/usr/lib/systemd/system/margod.service").stdout
    for key in _REPLACED:
        text = re.sub(rf"(?m)^{key}=.*\n", "", text)
    text = text.replace("[Service]\n", f"[Service]\nType=oneshot\nExecStart={command}\n")
    service.box.write("/run/systemd/system/probe.service", text)
    service.box.run("systemctl", "daemon-reload")
    service.box.run("systemctl", "start", "probe.service", timeout=200)
    service.box.run("journalctl", "--sync", "-q")
    said = service.box.run("journalctl", "_SYSTEMD_UNIT=probe.service", "--output=cat", "--no-pager").stdout
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


def test_what_is_needed_is_given_and_the_rest_denied(service: Service) -> None:
    """As the daemon's user, behind the unit's directives: each attempt ends as it must, and none is missing."""
    service.box.shell(
        "install -d -m 1777 /srv/open; install -D -m 0644 /etc/hostname /home/member/secret; chmod 755 /home/member"
    )
    found = within_the_sandbox(service, _PROBE)
    assert {name: found[name] for name in probe.GIVEN if found[name] != "ok"} == {}
    refusals = {"EPERM", "EACCES", "EROFS", "ENOENT", "EAFNOSUPPORT"}
    assert {name: found[name] for name in probe.DENIED if found[name] not in refusals} == {}
    # Whatever this kernel knows of: the filter's answer, not the kernel's, which would want a capability (EPERM).
    assert found["packet"] == "EAFNOSUPPORT"
    assert found["write where everybody may"] == "EROFS"
    assert found["execute from the state"] == "EACCES"


def test_the_probe_can_do_without_the_sandbox_what_is_denied_in_it(service: Service) -> None:
    """The denials are the sandbox's: as the same user outside of it most of them end well."""
    service.box.shell(
        "install -d -m 1777 /srv/open; install -D -m 0644 /etc/hostname /home/member/secret; chmod 755 /home/member\n"
        "install -d -o margod -g margod -m 0700 /var/lib/margod; install -d -o margod -g margod /run/margod"
    )
    try:
        said = service.as_user("margod", *_PROBE.split()).stdout
    finally:
        service.box.shell("rm -rf /run/margod")
    found = json.loads(said)
    for name in (
        "write where everybody may", "write shared memory", "execute from the state", "map code from the state",
        "map code that can be written", "read a person's home", "see other processes", "make a set-user-id file",
        "trace",
    ):  # fmt: skip
        assert found[name] == "ok", name


def test_the_device_looks_the_same_from_inside(service: Service) -> None:
    """What would be reported is found inside the sandbox as outside it; only what root alone may read is another."""
    box, seen = service.box, "/opt/margod/bin/python -I /mnt/margod/tests/system/seen.py"
    box.shell(
        "install -d -o margod -g margod -m 0700 /var/lib/margod\n"
        "install -D /dev/null /run/docker.sock; install -D /dev/null /usr/local/bin/helm\n"
        "systemd-run --quiet --unit=collector.service "
        "/usr/bin/python3 -c 'import socket, time; s = socket.create_server((\"127.0.0.1\", 4317)); time.sleep(600)'"
    )
    try:
        service.await_show("ActiveState", "active", unit="collector.service")
        box.shell("for i in $(seq 600); do grep -q :10DD /proc/net/tcp && exit 0; sleep 0.1; done; exit 1")
        inside = within_the_sandbox(service, seen)
        outside = json.loads(service.as_user("margod", *seen.split()).stdout)
        as_root = json.loads(box.run(*seen.split()).stdout)
    finally:
        box.shell("systemctl stop collector.service; rm -f /run/docker.sock /usr/local/bin/helm")
    assert inside == outside
    values = {name: [v for v in found["values"] if v["name"] != "serial_number"] for name, found in
              (("inside", inside), ("root", as_root))}  # fmt: skip
    assert values["inside"] == values["root"]
    found = {(value["name"], str(value["value"])) for value in values["inside"]}
    assert {
        ("runtimes", "oci"), ("deployment_types", "compose"), ("deployment_types", "helm"), ("otel_collector", "true"),
    } <= found  # fmt: skip


def plant(service: Service) -> None:
    """Make a network with one host in it, 10.78.0.2, to which the device's interface is still down."""
    service.box.shell(
        "ip netns add plant; ip link add plant0 type veth peer name eth0 netns plant\n"
        "ip -n plant link set lo up; ip -n plant addr add 10.78.0.2/24 dev eth0; ip -n plant link set eth0 up\n"
        "ip addr add 10.78.0.1/24 dev plant0"
    )


def serve_in_the_plant(service: Service, *options: str) -> None:
    """Start a development WFM on the plant's host, and give the device its CA."""
    inside = ("systemd-run", "--quiet", "--property=NetworkNamespacePath=/run/netns/plant")
    command = (MARGOD, "devwfm", "--directory", "/srv/devwfm", "--listen", "0.0.0.0:8443", "--host", "wfm.test")
    service.box.run(*inside, "--unit=devwfm.service", *command, "--approval", "auto", *options)
    service.await_file("/srv/devwfm/ready.json")
    service.box.shell("install -m 0640 -g margod /srv/devwfm/ca.pem /etc/margod/ca.pem")


def test_discovery_and_netlink_work_inside(service: Service) -> None:
    """A network that appears while margod runs is noticed, the WFM announced on it found, and the device onboarded."""
    plant(service)
    serve_in_the_plant(service, "--announce", "Plant WFM")
    service.configure("trust: {ca_file: /etc/margod/ca.pem}\ndiscovery: {server_names: [wfm.test]}\n")
    service.start()
    service.await_status(lambda status: status["state"] == "discovering")
    pid = service.show("MainPID")
    service.await_netlink(pid)
    service.box.run("ip", "link", "set", "plant0", "up")
    status = service.await_status(lambda status: status["state"] == "enrolled")
    assert status["discovery"]["instance"] == "Plant WFM"
    # What it reported was read through the sandbox.
    reported = service.box.run("/usr/bin/python3", "-Ic", _REPORTED).stdout
    assert '"memory"' in reported


def test_a_proxy_works_from_inside_and_no_secret_comes_out(service: Service) -> None:
    """The device reaches its WFM through a proxy that wants a password; nothing that is secret is shown anywhere."""
    plant(service)
    serve_in_the_plant(service)
    box = service.box
    box.run("ip", "link", "set", "plant0", "up")
    box.shell("echo '10.78.0.2 wfm.test' >>/etc/hosts")
    box.write("/etc/plant-proxy.conf", _TINYPROXY + f"BasicAuth {_USER} {_PASSWORD}\n")
    inside = ("systemd-run", "--quiet", "--property=NetworkNamespacePath=/run/netns/plant")
    box.run(*inside, "--unit=plant-proxy.service", "tinyproxy", "-d", "-c", "/etc/plant-proxy.conf")
    box.shell(f"printf '%s' '{_USER}:{_WRONG}' | install -o margod -m 0600 /dev/stdin /etc/margod/proxy")
    service.configure(
        "log: {level: debug}\ntrust: {ca_file: /etc/margod/ca.pem}\n"
        "wfm: {url: 'https://wfm.test:8443', proxy: 'http://10.78.0.2:3128',"
        " proxy_credentials_file: /etc/margod/proxy}\n"
    )
    service.start()
    # tinyproxy says 401 to a wrong password, 407 to none.
    service.await_status(lambda status: (status["last_error"] or {}).get("code") == "proxy-refused")
    box.shell(f"printf '%s' '{_USER}:{_PASSWORD}' >/etc/margod/proxy")
    box.run(MARGOD, "retry")
    status = service.await_status(lambda status: status["state"] == "enrolled")
    assert "10.78.0.2:3128" in json.dumps(status)
    assert "CONNECT wfm.test:8443" in box.run("journalctl", "--unit=plant-proxy", "--output=cat").stdout
    keys = box.shell("grep -rhA20 'PRIVATE KEY' /var/lib/margod").stdout
    secret = [line for line in keys.splitlines() if len(line) > 15 and "-----" not in line]
    assert secret
    for password in (_PASSWORD, _WRONG):
        secret += [password, b64encode(f"{_USER}:{password}".encode()).decode()]
    pid = service.show("MainPID")
    shown = {
        "journal": box.shell("journalctl --sync -q; journalctl --no-pager -o export -u margod").stdout,
        "status": json.dumps(service.status()) + box.run(MARGOD, "status").stdout,
        "check": box.run(MARGOD, "check", check=False).stdout + box.run(MARGOD, "check", "--json", check=False).stdout,
        "systemd": box.run("systemctl", "status", "--full", "margod.service").stdout,
        "process": box.shell(f"tr '\\0' '\\n' </proc/{pid}/environ; tr '\\0' ' ' </proc/{pid}/cmdline").stdout,
        "files": box.shell("grep -rh '' /run/margod /var/lib/margod/runtime.json 2>/dev/null || true").stdout,
    }
    assert "proxy-refused" in shown["journal"]
    assert [(place, word) for place, text in shown.items() for word in secret if word in text] == []


def test_git_is_fetched_inside(service: Service) -> None:
    """The child process of a fetch starts, sets its own limits and brings the files, behind all of the unit's walls."""
    authority = service.start_wfm("auto", "--protocol", "token")
    service.deploy("pump", "kind: ApplicationDeployment\n")
    service.point_at(authority, trusted=True, more="  protocol: token\nschedule: {polling: {rate: 1s}}\n")
    service.start()
    service.await_status(lambda status: status["desired_state"]["deployments"] == 1)
    service.stop()
    # The daemon has done it. How its child was bound is seen beside another one of the same kind.
    found = within_the_sandbox(service, _FETCHING)
    assert found["files"] == {"pump.yaml": "kind: ApplicationDeployment\n"}, found["said"]
    child = found["child"]
    assert child["limits"] == {
        "Max core file size": ["1", "1"],
        "Max file size": ["0", "0"],
        "Max open files": ["32", "32"],
        "Max data size": [str(144 << 20)] * 2,
        "Max cpu time": ["120", "120"],
        "Max processes": ["0", "0"],
    }
    assert (child["seccomp"], child["no_new_privileges"], int(child["capabilities"], 16)) == ("2", "1", 0)
    assert "/probe.service" in child["cgroup"], "MemoryMax and TasksMax of the unit hold for it too"
    assert child["oom_score_adj"] == "1000"
    assert not child["arguments"], "the token is in its arguments or environment"
    assert found["left"] == []
    assert found["uid"] != 0
    # Somebody who takes it over gets no secret of the vault and no memory of the daemon, and starts nothing.
    assert found["taken_over"] == {
        "kernel": True,
        **dict.fromkeys(("read", "empty", "remove", "signal"), "PermissionError"),
        "memory": "FileNotFoundError",  # whom it may not trace it does not even see (ProtectProc=)
        "start": "BlockingIOError",
    }


def test_a_greedy_fetch_ends_by_its_own_limit(service: Service) -> None:
    """Beside a daemon of the largest size the child meets its own bound, which explains itself, before the unit's."""
    found = within_the_sandbox(service, "/opt/margod/bin/python -I /mnt/margod/tests/system/greedy.py")
    assert (found["code"], found["said"]) == (0, "")
    assert 100 < found["taken"] < 144
