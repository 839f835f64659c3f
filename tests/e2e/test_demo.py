"""`margod demo`: piped and at a terminal, every way it can go, and that nothing of it is left over."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from margod.demo import asking, facts
from margod.demo.stopping import Signals, Stopped
from margod.vault import peek

pytestmark = pytest.mark.e2e

BOUND = 100.0
"""Seconds that a run may take on a busy machine; it takes six."""


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A short TMPDIR of its own (sockets are in it), seen to be left by every process."""
    path = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    try:
        yield path
        assert not processes(path)
    finally:
        shutil.rmtree(path)


def processes(directory: Path) -> list[str]:
    """Return the command lines of all processes that name something in `directory`."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"{directory}/" in line:
            found.append(line)
    return found


def pid_of_daemon(directory: Path) -> int:
    """Return the daemon's process id as its journal has it."""
    found = re.search(r" pid=(\d+)", (directory / "margod.log").read_text())
    assert found is not None
    return int(found[1])


def start(temporary: Path, *arguments: str, stderr: int = subprocess.STDOUT) -> subprocess.Popen[bytes]:
    """Start the demo without a terminal."""
    return subprocess.Popen(
        [sys.executable, "-m", "margod", "demo", *arguments],
        env={**os.environ, "TMPDIR": str(temporary), "MARGOD_WFM_URL": "https://elsewhere.example", "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
    )


def piped(temporary: Path, *arguments: str) -> tuple[int, str]:
    """Run the demo without a terminal; return exit code and output."""
    demo = start(temporary, *arguments)
    out, _ = demo.communicate(timeout=BOUND)
    return demo.returncode, out.decode()


class Terminal:
    """The demo at a terminal of its own, as a foreground job, with a person who types."""

    def __init__(self, temporary: Path, *arguments: str, no_color: bool = False, before: str = "pass") -> None:
        """Start it; `before` is run in its process first."""
        code = f"import sys; {before}; from margod.cli import main; sys.exit(main(['demo', *sys.argv[1:]]))"
        self.out = ""
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            env = {**os.environ, "TMPDIR": str(temporary), "TERM": "xterm", **({"NO_COLOR": "1"} if no_color else {})}
            os.execve(sys.executable, [sys.executable, "-c", code, *arguments], env)

    def until(self, text: str) -> None:
        """Read until `text` has been shown."""
        deadline = time.monotonic() + BOUND
        while text not in self.out:
            assert self._read(deadline), f"never {text!r} in:\n{self.out}"

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._terminal, keys.encode())

    def end(self) -> int:
        """Read to the end and return the exit code."""
        deadline = time.monotonic() + BOUND
        while self._read(deadline):
            pass
        os.close(self._terminal)
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])

    def _read(self, deadline: float) -> bool:
        if not select.select([self._terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
            os.kill(self._pid, signal.SIGTERM)
            raise AssertionError(f"nothing more was said:\n{self.out}")
        try:
            part = os.read(self._terminal, 65536)
        except OSError:  # EIO: the other end is closed
            return False
        self.out += part.decode("utf-8", "replace")
        return bool(part)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            (),
            (
                "202, waits for approval",
                "signature verified by the WFM",
                "approved at the WFM by the demo",
                "$ margod retry",
                "2 before, 2 after",
            ),
        ),
        (("--approval", "auto"), ("none needed: this WFM answered 201", "1 before, 1 after")),
        (
            ("--like", "sandbox-2025"),
            (
                "certificate as DER",
                "400, public_certificate is missing",
                "public_certificate as PEM",
                "capabilities/{clientId}: 404",
                "/clients/{clientId}/capabilities: 201",
                "3 before, 3 after",
            ),
        ),
        (("--like", "sandbox-2026"), ("signed (sandbox-2026 does not check)", "1 before, 1 after")),
    ],
)
def test_enrolled(temporary: Path, arguments: tuple[str, ...], says: tuple[str, ...]) -> None:
    """Piped, each way ends by itself in time with 0 and plain text of 80 columns, and shows every step once."""
    code, out = piped(temporary, *arguments)
    assert code == 0, out
    assert [text for text in says if text not in out] == []
    assert re.findall(r"^  ([1-8])  ", out, re.MULTILINE) == list("12345678")
    assert "State        enrolled since" in out
    assert "(exit code 0: enrolled)" in out
    assert "enrolled again after a crash" in out
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 80
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("arguments", [(), ("--like", "sandbox-2025")])
def test_agent(temporary: Path, arguments: tuple[str, ...]) -> None:
    """--agent goes on after the restart: what the WFM wants is in the agent's folder, and the WFM was told so."""
    code, out = piped(temporary, "--agent", "--approval", "auto", *arguments)
    assert code == 0, out
    assert re.findall(r"^  ([1-9])  ", out, re.MULTILINE) == list("123456789")
    assert "hello.yaml is in the agent's folder, byte for byte" in out
    assert "the WFM was told: installing, installed, removing, removed" in out
    assert "signature verified by the WFM" in out.rpartition("the WFM was told:")[2]
    assert max(map(len, out.splitlines())) <= 80
    assert list(temporary.iterdir()) == []


