"""margod.service on a real systemd: what systemctl, journalctl and the sockets show of a running daemon."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.patience import waited
from tests.system.box import Box
from tests.system.service import MARGOD, Service

pytestmark = pytest.mark.system


@pytest.fixture
def service(installed_box: Box) -> Iterator[Service]:
    """Give margod.service of a fresh device: not started, nothing stored, no configuration of the operator's."""
    fresh = Service(installed_box)
    fresh.reset()
    yield fresh
    said = fresh.journal()
    assert "Traceback" not in said
    assert '\n  File "' not in said


def test_it_starts_and_says_so_in_words(service: Service) -> None:
    """READY makes the unit active, STATUS says the state, and nobody has to have configured anything."""
    service.start()
    assert service.show("ActiveState") == "active"
    assert service.show("SubState") == "running"
    service.await_status(lambda status: status["state"] == "discovering")
    service.await_text("discovering")
    assert json.loads(service.box.run(MARGOD, "status", "--json", check=False).stdout)["state"] == "discovering"
    assert service.show("NRestarts") == "0"


def test_sockets_and_directories_have_their_rights(service: Service) -> None:
    """Rights are files: the state is the daemon's alone, status is the group's, administration is the owner's."""
    service.start()
    assert service.rights("/var/lib/margod") == "700 margod:margod directory"
    assert service.rights("/run/margod") == "755 margod:margod directory"
    assert service.rights("/run/margod/status.sock") == "660 margod:margod socket"
    assert service.rights("/run/margod/agent") == "750 margod:margod-agent directory"
    assert service.rights("/run/margod/agent/agent.sock") == "660 margod:margod-agent socket"
    assert service.rights("/run/margod/admin") == "700 margod:margod directory"
    assert service.rights("/run/margod/admin/admin.sock") == "600 margod:margod socket"
    assert service.rights("/etc/margod") == "750 root:margod directory"
    assert service.rights("/etc/margod/margod.yaml") == "640 root:margod regular file"
    loose = service.box.shell("find /var/lib/margod -perm /077").stdout
    assert loose == ""


def test_the_group_reads_and_others_are_refused(service: Service) -> None:
    """A member of the group margod sees the status and administers nothing; another user sees nothing, in words."""
    service.start()
    member = service.as_user("member", "margod", "status", "--json")
    assert json.loads(member.stdout)["state"] == "discovering"
    for user, command in (("stranger", "status"), ("member", "retry"), ("member", "reload")):
        refused = service.as_user(user, "margod", command)
        assert refused.returncode == 1
        assert "Traceback" not in refused.stderr
        assert "group margod" in refused.stderr or "root" in refused.stderr
    assert service.box.run("/opt/margod/bin/margod", "reload", check=False).returncode == 0


def test_a_good_configuration_is_taken_over_by_a_reload(service: Service) -> None:
    """`systemctl reload` is SIGHUP: the same process, the new URL, active again."""
    service.start()
    before = service.show("MainPID")
    service.configure("wfm:\n  url: https://127.0.0.1:9\n")
    service.box.run("systemctl", "reload", "margod.service")
    service.await_status(lambda status: status["wfm"]["url"] == "https://127.0.0.1:9")
    service.await_show("ActiveState", "active")
    assert service.show("MainPID") == before


def test_a_bad_configuration_is_refused_by_a_reload(service: Service) -> None:
    """The daemon stays on what it has, says so in status and journal, and is not restarted."""
    service.configure("wfm:\n  url: https://127.0.0.1:9\n")
    service.start()
    before = service.show("MainPID")
    service.configure("wfm:\n  url: https://127.0.0.1:10\n  ulr: twice\n")
    service.box.run("systemctl", "reload", "margod.service")
    status = service.await_status(lambda status: status["warnings"])
    assert status["wfm"]["url"] == "https://127.0.0.1:9"
    service.await_show("ActiveState", "active")
    assert service.show("MainPID") == before
    assert "margod.yaml" in service.journal()


def test_a_bad_configuration_at_boot_keeps_the_last_good_one(service: Service) -> None:
    """A typing error in the plant does not take a device down that has worked before."""
    service.configure("wfm:\n  url: https://127.0.0.1:9\n")
    service.start()
    service.await_file("/var/lib/margod/config.last-good")  # the first look keeps the configuration
    service.stop()
    service.configure("wfm: [\n")
    service.start()
    status = service.await_status(lambda status: status["wfm"]["url"])
    assert status["wfm"]["url"] == "https://127.0.0.1:9"
    assert status["warnings"]


