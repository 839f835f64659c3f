"""The log of the daemon: one line per event on standard error, whatever the values hold.

    logfmt     <4>wfm-unreachable attempt=3 code=dns-failed     `<N>`: priority, sd-daemon(3); none on a terminal
    console    12:00:00 warning  wfm-unreachable  attempt=3 code=dns-failed                      coloured on a terminal

The event is a fixed word and stands first, its keys follow in one order. Where the line goes to journald, its keys go
along as fields (native.py). A log that cannot be written is dropped: the daemon's own work goes on.
"""

from __future__ import annotations

import os
import re
import select
import stat
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Final, TextIO

import structlog

from margod.service import native
from margod.service.foreign import route_libraries

Formatter = Callable[[str, str, Mapping[str, object]], str]
"""(level, event, data) -> the line without its end."""

VALUE_LIMIT: Final = 500
"""Characters of one value that are written, before escaping; journald itself cuts a line at 48 KiB."""

_FIRST: Final = ("state", "code", "message", "detail", "hint", "next_in")
_LEVELS: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_BARE: Final = re.compile(r"[^\s\"'=\\\[\]{}]+")
_COLOURS: Final = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}


def configure(
    level: str = "info",
    fmt: str = "auto",
    stream: TextIO | None = None,
    *,
    env: Mapping[str, str] | None = None,
    journald: str = native.JOURNALD,
) -> None:
    """Send structlog's events, and the WARNINGs of libraries, to `stream` (default: standard error).

    `level` is debug, info, warning or error; `fmt` is auto, logfmt or console, where auto is console on a terminal and
    logfmt elsewhere. `env` (default: the process's) is asked for JOURNAL_STREAM and NO_COLOR; where `stream` is the
    journal's, entries go to the socket `journald`. May be called again: loggers made before follow. Raises ValueError
    for another `level` or `fmt`.
    """
    if level not in _LEVELS or fmt not in {"auto", "logfmt", "console"}:
        raise ValueError(f"no such log level or format: {level!r}, {fmt!r}")
    env = os.environ if env is None else env
    out = sys.stderr if stream is None else stream
    terminal = _is_terminal(out)
    render = _console(terminal and not env.get("NO_COLOR")) if _wants_console(fmt, terminal) else _logfmt
    to_journal = is_journal(out, env)
    if to_journal or (render is _logfmt and not terminal):
        render = _prefixed(render)
    lines = _Lines(out, native.opened(journald) if to_journal else None)
    structlog.configure(
        processors=[_Renderer(render, with_frames=level == "debug", with_fields=to_journal)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=False,  # a reload may change the level, and module-level loggers must follow
    )
    route_libraries()


def is_journal(stream: TextIO, env: Mapping[str, str]) -> bool:
    """Return whether `stream` is the journal's own socket: JOURNAL_STREAM names its device and inode."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return env.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class _Entry(str):
    """A line, and the fields that journald is given with it."""

    fields: Mapping[str, str]


class _Lines:
    """The end of structlog's chain: writes a line and forgets it. One write per line; nothing is raised.

    A pipe or socket whose reader has stopped reading costs lines, never the daemon: what finds no room is left out, and
    the next line that finds room says how many were.
    """

    def __init__(self, stream: TextIO, journald: native.Native | None = None) -> None:
        self._stream = stream
        self._journald = journald
        self._left_out = 0
        self._poll = _poll(stream)
        self._is_pipe = self._poll is not None and stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode)
        self._turn = threading.Lock()  # the disk thread logs too, and a poll object bears one caller at a time

    def write(self, line: str) -> None:
        with self._turn:
            if self._journald is not None and isinstance(line, _Entry) and self._journald.send(line.fields):
                return
            try:
                if self._poll is not None and not self._poll.poll(0):
                    self._left_out += 1
                    return
                end = f" left_out={self._left_out}\n" if self._left_out else "\n"
                self._left_out = 0
                if self._is_pipe:
                    os.write(self._stream.fileno(), _for_pipe(line, end))
                else:
                    self._stream.write(line + end)
                    self._stream.flush()
            except (OSError, ValueError):
                return  # closed, full, or not encodable: there is nobody left to tell

    debug = info = warning = error = critical = msg = write


class _Renderer:
    """The one processor of structlog's chain: takes an event apart and gives the line."""

    def __init__(self, render: Formatter, *, with_frames: bool, with_fields: bool = False) -> None:
        self._render = render
        self._with_frames = with_frames
        self._with_fields = with_fields

    def __call__(self, _logger: object, method: str, event: MutableMapping[str, Any]) -> str:
        name = str(event.pop("event", ""))
        error = _exception(event.pop("exc_info", None))
        event.pop("stack_info", None)
        if error is not None:
            event.setdefault("error", error)
            if self._with_frames:
                event["frames"] = _frames(error)
        level = {"exception": "error", "warn": "warning", "fatal": "critical"}.get(method, method)
        line = self._render(level, _escaped(name), event)
        return _entry(line, level, _escaped(name), event) if self._with_fields else line


def _entry(line: str, level: str, event: str, data: Mapping[str, object]) -> _Entry:
    """Return the line with what journald is told of it; the priority is a field and no prefix there."""
    entry = _Entry(line)
    priority = str(_LEVELS.get(level, 6))
    keys = {native.name_of(str(key)): _escaped(_cut(_text(data[key]))) for key in data}
    about = {"PRIORITY": priority, "SYSLOG_IDENTIFIER": "margod", "MARGOD_EVENT": event}
    entry.fields = {**keys, **about, "MESSAGE": line.removeprefix(f"<{priority}>")}
    return entry


def _logfmt(_level: str, event: str, data: Mapping[str, object]) -> str:
    """Return `event key=value ...`, what an operator reads first standing first, then the other keys sorted."""
    return " ".join([event, *(f"{_escaped(key)}={_value(data[key])}" for key in sorted(data, key=_order))])


def _prefixed(render: Formatter) -> Formatter:
    """Return `render` with the priority in front, which journald takes off and keeps as PRIORITY."""
    return lambda level, event, data: f"<{_LEVELS.get(level, 6)}>{render(level, event, data)}"


def _console(coloured: bool) -> Formatter:
    """Return a formatter for a person at a terminal: local time and level in front."""

    def paint(code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if coloured else text

    def render(level: str, event: str, data: Mapping[str, object]) -> str:
        pairs = [f"{paint('36', _escaped(key))}={_value(data[key])}" for key in sorted(data, key=_order)]
        name = paint(_COLOURS.get(level, "0"), f"{level:<8}")
        return " ".join([paint("2", time.strftime("%H:%M:%S")), name, paint("1", event), *pairs])

    return render


def _wants_console(fmt: str, terminal: bool) -> bool:
    return fmt == "console" or (fmt == "auto" and terminal)


def _poll(stream: TextIO) -> select.poll | None:
    """Return what says whether a line can be written without waiting, or None for what cannot be asked."""
    try:
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLOUT)
    except (OSError, ValueError, AttributeError):
        return None
    return poll


def _for_pipe(line: str, end: str) -> bytes:
    """Return what finds room in a pipe that can be written to, which means PIPE_BUF bytes and no more."""
    data, last = line.encode(errors="backslashreplace"), end.encode()
    if len(data) + len(last) > select.PIPE_BUF:
        last = "…".encode() + last
        data = data[: select.PIPE_BUF - len(last)].decode(errors="ignore").encode()  # no half of a letter
    return data + last


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (OSError, ValueError):
        return False


def _order(key: str) -> tuple[int, str]:
    return (_FIRST.index(key) if key in _FIRST else len(_FIRST), key)


def _value(value: object) -> str:
    """Return `value` as logfmt writes it: bare where that is unambiguous, else in double quotes with escapes."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = _cut(_text(value))
    if _BARE.fullmatch(text) and text.isprintable():
        return text
    return '"' + _escaped(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def _cut(text: str) -> str:
    return text if len(text) <= VALUE_LIMIT else text[: VALUE_LIMIT - 1] + "…"


def _text(value: object) -> str:
    """Return `value` in words: an exception as type and message, a list with commas. One that cannot does no harm."""
    try:
        if isinstance(value, list | tuple):
            return ",".join(map(str, value[:VALUE_LIMIT]))
        if isinstance(value, BaseException):
            return f"{type(value).__name__}: {value}".removesuffix(": ")
        return value[: 2 * VALUE_LIMIT].decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    except Exception:
        return f"<{type(value).__name__}>"


def _escaped(text: str) -> str:
    """Return `text` with every control, direction, separator and surrogate character written as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _exception(exc_info: object) -> BaseException | None:
    """Return the exception that structlog's `exc_info` means: True, an exception, a triple, or nothing."""
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return exc_info[1] if isinstance(exc_info[1], BaseException) else None
    return sys.exc_info()[1] if exc_info else None


def _frames(error: BaseException) -> str:
    """Return where `error` was raised, innermost first, on one line: for level debug alone."""
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    return " < ".join(f"{Path(f.filename).name}:{f.lineno}:{f.name}" for f in reversed(frames))
