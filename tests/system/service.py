"""margod.service in a box, as its tests drive it: systemctl, journalctl, the status socket, a WFM beside it."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable
from typing import Any, Final

from tests.support.local_api import get, head_and_json
from tests.system.box import Box, Result, await_true

UNIT: Final = "margod.service"
MARGOD: Final = "/opt/margod/bin/margod"

_WAIT: Final = 60.0
"""Seconds after which something that should have happened has not."""

_WFM: Final = "/srv/devwfm"

_SILENT_SERVER: Final = """
import socket, time
listening = socket.create_server(("127.0.0.1", 8442))
kept = [listening.accept() for _ in range(100)]
"""


class Service:
    """The unit in `box`. Every wait is bounded; what does not come about raises BoxError with the journal."""

    def __init__(self, box: Box, margod: str = MARGOD) -> None:
        """Take the box and make the users that the tests speak as: one in the group margod, one outside."""
        self.box = box
        self.margod = margod
        box.shell(
            "getent group margod >/dev/null || exit 0\n"  # not installed yet
            "id -u member >/dev/null 2>&1 || { useradd --no-create-home --groups margod member; useradd -M stranger; }"
        )

    def reset(self) -> None:
        """Stop everything and make the device a fresh one."""
        self.box.shell(
            "systemctl stop margod-enrolled.target margod-wait-enrolled.service margod.service\n"
            "systemctl stop devwfm.service silent.service watch.service 2>/dev/null || true\n"
            "systemctl reset-failed\n"
            "rm -rf /var/lib/margod /etc/systemd/system/margod.service.d /srv/devwfm /etc/margod /tmp/second\n"
            "systemd-tmpfiles --create margod.conf\n"
            "install -m 0640 -g margod /mnt/margod/config/margod.yaml /etc/margod/margod.yaml\n"
            "systemctl daemon-reload; journalctl --rotate -q; journalctl --vacuum-time=1us -q"
        )

    def start(self, *, check: bool = True) -> Result:
        """Start the unit and wait for READY."""
        self._allow_volatile()
        return self.box.run("systemctl", "start", UNIT, check=check)

    def stop(self) -> None:
        """Stop the unit and wait for its end."""
        self.box.run("systemctl", "stop", UNIT)

    def show(self, key: str, *, unit: str = UNIT) -> str:
        """Return one property of the unit as systemd knows it."""
        return self.box.run("systemctl", "show", f"--property={key}", "--value", unit).stdout.strip()

    def await_show(self, key: str, value: str, *, unit: str = UNIT) -> None:
        """Wait until a property of a unit has this value."""
        self._await(lambda: self.show(key, unit=unit) == value, lambda: f"{unit}: {key}={self.show(key, unit=unit)}")

    def await_other(self, key: str, value: str) -> None:
        """Wait until a property of the unit has another value than this."""
        self._await(lambda: self.show(key) != value, lambda: f"{key} stays {value}")

    def await_text(self, begins: str) -> str:
        """Wait until systemd shows a STATUS that begins so, and return it: it learns of it beside the socket."""
        self._await(
            lambda: self.show("StatusText").startswith(begins), lambda: f"{self.show('StatusText')} is not {begins}"
        )
        return self.show("StatusText")

    def status(self) -> dict[str, Any]:
        """Return the status document, or {} while nobody gives it.

        Over the socket, as `margod status` does, which would start an interpreter each of the many times.
        """
        answer = b""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(30)
            asking.connect(str(self.box.root / "run/margod/status.sock"))
            asking.sendall(get("/v1/status"))
            while received := asking.recv(65_536):
                answer += received
        document: dict[str, Any] = head_and_json(answer)[2] if answer else {}
        return document

    def await_status(self, wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Wait until the status document is as wanted, and return it."""
        seen: dict[str, Any] = {}

        def look() -> object:
            nonlocal seen
            seen = self.status()
            return seen and wanted(seen)

        self._await(look, lambda: json.dumps(seen, indent=1))
        return seen

    def configure(self, text: str) -> None:
        """Write the operator's configuration, with the mode that the installation gives it."""
        self.box.write("/etc/margod/margod.yaml", text)
        self.box.shell("chgrp margod /etc/margod/margod.yaml; chmod 0640 /etc/margod/margod.yaml")
        self._allow_volatile()

    def _allow_volatile(self) -> None:
        """What is written in the box goes to an overlay over a tmpfs, which margod would rightly have none of."""
        self.box.shell(
            "test -d /etc/margod || exit 0\n"
            "install -d -m 0750 -g margod /etc/margod/conf.d\n"
            "echo 'state: {allow_volatile: true}' > /etc/margod/conf.d/box.yaml\n"
            "chgrp margod /etc/margod/conf.d/box.yaml; chmod 0640 /etc/margod/conf.d/box.yaml"
        )

    def point_at(self, authority: str, *, trusted: bool = False, more: str = "") -> None:
        """Configure a WFM at `authority` (host:port): the development one's CA if `trusted`, else some CA.

        `more` are lines of the configuration below the URL, for the section `wfm` first.
        """
        self.box.shell("install -d -m 0750 -g margod /etc/margod")
        if not trusted:
            self.box.shell(
                "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj '/CN=Some CA'"
                " -addext basicConstraints=critical,CA:TRUE -keyout /dev/null -out /etc/margod/ca.pem 2>/dev/null"
            )
        self.box.shell("chgrp margod /etc/margod/ca.pem; chmod 0640 /etc/margod/ca.pem")
        self.configure(f"wfm:\n  url: https://{authority}\n{more}trust:\n  ca_file: /etc/margod/ca.pem\n")

    def drop_in(self, assignments: str) -> None:
        """Lay settings of the section [Service] over the unit."""
        self.box.write("/etc/systemd/system/margod.service.d/test.conf", f"[Service]\n{assignments}\n")
        self.box.run("systemctl", "daemon-reload")

    def rights(self, path: str) -> str:
        """Return `mode owner:group kind` of a file."""
        return self.box.run("stat", "--format=%a %U:%G %F", path).stdout.strip()

    def as_user(self, user: str, *command: str) -> Result:
        """Execute a command as `user` with the groups that it has, with margod on its PATH."""
        setpriv = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--"]
        return self.box.run(*setpriv, "env", "PATH=/opt/margod/bin:/usr/bin:/bin", *command, check=False)

    def journal(self) -> str:
        """Return what the journal has of the unit, systemd's own words included."""
        self.box.run("journalctl", "--sync", "-q")
        return self.box.run("journalctl", f"--unit={UNIT}", "--no-pager", "--output=cat").stdout

    def entries(self) -> list[dict[str, Any]]:
        """Return the daemon's own journal entries with their fields."""
        self.box.run("journalctl", "--sync", "-q")
        fields = ("journalctl", f"_SYSTEMD_UNIT={UNIT}", "_TRANSPORT=journal", "--no-pager", "--output=json", "--all")
        return [json.loads(line) for line in self.box.run(*fields).stdout.splitlines()]

    def listen_and_say_nothing(self) -> None:
        """Start a server on 127.0.0.1:8442 that takes connections and never answers."""
        self.box.run("systemd-run", "--quiet", "--unit=silent.service", "/usr/bin/python3", "-Ic", _SILENT_SERVER)

    def watch(self) -> None:
        """Leave a `margod status --watch` running that has seen the first status."""
        self.box.run("systemd-run", "--quiet", "--unit=watch.service", self.margod, "status", "--watch")
        self._await(
            lambda: " onboarding " in self.box.run("journalctl", "--unit=watch", "--output=cat", "-q").stdout,
            lambda: "the watcher saw nothing",
        )

    def await_netlink(self, pid: str) -> None:
        """Wait until the process listens to what the kernel says of links."""
        listening = "awk '$2 == 0 {print $3}' /proc/net/netlink"
        self._await(lambda: pid in self.box.shell(listening).stdout.split(), lambda: f"{pid} has no netlink socket")

    def await_connection(self, port: int) -> None:
        """Wait until somebody is connected to `port` on the box's loopback."""
        remote = f"0100007F:{port:04X} 01"
        self._await(
            lambda: f"{remote}" in self.box.run("cat", "/proc/net/tcp").stdout, lambda: f"no connection to {port}"
        )

    def start_wfm(self, approval: str, *options: str) -> str:
        """Start a development WFM beside the daemon, put its CA into place, and return its authority."""
        command = ("devwfm", "--directory", _WFM, "--listen", "127.0.0.1:8443", "--approval", approval, *options)
        self.box.run("systemd-run", "--quiet", "--unit=devwfm.service", self.margod, *command)
        self.await_file(f"{_WFM}/ready.json")
        self.box.shell(f"install -m 0640 -g margod {_WFM}/ca.pem /etc/margod/ca.pem")
        return "127.0.0.1:8443"

    def await_file(self, path: str) -> None:
        """Wait until a file is there that the development WFM makes."""
        self._await(
            lambda: self.box.run("test", "-e", path, check=False).returncode == 0,
            lambda: self.box.run("journalctl", "--unit=devwfm.service", "--no-pager").stdout,
        )

    def await_request(self, route: str) -> None:
        """Wait until the development WFM has met a request of this route."""

        def met() -> object:
            stats = json.loads(self.box.run(self.margod, "devwfm", "stats", "--directory", _WFM).stdout)
            return stats["requests"].get(route)

        self._await(met, lambda: f"no request of the route {route}")

    def approve(self) -> None:
        """Approve the only device that waits at the development WFM."""
        self.decide("approve")

    def decide(self, what: str) -> None:
        """Have the development WFM approve, reject or forget the only device that it knows."""
        self.box.run(self.margod, "devwfm", what, "--directory", _WFM, "1")

    def deploy(self, deployment_id: str, text: str) -> None:
        """Have the development WFM want a deployment on every device."""
        self.box.run(self.margod, "devwfm", "deploy", "--directory", _WFM, "--id", deployment_id, "-", text=text)

    def _await(self, what: Callable[[], object], message: Callable[[], str]) -> None:
        await_true(what, _WAIT, lambda: f"{message()}\n{self.journal()}")