def test_token(temporary: Path) -> None:
    """The other generation: onboarding, bearer token, first fetch, a rotation in the middle, a report; no secret."""
    code, out = piped(temporary, "--protocol", "token", "--keep")
    assert code == 0, out
    steps = re.findall(r"^  (\d+) +[a-zA-Z]", out, re.MULTILINE)
    assert steps == [str(number) for number in range(1, 12)]
    says = (
        "202, waits for approval",
        "X-Payload-Signature verified by the WFM",
        "POST /oauth/token: 200, token given",
        "POST /device/{clientId}/capabilities: 201",
        "2 before, 2 after",
        "GET /git/desired.git: 401, the access token is refused",
        "GET /onboarding/git: 200, access given",
        "POST /device/{clientId}/deployment/hello/status: 201",
        "the WFM was told: Installed",
        "fetched, fetched again with another token, reported",
        "Other ways: --reject, --approval auto, --keep.",
    )
    assert [text for text in says if text not in out] == []
    assert len(set(re.findall(r"\bcommit ([0-9a-f]{40})", out))) == 2
    assert max(map(len, out.splitlines())) <= 80
    (kept,) = temporary.iterdir()
    stored = peek(kept / "state")
    secrets = [json.loads(stored["enrolment.json"])["secret"], json.loads(stored["git.json"])["accessToken"]]
    assert [secret for secret in secrets if secret in out or secret in (kept / "margod.log").read_text()] == []


def test_rejected(temporary: Path) -> None:
    """--reject shows exit code 4 explained, the state kept over a SIGKILL, and another request answered 403."""
    code, out = piped(temporary, "--reject")
    assert code == 0, out
    assert "rejected at the WFM by the demo" in out
    assert "(exit code 4: waits for a person at the WFM)" in out
    assert "started again: still rejected, asks again in" in out
    assert out.count("POST /api/v1/onboarding: 403") == 2
    assert list(temporary.iterdir()) == []


def test_a_person_says_yes(temporary: Path) -> None:
    """At a terminal a person is asked, in colour; keys pressed before the question do not answer it."""
    terminal = Terminal(temporary)
    terminal.type("\n")  # at once: later it could be after the question
    terminal.until("[y/N]")
    terminal.type("y\n")
    assert terminal.end() == 0, terminal.out
    assert "approved at the WFM by you" in terminal.out
    assert "\x1b[1;32m" in terminal.out
    plain = re.sub(r"\x1b\[[0-9;]*m", "", terminal.out)
    assert max(map(len, plain.splitlines())) <= 80


def test_a_person_says_no(temporary: Path) -> None:
    """Enter alone is no: the device is rejected, which is no failure of the demo. NO_COLOR is respected."""
    terminal = Terminal(temporary, no_color=True)
    terminal.until("[y/N]")
    terminal.type("\n")
    assert terminal.end() == 0, terminal.out
    assert "rejected at the WFM by you" in terminal.out
    assert "\x1b" not in terminal.out


