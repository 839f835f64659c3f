"""Tests of margod.service.journal and margod.service.foreign: what a line looks like, and what cannot spoil it."""

from __future__ import annotations

import fcntl
import io
import logging
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from margod.model import reasons
from margod.model.errors import StateInUse
from margod.service import foreign, journal

log = structlog.get_logger()


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    """Give structlog and the root logger back as they were."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[str]:
    """Return what was written, every line of it complete."""
    text = stream.getvalue()
    assert text == "" or text.endswith("\n")
    return text.split("\n")[:-1]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say yes."""
        return True


class Hostile:
    """A value that cannot say what it is."""

    def __str__(self) -> str:
        """Fail."""
        raise RuntimeError("no")


def test_a_line_is_the_event_then_its_keys_in_order_behind_the_priority() -> None:
    """What scripts and people search for stands where they expect it."""
    out = io.StringIO()
    journal.configure("debug", "logfmt", out, env={})
    log.warning("wfm-unreachable", code="dns-failed", attempt=3, detail="no such host", empty="", url=None, ok=True)
    for level in ("debug", "info", "error", "critical"):
        getattr(log, level)("event", since=1.5)
    assert lines(out) == [
        '<4>wfm-unreachable code=dns-failed detail="no such host" attempt=3 empty="" ok=true url=null',
        "<7>event since=1.5",
        "<6>event since=1.5",
        "<3>event since=1.5",
        "<2>event since=1.5",
    ]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("two\nlines", r'"two\nlines"'),
        ("a\r\x00\x1b[31m\x7f", r'"a\r\x00\x1b[31m\x7f"'),
        ("\u202eevil\u2028\u200b", r'"\u202eevil\u2028\u200b"'),
        ("\ud800", r'"\ud800"'),
        ('say "yes" \\', r'"say \"yes\" \\"'),
        ("a=b", '"a=b"'),
        ("Zürich", "Zürich"),
        (b"\xff\n", r'"\\xff\n"'),
        (["x", 1], "x,1"),
        ((), '""'),
        ([Hostile()], "<list>"),
        (OSError(28, "full"), '"OSError: [Errno 28] full"'),
        (ValueError(), "ValueError"),
        (Hostile(), "<Hostile>"),
        ("x" * 1000, "x" * 499 + "…"),
    ],
)
def test_a_value_stays_on_one_line_whatever_it_holds(value: object, written: str) -> None:
    """Line breaks, escapes, bidi controls and quotes cannot forge a line or steer a terminal; long values are cut."""
    for fmt in ("logfmt", "console"):
        out = io.StringIO()
        journal.configure("info", fmt, out, env={})
        log.info("event", value=value)
        (line,) = lines(out)
        assert line.endswith(f"event value={written}")


def test_an_event_or_key_with_a_line_break_stays_on_one_line() -> None:
    """Even a careless event name cannot make two lines."""
    out = io.StringIO()
    journal.configure("info", "logfmt", out, env={})
    log.info("a\nb", **{"k\n": 1})
    assert lines(out) == [r"<6>a\nb k\n=1"]


@pytest.mark.parametrize("level", ["info", "debug"])
def test_an_exception_is_type_and_message_and_never_a_traceback(level: str) -> None:
    """At level debug the frames are named on the same line; at info not at all."""
    out = io.StringIO()
    journal.configure(level, "logfmt", out, env={})
    try:
        raise StateInUse(reasons.STARTING, "another margod\nholds it")
    except StateInUse as error:
        log.exception("state-in-use")
        log.error("state-in-use", exc_info=error)
        log.error("state-in-use", exc_info=(type(error), error, error.__traceback__))
    for line in lines(out):
        assert line.startswith(r'<3>state-in-use error="StateInUse: another margod\nholds it"')
        assert "Traceback" not in line
        assert ("test_journal.py" in line) == (level == "debug")
    assert len(lines(out)) == 3


def test_levels_below_the_wanted_one_are_left_out_and_a_reload_changes_that() -> None:
    """A module-level logger that has already spoken follows a new configuration."""
    out = io.StringIO()
    journal.configure("warning", "logfmt", out, env={})
    log.info("first")
    journal.configure("info", "logfmt", out, env={})
    log.info("second")
    assert lines(out) == ["<6>second"]


