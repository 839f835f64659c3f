"""The budgets of the design beside what is measured here, in one run. `make bench`, or with ARGS="--quick", "--json".

Times are ratios of medians of runs that alternate with their yardstick, because machines differ and are shared. All of
it runs as an installation has it: byte-compiled, in an environment of its own without the hook of an editable install,
which would be a third of the yardsticks. Nothing here is a test: the exit code is 0 unless something could not be
measured.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import path_lines

from margod.client import Client, admin_socket, agent_socket
from margod.devwfm.control import call

PROJECT: Final = Path(__file__).resolve().parent.parent
TIMEOUT: Final = 30.0
"""Seconds that anything may take on a busy machine."""
SETTLED: Final = 18.0
"""Seconds after which an enrolled daemon is idle: the kept-alive connection to the WFM has ended (after 15)."""
LIBRARIES: Final = "import aiohttp, cryptography.x509, yaml, structlog"
REPORTS: Final = 1_000
CLI: Final = "import argparse, json, socket"


@dataclass(frozen=True, slots=True)
class Row:
    """One budget. `verdict` is ok, over, shown (no budget of its own), skipped or failed."""

    what: str
    budget: str
    measured: str
    verdict: str
    detail: str = ""


@dataclass(slots=True)
class Samples:
    """What the runs left, seconds unless said otherwise."""

    libraries: list[float] = field(default_factory=list)
    ready: list[float] = field(default_factory=list)
    first_ready: list[float] = field(default_factory=list)
    enrolled: list[float] = field(default_factory=list)
    again: list[float] = field(default_factory=list)
    counts: list[tuple[int, int, int]] = field(default_factory=list)
    commits: list[int] = field(default_factory=list)
    appended: list[int] = field(default_factory=list)
    restart_commits: list[int] = field(default_factory=list)
    restart_memory: list[float] = field(default_factory=list)  # MiB
    yardstick: list[float] = field(default_factory=list)
    status: list[float] = field(default_factory=list)


class Installation:
    """margod in an environment of its own that borrows the packages of this one."""

    def __init__(self, directory: Path) -> None:
        """Make it in `directory`; a quarter of a second."""
        venv.create(directory, symlinks=True, with_pip=False)
        self.python = directory / "bin" / "python"
        self.margod = directory / "bin" / "margod"
        here = Path(sys.prefix, "lib", f"python{sys.version_info[0]}.{sys.version_info[1]}", "site-packages")
        packages = directory / here.relative_to(sys.prefix)
        (packages / "bench.pth").write_text(f"{PROJECT}\n{here}\n")
        # As pip writes it.
        self.margod.write_text(
            f"#!{self.python}\nimport re\nimport sys\nfrom margod.cli import main\nif __name__ == '__main__':\n"
            "    sys.argv[0] = re.sub(r'(-script\\.pyw|\\.exe)?$', '', sys.argv[0])\n    sys.exit(main())\n"
        )
        self.margod.chmod(0o755)

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of every process here; nothing of ours, so that byte code is written and used."""
        return {"PATH": os.defpath, "HOME": "/nonexistent", "LANG": "C.UTF-8", **more}

    def timed(self, code: str) -> float:
        """Return the seconds in which the interpreter starts and runs `code`, without its end."""
        return self.timed_whole(str(self.python), "-c", f"{code}\nimport os; os._exit(0)")

    def timed_whole(self, *command: str) -> float:
        """Return the seconds from the start to the end of a process."""
        env, nowhere = self.environment(), subprocess.DEVNULL
        began = time.perf_counter()
        done = subprocess.run(command, env=env, cwd="/", stdout=nowhere, timeout=TIMEOUT, check=False)
        took = time.perf_counter() - began
        if done.returncode:
            raise RuntimeError(f"{' '.join(command[:3])} ended with {done.returncode}")
        return took