def test_ctrl_c(temporary: Path) -> None:
    """Ctrl-C at the question ends everything: 130, said in one line, nothing left over."""
    terminal = Terminal(temporary)
    terminal.until("[y/N]")
    assert len(processes(temporary)) == 2
    terminal.type("\x03")
    assert terminal.end() == 130
    assert "Stopped. Everything the demo started has ended." in terminal.out
    assert "Traceback" not in terminal.out
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("after", ["margod demo", "  1  URL", "margod status", "  8  restart"])
def test_sigterm(temporary: Path, after: str) -> None:
    """SIGTERM at any step, and another one right behind it, ends what was started: 143, nothing left over."""
    demo = start(temporary)
    assert demo.stdout is not None
    out = b""
    while after.encode() not in out:
        line = demo.stdout.readline()
        assert line, out
        out += line
    demo.terminate()
    demo.terminate()
    rest, _ = demo.communicate(timeout=BOUND)
    assert demo.returncode == 143, out + rest
    assert b"Traceback" not in rest
    assert list(temporary.iterdir()) == []


def test_output_that_goes_away(temporary: Path) -> None:
    """When its reader goes, as in `margod demo | head`, it ends without a word and leaves nothing."""
    demo = start(temporary, stderr=subprocess.PIPE)
    assert demo.stdout is not None
    assert demo.stderr is not None
    demo.stdout.readline()
    demo.stdout.close()
    said = demo.stderr.read()
    demo.stderr.close()
    assert demo.wait(BOUND) == 141
    assert said == b""
    assert list(temporary.iterdir()) == []


def test_output_that_cannot_be_written(temporary: Path) -> None:
    """A full disk behind standard output is one sentence on standard error, and nothing left over."""
    with Path("/dev/full").open("w") as full:
        demo = subprocess.run(
            [sys.executable, "-m", "margod", "demo"],
            env={**os.environ, "TMPDIR": str(temporary)},
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=BOUND,
            check=False,
        )
    assert (demo.returncode, demo.stderr) == (1, b"margod demo: [Errno 28] No space left on device\n")
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("victim", ["wfm", "daemon"])
def test_a_part_that_dies(temporary: Path, victim: str) -> None:
    """A process that dies on the way is exit code 1, explained, with the last journal lines, and nothing left over."""
    terminal = Terminal(temporary, no_color=True)
    terminal.until("[y/N]")
    (directory,) = temporary.iterdir()
    if victim == "wfm":
        pid = json.loads((directory / "wfm/ready.json").read_bytes())["pid"]
    else:
        pid = pid_of_daemon(directory)
    os.kill(pid, signal.SIGKILL)
    terminal.type("y\n")
    assert terminal.end() == 1
    assert "The demo failed: " in terminal.out
    assert {"wfm": "no development WFM answers", "daemon": "exit code"}[victim] in " ".join(terminal.out.split())
    assert "The last lines of the daemon's journal:" in terminal.out
    assert "code=pending-approval" in terminal.out
    assert "Traceback" not in terminal.out
    assert list(temporary.iterdir()) == []


def test_a_part_that_hangs(temporary: Path) -> None:
    """A daemon that answers no more fails the demo after its bound, and is ended though it takes no SIGTERM."""
    short = "setattr(stage, 'STEP', 2.0)"  # from the answer on: up to there each step may take long
    before = (
        "from margod.demo import asking, stage; stage.GRACE, ask = 0.5, asking.answer;"
        f"asking.answer = lambda seconds: {short} or ask(seconds)"
    )
    terminal = Terminal(temporary, no_color=True, before=before)
    terminal.until("[y/N]")
    (directory,) = temporary.iterdir()
    os.kill(pid_of_daemon(directory), signal.SIGSTOP)
    terminal.type("y\n")
    assert terminal.end() == 1
    assert "not within 2 s; the daemon never answered" in " ".join(terminal.out.split())
    assert list(temporary.iterdir()) == []


def test_nobody_answers(temporary: Path) -> None:
    """A person who does not answer is waited for only so long; nothing is approved for them."""
    terminal = Terminal(temporary, no_color=True, before="from margod.demo import story; story.PATIENCE = 0.3")
    assert terminal.end() == 1
    assert "The demo failed: nobody answered" in terminal.out
    assert "approved" not in terminal.out
    assert list(temporary.iterdir()) == []


