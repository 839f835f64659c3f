"""`margod status`: what margod is doing, why, what happens next, and what a person can do."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from margod.cli import words
from margod.cli.options import add_socket_options, client
from margod.client import Client, StatusDocument, exit_code
from margod.model.errors import DaemonUnreachable, MargodError
from margod.model.reasons import NOT_PERMITTED
from margod.model.text import timestamp

if TYPE_CHECKING:
    from margod.cli.options import Subparsers

RECONNECT: Final = 1.0
"""Seconds between two looks for a daemon that is not there."""
_CLEAR: Final = "\x1b[H\x1b[2J\x1b[3J"


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "status",
        help="show what margod is doing",
        description="Show what margod is doing, why, and what happens next.",
        epilog="Exit codes: 0 enrolled, 1 daemon not reachable, 2 usage, 3 working on it, 4 waiting for a person at "
        "the WFM, 5 needs the operator here.",
    )
    parser.add_argument("--json", action="store_true", help="print the status document (schema 1)")
    parser.add_argument("--watch", action="store_true", help="show every change until Ctrl-C")
    add_socket_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the status once, or at every change; return the state's exit code."""
    daemon = client(args)
    if args.watch:
        return _watch(daemon, _printer(as_json=args.json))
    status = daemon.status()
    if args.json:
        print(json.dumps(status, indent=2))
    else:
        print(words.describe(status, colour=_colour(), now=time.time()), end="")
    return exit_code(status["state"], status["reason"])


def _watch(daemon: Client, show: Callable[[StatusDocument | DaemonUnreachable], None]) -> int:
    """Show changes until interrupted, also over restarts of the daemon."""
    while True:
        try:
            for status in daemon.events():
                show(status)
        except DaemonUnreachable as error:
            if error.reason is NOT_PERMITTED:
                raise
            show(error)
        time.sleep(RECONNECT)


def _printer(*, as_json: bool) -> Callable[[StatusDocument | DaemonUnreachable], None]:
    """Return what shows a change: a repainted screen on a terminal, else one line for each that differs."""
    last = ""
    terminal = sys.stdout.isatty() and not as_json

    def show(what: StatusDocument | MargodError) -> None:
        nonlocal last
        if terminal:
            if isinstance(what, MargodError):
                text = f"{words.shown(what.message)}\n{what.hint}\n"
            else:
                text = words.describe(what, colour=_colour())
        elif isinstance(what, MargodError):
            said = {"code": what.code, "message": what.message, "hint": what.hint}
            text = json.dumps({"error": said}) if as_json else f"unreachable {what.code}"
        else:
            text = json.dumps(what) if as_json else words.line(what)
        if text == last:
            return
        last = text
        if terminal:
            sys.stdout.write(_CLEAR + text)
        else:
            print(text if as_json else f"{timestamp(time.time())} {text}")
        sys.stdout.flush()

    return show


def _colour() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