class Device:
    """One margod with its configuration, state and sockets in `directory`."""

    def __init__(
        self,
        installation: Installation,
        directory: Path,
        url: str,
        ca_file: Path,
        *,
        rate: str = "off",
        protocol: str = "signed",
    ) -> None:
        """Write the configuration; `run` starts it."""
        directory.mkdir()
        self._installation = installation
        self._directory = directory
        self.state = directory / "state"
        self.runtime = directory / "run"
        self._config = directory / "m.yaml"
        self._config.write_text(
            f'wfm: {{url: "{url}", protocol: {protocol}}}\ntrust: {{ca_file: {ca_file}}}\nlog: {{level: warning}}\n'
            f"schedule: {{polling: {{rate: {rate}}}}}\n"
        )
        self._address = directory / "notify"
        self._said: list[str] = []
        self._manager: socket.socket | None = None
        self.pid = 0

    @contextmanager
    def run(self) -> Iterator[Callable[[str], float]]:
        """Start it; yields what waits for a word to the service manager and returns the seconds since the start."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            self._address.unlink(missing_ok=True)
            manager.bind(str(self._address))
            manager.settimeout(TIMEOUT)
            self._manager = manager
            began = time.perf_counter()
            process = subprocess.Popen(
                [
                    *(str(self._installation.margod), "run", "--config", str(self._config)),
                    *("--state-dir", str(self.state), "--runtime-dir", str(self.runtime)),
                ],
                env=self._installation.environment(
                    NOTIFY_SOCKET=str(self._address), WATCHDOG_USEC=f"{_watchdog()}000000"
                ),
                cwd="/",
            )

            def until(word: str) -> float:
                while not any(line.startswith(word) for line in manager.recv(4096).decode().splitlines()):
                    pass
                return time.perf_counter() - began

            self.pid = process.pid
            try:
                yield until
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(TIMEOUT)

    def commits(self) -> int:
        """Return how often the vault was committed: the number of its newest generation."""
        return max((int(p.name[4:]) for p in self.state.iterdir() if re.fullmatch(r"gen-\d+", p.name)), default=0)

    def appended(self) -> int:
        """Return the lines that stand in the answer log."""
        log = self.state / "answer.log"
        return log.read_bytes().count(b"\n") if log.exists() else 0

    def switches(self) -> int:
        """Return the context switches of all its threads so far, voluntary or not: each is a wakeup."""
        tasks = [task.read_text() for task in Path(f"/proc/{self.pid}/task").glob("*/status")]
        return sum(int(n) for n in re.findall(r"ctxt_switches:\s+(\d+)", "".join(tasks)))

    def let_run(self, seconds: float) -> None:
        """Let it run for so long, as a service manager does that takes what it is told."""
        end = time.monotonic() + seconds
        assert self._manager is not None
        with suppress(TimeoutError):
            while (left := end - time.monotonic()) > 0:
                self._manager.settimeout(left)
                self._manager.recv(4096)

    def processor(self) -> float:
        """Return how long all its threads have run so far, in milliseconds."""
        tasks = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e6

    def of_children(self) -> float:
        """Return how long the processes that it started and that have ended ran, in milliseconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[13]) + int(fields[14])) * 1000 / os.sysconf("SC_CLK_TCK")

    def peak_of_child(self) -> float:
        """Return the largest Rss so far of the process that it has started, in MiB; 0 where there is none."""
        with suppress(OSError, IndexError):
            tasks = Path(f"/proc/{self.pid}/task").glob("*/children")
            pids = [pid for task in tasks for pid in task.read_text().split()]
            status = Path("/proc", pids[0], "status")
            return int(re.findall(r"(?m)^VmHWM:\s+(\d+) kB", status.read_text())[0]) / 1024
        return 0.0

    def memory(self) -> dict[str, float]:
        """Return Rss and Pss with their parts, in MiB."""
        text = "".join(Path(f"/proc/{self.pid}/{name}").read_text() for name in ("smaps_rollup", "status"))
        wanted = re.findall(r"(?m)^(VmRSS|RssAnon|RssFile|Pss):\s+(\d+) kB", text)
        return {name: int(kib) / 1024 for name, kib in wanted}