def test_keep(temporary: Path) -> None:
    """--keep leaves the directory, says where, and still ends every process."""
    code, out = piped(temporary, "--keep", "--approval", "auto")
    (directory,) = temporary.iterdir()
    assert code == 0
    assert f"Kept: {directory}" in " ".join(out.split())
    assert (directory / "state").is_dir()
    assert (directory / "margod.yaml").is_file()
    assert not processes(temporary)


def test_a_directory_that_takes_nothing(temporary: Path) -> None:
    """Where no file can be written, one sentence says so and nothing is left over."""
    limit = f"ulimit -f 0; exec {sys.executable} -m margod demo"
    env = {**os.environ, "TMPDIR": str(temporary)}
    demo = subprocess.run(["/bin/sh", "-c", limit], env=env, capture_output=True, timeout=BOUND, check=False)
    assert demo.returncode == 1
    assert b"The demo failed: " in demo.stdout
    assert b"Traceback" not in demo.stdout + demo.stderr
    assert list(temporary.iterdir()) == []


def test_a_long_path(temporary: Path) -> None:
    """A TMPDIR whose path is too long for a socket is got round."""
    long = temporary / ("d" * 90)
    long.mkdir()
    code, out = piped(long, "--approval", "auto")
    assert code == 0, out
    assert list(long.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("--reject", "--like", "sandbox-2026"),
        ("--reject", "--approval", "auto"),
        ("--reject", "--agent"),
        ("--protocol", "token", "--agent"),
        ("--protocol", "token", "--like", "sandbox-2025"),
    ],
)
def test_usage(temporary: Path, arguments: tuple[str, ...]) -> None:
    """What cannot be shown is exit code 2 before anything is started."""
    code, out = piped(temporary, *arguments)
    assert code == 2
    assert out.startswith(f"margod demo: {arguments[0]}")


def test_light_parser() -> None:
    """The command's parser imports nothing of the demo itself."""
    code = (
        "import sys; from margod.cli import main; main(['demo', '--help']);"
        "sys.exit(any(n in sys.modules for n in ('margod.demo', 'asyncio', 'cryptography', 'margod.devwfm')))"
    )
    subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, timeout=BOUND, check=True)


@pytest.mark.parametrize(
    ("typed", "meant"), [("y\n", True), ("YES\n", True), ("n\n", False), ("\x04", False), ("yo\n", False), ("y", None)]
)
def test_answers(typed: str, meant: bool | None) -> None:
    """Only y and yes approve; Ctrl-D is no; a line that is not ended in time is no answer."""
    person, terminal = pty.openpty()
    try:
        with os.fdopen(terminal, closefd=False) as source:
            typing = threading.Timer(0.1, os.write, (person, typed.encode()))
            typing.start()
            assert asking.answer(0.5 if meant is None else BOUND, source) is meant
            typing.join()
    finally:
        os.close(person)
        os.close(terminal)


def test_signals_wait_for_what_holds_them() -> None:
    """A signal between start and note of a process is raised after the note; a second one is passed over."""
    signals = Signals()
    noted = False
    with signals.handled(), pytest.raises(Stopped) as stopped:
        try:
            with signals.held():
                signal.raise_signal(signal.SIGTERM)
                noted = True
        finally:
            signal.raise_signal(signal.SIGINT)
    assert noted
    assert stopped.value.number == signal.SIGTERM


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        (("<6>accepted client_id=c1 step=enrol", "<7>request step=report"), True),
        (("<7>request step=report", "<6>accepted client_id=c1 step=enrol"), False),
        (("<6>accepted client_id=c2 step=enrol", "<7>request step=report"), False),
        ((), False),
    ],
)
def test_kept_before_report(tmp_path: Path, lines: tuple[str, ...], kept: bool) -> None:
    """The claim of step 7 is made only if the journal has it in this order and with this id."""
    journal = tmp_path / "journal"
    journal.write_text("\n".join(lines))
    assert facts.kept_before_report(journal, "c1") is kept


def test_unsigned_is_seen() -> None:
    """A request without signature is not called signed."""
    fields = [["signature-input", 'sig1=("@method" "content-digest");created=1']]
    assert facts.covered({"fields": fields}) == ""
    assert facts.covered({"fields": [*fields, ["signature", "sig1=:AA==:"]]}) == "@method content-digest"