def test_a_bad_configuration_without_a_last_good_one_is_the_end(service: Service) -> None:
    """Exit 78, said in the journal with file and line, and systemd does not try again."""
    service.configure("wfm:\n  ulr: https://127.0.0.1:9\n")
    assert service.start(check=False).returncode != 0
    service.await_show("ActiveState", "failed")
    assert service.show("ExecMainStatus") == "78"
    assert service.show("NRestarts") == "0"
    assert "/etc/margod/margod.yaml:2" in service.journal()


@pytest.mark.parametrize("state", ["idle", "retrying", "hanging"])
def test_it_stops_within_two_seconds(service: Service, state: str) -> None:
    """Also while it waits for its next attempt, and amid a request that is never answered, with somebody watching."""
    if state == "retrying":
        service.point_at("127.0.0.1:9")
    if state == "hanging":
        service.listen_and_say_nothing()
        service.point_at("127.0.0.1:8442")
    service.start()
    if state == "retrying":
        service.await_status(lambda status: status["reason"] == "connect-refused")
    if state == "hanging":
        service.await_connection(8442)
        service.watch()
    with waited() as seconds:
        service.stop()
    assert seconds() < 2
    assert service.show("Result") == "success"
    assert service.show("ExecMainStatus") == "0"
    assert service.box.run("test", "-e", "/run/margod/status.sock", check=False).returncode == 1


def test_the_agents_directory_stays_the_same(service: Service) -> None:
    """A container that was given /run/margod/agent finds the new socket in it after a stop and a start."""
    service.start()
    seen = [service.box.run("stat", "-c", "%i", "/run/margod/agent").stdout]
    service.stop()
    service.start()
    seen.append(service.box.run("stat", "-c", "%i", "/run/margod/agent").stdout)
    assert seen[0] == seen[1] != ""
    assert service.rights("/run/margod/agent/agent.sock") == "660 margod:margod-agent socket"


def test_a_killed_daemon_comes_back(service: Service) -> None:
    """SIGKILL leaves stale sockets and a lock behind: the next process serves status all the same."""
    service.drop_in("RestartSec=100ms")
    service.start()
    before = service.show("MainPID")
    service.box.run("systemctl", "kill", "--signal=KILL", "--kill-who=main", "margod.service")
    service.await_show("NRestarts", "1")
    service.await_show("ActiveState", "active")
    assert service.show("MainPID") != before
    service.await_status(lambda status: status["state"] == "discovering")


def test_a_frozen_daemon_is_restarted_by_the_watchdog(service: Service) -> None:
    """A process that makes no progress is killed and started anew; one that does is left alone."""
    service.drop_in("WatchdogSec=8s\nRestartSec=100ms\nWatchdogSignal=SIGKILL")  # a machine may stand still for less
    service.start()
    for _ in range(2):
        service.await_other("WatchdogTimestampMonotonic", service.show("WatchdogTimestampMonotonic"))
    assert service.show("NRestarts") == "0"
    service.box.run("systemctl", "kill", "--signal=STOP", "--kill-who=main", "margod.service")
    service.await_show("NRestarts", "1")
    service.await_show("ActiveState", "active")
    assert "Watchdog timeout" in service.journal()


def test_a_second_daemon_ends_with_75(service: Service) -> None:
    """The state directory has one daemon; the second says so, and the first is not disturbed."""
    service.start()
    second = service.as_user(
        "margod",
        "env", "STATE_DIRECTORY=/var/lib/margod", "RUNTIME_DIRECTORY=/tmp/second", "margod", "run",
    )  # fmt: skip
    assert second.returncode == 75
    assert "Traceback" not in second.stderr
    assert "/var/lib/margod" in second.stderr
    service.await_status(lambda status: status["state"] == "discovering")