def test_a_terminal_gets_colours_and_no_priority_unless_no_color() -> None:
    """A person sees level and time; NO_COLOR is heeded; logfmt on a terminal has no prefix."""
    shown = {}
    for name, fmt, env in (("plain", "auto", {"NO_COLOR": "1"}), ("coloured", "auto", {}), ("logfmt", "logfmt", {})):
        out = Terminal()
        journal.configure("info", fmt, out, env=env)
        log.warning("event", key="v")
        (shown[name],) = lines(out)
    assert shown["plain"].endswith(" warning  event key=v")
    assert "\x1b" not in shown["plain"]
    assert "\x1b[33m" in shown["coloured"]
    assert shown["logfmt"] == "event key=v"


def test_the_journal_is_known_by_its_device_and_inode() -> None:
    """JOURNAL_STREAM counts only when it names this very stream; then even the console format carries priorities."""
    ours, theirs = socket.socketpair()
    with ours, theirs, ours.makefile("w") as out:
        status = os.fstat(ours.fileno())
        env = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        assert journal.is_journal(out, env)
        assert not journal.is_journal(out, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"})
        assert not journal.is_journal(io.StringIO(), env)
        journal.configure("info", "console", out, env=env, journald="/nonexistent")
        log.error("event")
        assert theirs.recv(100).startswith(b"<3>")


def test_the_journal_gets_the_keys_as_fields(tmp_path: Path) -> None:
    """One datagram an entry, with priority and fields; what journald does not take goes to the stream, as a line."""
    ours, theirs = socket.socketpair()
    address = tmp_path / "journald"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald, ours, theirs, ours.makefile("w") as out:
        journald.bind(str(address))
        status = os.fstat(ours.fileno())
        env = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        journal.configure("info", "auto", out, env=env, journald=str(address))
        log.warning("attempt-failed", code="dns-failed", next_in="5s", detail="two\nlines", **{"a=b": "x" * 600})
        fields = dict(line.split("=", 1) for line in journald.recv(10_000).decode().splitlines())
        assert fields == {
            "PRIORITY": "4",
            "SYSLOG_IDENTIFIER": "margod",
            "MARGOD_EVENT": "attempt-failed",
            "MARGOD_CODE": "dns-failed",
            "MARGOD_NEXT_IN": "5s",
            "MARGOD_DETAIL": "two\\nlines",
            "MARGOD_A_B": "x" * 499 + "…",
            "MESSAGE": fields["MESSAGE"],
        }
        assert fields["MESSAGE"].startswith("attempt-failed code=dns-failed ")
        address.unlink()
        log.error("alone", code="x")
        assert theirs.recv(100) == b"<3>alone code=x\n"


@pytest.mark.parametrize(("level", "fmt"), [("loud", "auto"), ("info", "xml")])
def test_an_unknown_level_or_format_is_refused(level: str, fmt: str) -> None:
    """A caller's mistake is told, not guessed at."""
    with pytest.raises(ValueError, match="no such log level or format"):
        journal.configure(level, fmt, io.StringIO(), env={})


def test_a_log_that_cannot_be_written_harms_nobody() -> None:
    """A full disk (the kernel's own) and a closed stream are borne in silence."""
    out = open("/dev/full", "w", buffering=1)  # noqa: SIM115, PTH123 - closed below, and its close fails too
    journal.configure("info", "logfmt", out, env={})
    log.info("event")
    with pytest.raises(OSError, match="No space left"):
        out.close()
    log.info("event")


def test_a_reader_that_stops_reading_costs_lines_and_not_the_daemon() -> None:
    """Pins that a full pipe never blocks, and that the first line after it says how many were left out."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream, os.fdopen(reader, "rb", buffering=0) as reading:
        journal.configure("info", "logfmt", stream, env={})
        log = structlog.get_logger()
        for number in range(5_000):
            log.info("line", number=number, text="x" * 100)
        os.set_blocking(reader, False)
        seen = b"".join(iter(lambda: reading.read(65_536), None))
        log.info("after")
        last = reading.read(65_536).decode()
    written = seen.count(b"\n")
    assert 0 < written < 5_000
    assert last == f"<6>after left_out={5_000 - written}\n"


def test_a_long_line_does_not_wait_for_the_reader_of_a_pipe() -> None:
    """Pins that a line goes into the one page that a pipe has left, cut with a mark and with what was left out told."""
    reader, writer = os.pipe()
    size = fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ)
    with os.fdopen(writer, "w") as stream, os.fdopen(reader, "rb") as reading:
        journal.configure("info", "logfmt", stream, env={})
        os.write(writer, b"x" * size)
        log.info("left-out")
        assert len(reading.read(4096)) == 4096
        long = threading.Thread(target=lambda: log.info("long", **dict.fromkeys("abcdefghi", "ä" * 500)), daemon=True)
        long.start()
        long.join(60)
        waited = long.is_alive()
        reading.read(size - 4096)
        line = reading.readline()
    assert not waited
    assert line.startswith(b"<6>long a=")
    assert line.decode().endswith("ä… left_out=1\n")
    assert len(line) <= select.PIPE_BUF


def test_threads_may_log_at_the_same_time() -> None:
    """Pins that no line is lost or torn, and nothing raised, when several threads log into one pipe."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream, os.fdopen(reader, "rb") as reading:
        journal.configure("info", "logfmt", stream, env={})
        seen: list[bytes] = []
        drain = threading.Thread(target=lambda: seen.extend(reading))
        drain.start()
        failed: list[BaseException] = []

        def work() -> None:
            try:
                for number in range(2_000):
                    structlog.get_logger().info("line", number=number)
            except RuntimeError as error:
                failed.append(error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stream.close()
        drain.join()
    assert failed == []
    assert all(line.startswith(b"<6>line number=") for line in seen)
    left_out = sum(int(line.rpartition(b"left_out=")[2]) for line in seen if b"left_out=" in line)
    assert len(seen) + left_out >= 7_000


def test_libraries_are_heard_at_warning_on_one_line_and_not_without_end() -> None:
    """asyncio and aiohttp log through the standard library: their warnings come in our form, thirty a minute."""
    out = io.StringIO()
    journal.configure("info", "logfmt", out, env={})
    journal.configure("info", "logfmt", out, env={})
    library = logging.getLogger("some.library")
    library.info("chatter")
    try:
        raise OSError("gone")
    except OSError:
        library.exception("two\nlines of %s", "it")
    foreign.LibraryHandler().emit(logging.LogRecord("some.library", 30, "", 0, "bad %d", ("arguments",), None))
    assert lines(out) == [
        r'<3>library-message message="two\nlines of it" error="OSError: gone" library=some.library',
        '<4>library-message message="bad %d" library=some.library',
    ]
    for _ in range(1000):
        library.warning("again")
    assert sum("again" in line for line in lines(out)) < foreign.RATE


def test_the_gate_refills_and_says_how_many_were_left_out() -> None:
    """Half a minute without a word is worth fifteen lines, and the next line carries the count."""
    now = 0.0
    gate = foreign.Gate(clock=lambda: now)
    assert [gate.admit() for _ in range(foreign.RATE)] == [0] * foreign.RATE
    assert [gate.admit(), gate.admit()] == [None, None]
    now = 30.0
    assert gate.admit() == 2
    passed = [gate.admit() for _ in range(20)]
    assert passed.count(0) == foreign.RATE // 2 - 1


def test_the_interpreter_itself_writes_no_traceback() -> None:
    """Warnings, exceptions in destructors and threads, and one that ends the process are each one line."""
    program = """
import threading, warnings
from margod.service import foreign, journal
journal.configure("info", "auto")
foreign.route_interpreter()
class Bad:
    def __del__(self): raise RuntimeError("in a destructor")
Bad()
def fail(): raise RuntimeError("in a thread")
thread = threading.Thread(target=fail); thread.start(); thread.join()
warnings.warn("careful", RuntimeWarning)
raise RuntimeError("at the end")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    said = done.stderr.split("\n")[:-1]
    assert done.returncode == 1
    assert [line.split(" ")[0] for line in said] == [
        "<4>exception-ignored",
        "<3>thread-failed",
        "<4>library-message",
        "<2>unexpected-error",
    ]
    assert 'error="RuntimeError: in a destructor"' in said[0]
    assert 'error="RuntimeError: in a thread"' in said[1]
    assert "RuntimeWarning: careful" in said[2]
    assert said[3] == '<2>unexpected-error error="RuntimeError: at the end"'


def test_the_log_costs_no_heavy_import() -> None:
    """Neither the network nor the cryptography is loaded for a line of log, and rich is not in the environment."""
    program = "import sys; from margod.service import journal, notify, signals; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"aiohttp", "cryptography", "yaml", "attrs", "rich"}