@contextmanager
def development_wfm(installation: Installation, directory: Path, *options: str) -> Iterator[Path]:
    """Run a development WFM that lets every device in; yields its directory."""
    command = [str(installation.margod), "devwfm", "serve", "--directory", str(directory), "--listen", "127.0.0.1:0"]
    command += options
    process = subprocess.Popen(
        command, env=installation.environment(), cwd="/", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        if not process.stdout.readline().startswith(b"ready "):
            raise RuntimeError("the development WFM did not start")
        yield directory
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(TIMEOUT)
        process.stdout.close()


def once(installation: Installation, wfm: Path, directory: Path, samples: Samples) -> None:
    """Onboard a fresh device, start it again, each beside its yardstick."""
    ready = json.loads((wfm / "ready.json").read_bytes())
    device = Device(installation, directory, ready["url"], Path(ready["ca_file"]))
    call(wfm, "POST", "/v1/stats/reset")
    with device.run() as until:
        samples.first_ready.append(until("READY=1"))
        samples.enrolled.append(until("STATUS=enrolled, online"))
        stats: dict[str, Any] = call(wfm, "GET", "/v1/stats")
        samples.counts.append((stats["requests_total"], stats["connections"], stats["handshakes"]))
    samples.commits.append(device.commits())
    samples.appended.append(device.appended())
    for _ in range(2):
        samples.libraries.append(installation.timed(LIBRARIES))
        with device.run() as until:
            samples.ready.append(until("READY=1"))
            samples.again.append(until("STATUS=enrolled"))
            samples.restart_memory.append(device.memory()["VmRSS"])
    samples.restart_commits.append((device.commits() - samples.commits[-1]) // 2)


def measure(*, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """Run everything that needs processes and return its rows."""
    rounds, window, calls = (2, 10.0, 5) if quick else (4, 24.0, 15)
    samples = Samples()
    with tempfile.TemporaryDirectory(prefix="margod-bench-") as name:
        place = Path(name)
        installation = Installation(place / "venv")
        with development_wfm(installation, place / "wfm") as wfm:
            say("warming up")
            once(installation, wfm, place / "warm", Samples())
            ready = json.loads((wfm / "ready.json").read_bytes())
            idle = Device(installation, place / "idle", ready["url"], Path(ready["ca_file"]))
            with idle.run() as until:
                until("STATUS=enrolled, online")
                settled = time.monotonic() + SETTLED
                say(f"onboarding {rounds} devices")
                for number in range(rounds):
                    once(installation, wfm, place / str(number), samples)
                say("watching an idle one")
                time.sleep(max(0.0, settled - time.monotonic()))
                before, began = idle.switches(), time.monotonic()
                time.sleep(window)
                wakeups, watched = idle.switches() - before, time.monotonic() - began
                memory = idle.memory()
                say("asking for its status")
                for _ in range(calls):
                    samples.yardstick.append(installation.timed_whole(str(installation.python), "-c", CLI))
                    where = ("--runtime-dir", str(idle.runtime))
                    samples.status.append(installation.timed_whole(str(installation.margod), "status", *where))
            say("mirroring a hundred deployments")
            mirroring = mirror_rows(installation, wfm, place / "mirror", window)
            say("draining a thousand reports")
            draining = [drained_row(installation, wfm, place / f"reports-{number}", number) for number in (1, 50)]
            say("fetching from Git")
            fetching = git_rows(installation, place, window)
            say("following an onboarding")
            lines = lines_row(ready["url"], Path(ready["ca_file"]))
    return [
        *time_rows(samples),
        memory_row(memory),
        Row("  of a restart", "", f"{statistics.median(samples.restart_memory):.1f} MiB", "shown"),
        wakeup_row(wakeups, watched),
        ratio_row("`margod status`", samples.status, "argparse, json, socket", samples.yardstick, 2.5),
        vault_row(samples),
        *mirroring,
        *draining,
        *fetching,
        lines,
    ]


def mirror_rows(installation: Installation, wfm: Path, directory: Path, window: float) -> list[Row]:
    """Have a device mirror a hundred deployments, ask each second, and return what that costs."""
    ready = json.loads((wfm / "ready.json").read_bytes())
    deploy_a_hundred(wfm)
    device = Device(installation, directory, ready["url"], Path(ready["ca_file"]), rate="1s")
    with device.run() as until:
        until("STATUS=enrolled, online")
        deadline = time.monotonic() + TIMEOUT
        while len([*(device.state / "mirror").glob("d-*")]) < 100:
            if time.monotonic() > deadline:
                raise TimeoutError("the deployments were not mirrored")
            time.sleep(0.2)
        device.let_run(5.0)
        call(wfm, "POST", "/v1/stats/reset")
        before = device.processor()
        device.let_run(window)
        used, stats = device.processor() - before, call(wfm, "GET", "/v1/stats")
        rss = device.memory()["VmRSS"]
    for number in range(100):
        call(wfm, "DELETE", f"/v1/deployments/n{number}")
    polls, per_poll = stats["requests"].get("deployments", 0), used / max(1, stats["requests_total"])
    fits = per_poll <= 5.0 and 0 < polls == stats["requests_total"] and stats["connections"] == 0
    said = f"{per_poll:.1f} ms, {polls} polls, {stats['connections']} new connections"
    return [
        Row("a poll that brings nothing new", "<= 5 ms of CPU, kept connection", said, _verdict(fits)),
        Row("memory with 100 deployments (RSS)", "<= 52 MiB", f"{rss:.1f} MiB", _verdict(rss <= 52)),
    ]


def git_rows(installation: Installation, place: Path, window: float) -> list[Row]:
    """Have a device of the generation `token` fetch a hundred deployments from Git, and return what that costs."""
    with development_wfm(installation, place / "token-wfm", "--protocol", "token") as wfm:
        ready = json.loads((wfm / "ready.json").read_bytes())
        deploy_a_hundred(wfm)
        ca_file, directory = Path(ready["ca_file"]), place / "token"
        device = Device(installation, directory, ready["url"], ca_file, rate="2s", protocol="token")
        peak, deadline = 0.0, time.monotonic() + TIMEOUT
        with device.run():
            while len([*(device.state / "mirror").glob("d-*")]) < 100:
                if time.monotonic() > deadline:
                    raise TimeoutError("the deployments were not fetched")
                peak = max(peak, device.peak_of_child())
                time.sleep(0.002)
            device.let_run(3.0)
            call(wfm, "POST", "/v1/stats/reset")
            before = device.processor() + device.of_children()
            device.let_run(window)
            used, asked = device.processor() + device.of_children() - before, call(wfm, "GET", "/v1/stats")["requests"]
            rss = device.memory()["VmRSS"]
    polls = asked.get("repository", 0)  # one request each: the branch is where it was
    each = f"{used / max(1, polls):.0f} ms of CPU, {polls} polls"
    return [
        Row("memory of a `token` device, mirroring (RSS)", "<= 58 MiB", f"{rss:.1f} MiB", _verdict(rss <= 58)),
        Row("  the process of a fetch of 100, at its peak", "<= 48 MiB", f"{peak:.1f} MiB", _verdict(0 < peak <= 48)),
        Row("  a fetch that brings nothing new", "", each, "shown"),
    ]


def deploy_a_hundred(wfm: Path) -> None:
    """Want a hundred deployments of 20 kB."""
    for number in range(100):
        text = f"kind: ApplicationDeployment\nmetadata: {{name: n{number}}}\n" + "parameter: value\n" * 1_200
        call(wfm, "PUT", f"/v1/deployments/n{number}", text.encode())


def drained_row(installation: Installation, wfm: Path, directory: Path, deployments: int) -> Row:
    """Queue a thousand reports of so many deployments while the WFM takes none, then measure how fast they leave."""
    ready = json.loads((wfm / "ready.json").read_bytes())
    device = Device(installation, directory, ready["url"], Path(ready["ca_file"]))
    call(wfm, "POST", "/v1/faults", {"action": "answer", "route": "status", "times": 0})
    known = len(call(wfm, "GET", "/v1/statuses")["statuses"])
    with device.run() as until:
        until("STATUS=enrolled, online")
        agent, admin = Client(agent_socket(str(device.runtime))), Client(admin_socket(str(device.runtime)))
        for number in range(REPORTS):
            component = {"name": "all", "state": "failed", "error": {"message": str(number)}}
            agent.report(f"d{number % deployments}", json.dumps({"components": [component]}).encode())
        call(wfm, "DELETE", "/v1/faults")
        before = device.processor()
        admin.retry()
        deadline = time.monotonic() + 4 * TIMEOUT
        while agent.status()["outbox"]["waiting"] and time.monotonic() < deadline:
            time.sleep(0.5)
        used, rss = (device.processor() - before) / REPORTS, device.memory()["VmRSS"]
    statuses = call(wfm, "GET", "/v1/statuses")["statuses"][known:]
    numbers = [int(status["manifest"]["components"][0]["error"]["message"]) for status in statuses]
    rate = (len(statuses) - 1) / max(0.001, statuses[-1]["at"] - statuses[0]["at"]) if statuses else 0.0
    fits = rate >= 200.0 and numbers == list(range(REPORTS))
    order = "in order" if numbers == sorted(numbers) else "out of order"
    said = f"{rate:.0f} a second, {len(numbers)} {order}"
    detail = f"{used:.1f} ms of CPU each, {rss:.1f} MiB (RSS)"
    return Row(f"{REPORTS} reports, queued offline, of {deployments}", ">= 200 a second", said, _verdict(fits), detail)


def time_rows(samples: Samples) -> list[Row]:
    """Return the rows on the way from the start to enrolled."""
    enrolled = statistics.median(samples.enrolled)
    requests, connections, handshakes = max(samples.counts)
    exact = set(samples.counts) == {(2, 1, 1)}
    return [
        ratio_row("start to READY=1", samples.ready, "importing the libraries", samples.libraries, 1.6),
        Row("  of a first start", "", _ms(samples.first_ready), "shown"),
        Row(
            "start to enrolled (loopback, CA on file)",
            "<= 1 s",
            f"{enrolled:.2f} s",
            _verdict(enrolled <= 1.0),
            f"median of {len(samples.enrolled)}, slowest {max(samples.enrolled):.2f} s",
        ),
        Row("  of a restart, without a request", "", _ms(samples.again), "shown"),
        Row(
            "  requests, connections, handshakes",
            "2, 1, 1",
            f"{requests}, {connections}, {handshakes}",
            _verdict(exact),
            "counted at the server",
        ),
    ]


def ratio_row(what: str, measured: list[float], yardstick_name: str, yardstick: list[float], budget: float) -> Row:
    """Return a row of a median in yardsticks."""
    ratio = statistics.median(measured) / statistics.median(yardstick)
    detail = f"{_ms(measured)} to {_ms(yardstick)} of {yardstick_name}; medians of {len(measured)}"
    return Row(what, f"<= {budget} x", f"{ratio:.2f} x", _verdict(ratio <= budget), detail)


def memory_row(memory: dict[str, float]) -> Row:
    """Return the row on memory."""
    parts = f"anonymous {memory['RssAnon']:.1f}, files {memory['RssFile']:.1f}; Pss {memory['Pss']:.1f}"
    rss = memory["VmRSS"]
    return Row("memory, enrolled and idle (RSS)", "<= 52 MiB", f"{rss:.1f} MiB", _verdict(rss <= 52), parts)


def wakeup_row(wakeups: int, watched: float) -> Row:
    """Return the row on wakeups."""
    detail = f"{wakeups} context switches of all threads in {watched:.0f} s; WatchdogSec={_watchdog()}"
    a_minute = wakeups * 60 / watched
    return Row("wakeups, enrolled and idle", "<= 2 a minute", f"{a_minute:.1f}", _verdict(a_minute <= 2), detail)


def vault_row(samples: Samples) -> Row:
    """Return the row on what is written."""
    first, again, lines = max(samples.commits), max(samples.restart_commits), max(samples.appended)
    detail = f"from first start to enrolled {first} commits and {lines} lines of log, {again} commits a restart"
    return Row("vault commits", "<= 10 a day", f"{first} + {again}", _verdict(first + again <= 10), detail)


def security_row() -> Row:
    """Return the row on the unit's sandbox, as systemd rates it."""
    what, budget = "`systemd-analyze security` of the unit", "<= 1.5"
    if shutil.which("systemd-analyze") is None:
        return Row(what, budget, "", "skipped", "systemd-analyze is not installed")
    command = ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(PROJECT / "systemd/margod.service")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    found = re.search(r"exposure level for margod\.service: ([0-9.]+)", done.stdout)
    if found is None:
        return Row(what, budget, "", "failed", done.stderr.strip() or "systemd-analyze gave no figure")
    return Row(what, budget, found[1], _verdict(float(found[1]) <= 1.5))


def lines_row(url: str, ca_file: Path) -> Row:
    """Return the row on how much has to be read to follow an onboarding."""
    counts = path_lines.count(url, ca_file, TIMEOUT)
    total = sum(counts.values())
    detail = ", ".join(f"{part} {count}" for part, count in counts.items())
    return Row("lines a signed onboarding runs through", "< 1500", str(total), _verdict(total < 1500), detail)


def show(rows: list[Row]) -> None:
    """Print the table."""
    widths = [max(len(getattr(row, name)) for row in rows) for name in ("what", "budget", "measured")]
    for row in rows:
        cells = [f"{cell:{width}}" for cell, width in zip((row.what, row.budget, row.measured), widths, strict=True)]
        print("  ".join([*cells, f"{row.verdict.replace('shown', ''):4}", row.detail]).rstrip())


def main() -> int:
    """Measure, print, return 0 unless something could not be measured."""
    parser = argparse.ArgumentParser(description="The budgets of the design beside what is measured here.")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--json", action="store_true", help="print rows as JSON")
    options = parser.parse_args()
    try:
        rows = measure(quick=options.quick, say=lambda text: print(f"{text} ...", file=sys.stderr))
    except (OSError, RuntimeError, KeyError, subprocess.SubprocessError) as error:
        rows = [Row("margod as a process", "", "", "failed", f"{type(error).__name__}: {error}")]
    rows.append(security_row())
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        show(rows)
    return 1 if any(row.verdict == "failed" for row in rows) else 0


def _verdict(within: bool) -> str:
    return "ok" if within else "over"


def _ms(samples: list[float]) -> str:
    return f"{statistics.median(samples) * 1000:.0f} ms"


def _watchdog() -> int:
    """Return the unit's WatchdogSec in seconds; the daemon wakes at half of it."""
    found = re.search(r"(?m)^WatchdogSec=(\d+)min$", (PROJECT / "systemd/margod.service").read_text())
    return int(found[1]) * 60 if found else 240


if __name__ == "__main__":
    sys.exit(main())