def test_systemctl_says_the_state(service: Service) -> None:
    """STATUS follows through the states that a device passes, in margod's words; each is reached by a reload."""

    def seen(state: str, code: str = "") -> None:
        service.await_status(lambda status: status["state"] == state and code in (status["reason"], ""))
        service.await_text(f"{state} ({code}): " if code else f"{state}, ")

    def reload() -> None:
        service.box.run("systemctl", "reload", "margod.service")
        service.await_show("ActiveState", "active")

    service.start()
    seen("discovering", "no-wfm-found")
    service.configure("wfm: {url: 'https://127.0.0.1:8443'}\n")
    reload()
    seen("untrusted", "no-anchor")
    service.configure("identity: {key_file: /etc/margod/none.key, certificate_file: /etc/margod/none.crt}\n")
    reload()
    seen("blocked", "identity-file-unreadable")
    service.point_at("127.0.0.1:9")
    reload()
    seen("onboarding", "connect-refused")
    wfm = service.start_wfm("auto")
    service.point_at(wfm, trusted=True)
    reload()
    seen("enrolled")


def test_systemctl_says_what_the_wfm_refuses(service: Service) -> None:
    """STATUS of a device that a WFM turns away, lets in, and turns out again."""

    def reached(state: str) -> dict[str, Any]:
        service.box.run("systemctl", "restart", "margod.service")  # a person's word counts once a minute otherwise
        service.await_status(lambda status: status["state"] != "starting")
        service.box.run(MARGOD, "retry")
        return service.await_status(lambda status: status["state"] == state)

    def says(state: str, code: str) -> None:
        status = service.status()
        said = service.await_text(f"{state} ({code}): {status['message']}")
        assert f" Next attempt at {status['next_attempt_at'][:10]}T" in said

    wfm = service.start_wfm("manual")
    service.configure(
        f"wfm: {{url: 'https://{wfm}'}}\ntrust: {{ca_file: /etc/margod/ca.pem}}\n"
        "onboarding: {confirm: 1s, forgotten_after: 1s}\n"
    )
    service.start()
    service.await_status(lambda status: status["state"] == "pending-approval")
    service.decide("reject")
    assert reached("rejected")["reason"] == "rejected"
    says("rejected", "rejected")
    service.decide("approve")
    client_id = reached("enrolled")["client_id"]
    service.decide("forget")
    service.await_status(lambda status: status["last_error"] is not None)
    time.sleep(1.1)  # what is waited for is time itself: onboarding.forgotten_after
    status = reached("refused")
    assert (status["reason"], status["client_id"]) == ("forgotten", client_id)
    says("refused", "forgotten")


def test_a_request_under_way_does_not_outlive_a_stop(service: Service) -> None:
    """Stopped while the WFM has the request and does not answer; the next start is the same device, known once."""
    wfm = service.start_wfm("auto")
    service.box.run(MARGOD, "devwfm", "fault", "--directory", "/srv/devwfm", "hang", "--route", "onboarding")
    service.point_at(wfm, trusted=True)
    service.start()
    service.await_request("onboarding")
    with waited() as seconds:
        service.stop()
    assert seconds() < 2
    assert service.show("ExecMainStatus") == "0"
    service.start()
    status = service.await_status(lambda status: status["state"] == "enrolled")
    listed = json.loads(service.box.run(MARGOD, "devwfm", "list", "--json", "--directory", "/srv/devwfm").stdout)
    assert [client["client_id"] for client in listed] == [status["client_id"]]


def test_an_older_state_directory_is_taken_over(service: Service) -> None:
    """What the first complete margod stored (November 2026) is the same device today, and is not onboarded again.

    The archive was made by that version itself and is never to be made anew: devices in the field have such ones.
    """
    service.box.shell(
        "install -d -m 0700 -o margod -g margod /var/lib/margod; mkdir /tmp/older\n"
        "tar -xzf /mnt/margod/tests/system/data/state-of-november-2026.tar.gz -C /tmp/older\n"
        "cp -a /tmp/older/state/. /var/lib/margod/; chmod 0700 /var/lib/margod\n"
        "chown -R margod:margod /var/lib/margod\n"
        "install -d -m 0750 -g margod /etc/margod; cp /tmp/older/ca.pem /etc/margod/ca.pem; rm -r /tmp/older"
    )
    key = service.box.run("sha256sum", "/var/lib/margod/gen-000002/identity.key").stdout.split()[0]
    service.point_at("127.0.0.1:8443", trusted=True)
    service.start()
    status = service.await_status(lambda status: status["state"] == "enrolled")
    assert status["client_id"] == "f3a9aad3-c7b7-43a8-8d65-cf43962e441e"
    assert "CN=golden-gateway" in json.dumps(status["identity"])
    keys = service.box.shell("sha256sum /var/lib/margod/gen-*/identity.key | cut -d' ' -f1 | sort -u").stdout
    assert keys.split() == [key]
    said = [entry["MESSAGE"] for entry in service.entries()]
    # A box has no hardware of its own, where the test's machine shows none: that is said, and is so.
    events = [line.split()[0] for line in said if "hardware-unknown" not in line]
    assert "accepted" not in events
    assert not [event for event in events if event in ("state-damaged", "internal-error", "needs-attention")]


def test_the_target_is_reached_by_enrolment_and_not_before(service: Service) -> None:
    """A unit ordered after margod-enrolled.target waits for the approval, through a restart of the daemon."""
    wfm = service.start_wfm("manual")
    service.point_at(wfm, trusted=True)
    service.box.run("systemctl", "start", "--no-block", "margod-enrolled.target")
    service.await_status(lambda status: status["state"] == "pending-approval")
    service.box.run("systemctl", "restart", "margod.service")
    service.await_status(lambda status: status["state"] == "pending-approval")
    service.await_text("pending-approval (pending-approval): ")
    assert service.show("ActiveState", unit="margod-enrolled.target") == "inactive"
    assert service.show("ActiveState", unit="margod-wait-enrolled.service") == "activating"
    service.approve()
    service.box.run("/opt/margod/bin/margod", "retry")
    service.await_show("ActiveState", "active", unit="margod-enrolled.target")
    status = service.await_status(lambda status: status["state"] == "enrolled")
    service.await_text("enrolled")
    # It stays reached, and a restart finds the enrolment: nothing is asked of the WFM a second time.
    service.box.run("systemctl", "stop", "devwfm.service")
    service.box.run("systemctl", "restart", "margod.service")
    assert service.await_status(lambda status: status["state"] == "enrolled")["client_id"] == status["client_id"]
    assert service.show("ActiveState", unit="margod-enrolled.target") == "active"


def test_the_sandbox_takes_effect_and_leaves_what_is_needed(service: Service) -> None:
    """No directive is silently ignored: no capability, a filter, nothing foreign written, nothing stored executed."""
    service.start()
    pid = service.show("MainPID")
    kernel = service.box.run("cat", f"/proc/{pid}/status").stdout.split("\n")
    assert {"NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000"} <= set(kernel)
    for script, allowed in (
        ("grep -q MemTotal /proc/meminfo && grep -q processor /proc/cpuinfo", True),
        ("touch /var/lib/margod/x /run/margod/x", True),
        ("touch /etc/margod/x", False),
        ("cat /etc/margod/margod.yaml", True),
        ("touch /dev/shm/x || touch /opt/margod/x || touch /usr/x", False),
        ("cp /bin/true /var/lib/margod/x", True),
        ("cp /bin/true /run/margod/x && cp /bin/true /tmp/x && cp /bin/true /var/tmp/x", True),
        ("/var/lib/margod/x || /run/margod/x || /tmp/x || /var/tmp/x", False),
        ("ls /root || ls /home/*", False),
        ("test -e /proc/1/status", False),
        ("test -e /dev/kmsg", False),
    ):
        as_daemon = ["setpriv", "--reuid=margod", "--regid=margod", "--clear-groups", "sh", "-c", script]
        done = service.box.run("nsenter", f"--target={pid}", "--mount", *as_daemon, check=False)
        assert (done.returncode == 0) == allowed, (script, done.stderr)


def test_the_journal_has_priorities_and_one_line_an_event(service: Service) -> None:
    """Entries carry PRIORITY, the event stands first, and no entry of the daemon's spans lines or holds a key."""
    service.point_at("127.0.0.1:9")
    service.start()
    service.await_status(lambda status: status["attempt"] >= 1 and status["last_error"] is not None)
    service.stop()
    entries = service.entries()
    assert entries
    priorities = {entry["PRIORITY"] for entry in entries}
    assert "4" in priorities
    assert priorities <= {"3", "4", "6"}
    refused = [entry for entry in entries if entry.get("MARGOD_CODE") == "connect-refused"]
    assert {"attempt-failed", "state"} == {entry["MARGOD_EVENT"] for entry in refused}
    assert all(entry["SYSLOG_IDENTIFIER"] == "margod" for entry in entries)
    for entry in entries:
        message = entry["MESSAGE"]
        assert isinstance(message, str)
        assert "\n" not in message
        assert not message.startswith("<")
        assert "PRIVATE KEY" not in message
