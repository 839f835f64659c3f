"""`margod wait`: until the device has come to a state; for scripts and units that are ordered after it."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Final

from margod.cli import words
from margod.cli.options import add_socket_options, client, length_of_time
from margod.client import EXIT_CODES, Client, RequestRefused, StatusDocument, exit_code
from margod.model.errors import DaemonUnreachable, MargodError
from margod.model.reasons import DAEMON_UNREACHABLE, NOT_PERMITTED

if TYPE_CHECKING:
    from margod.cli.options import Subparsers

RECONNECT: Final = 0.5
"""Seconds between two looks for a daemon that is not there."""
_LEAST: Final = 1.0
"""Seconds that are waited at least, so that `--timeout 0s` still hears the first answer."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "wait",
        help="wait until the device is enrolled",
        description="Wait until the device has come to a state. A daemon that is down or restarts is waited for too.",
        epilog="Exit codes: 0 the state was reached; after the timeout as `margod status`: 1 daemon not reachable, 3 "
        "working on it, 4 waiting for a person at the WFM, 5 needs the operator here (0 if enrolled).",
    )
    parser.add_argument(
        "--for", dest="state", required=True, choices=list(EXIT_CODES), metavar="STATE", help="such as enrolled"
    )
    parser.add_argument("--timeout", type=length_of_time, metavar="TIME", help="such as 30s or 5m (default: for ever)")
    add_socket_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Return 0 when the state is reached, else after the timeout the exit code of where the device is."""
    deadline = None if args.timeout is None else time.monotonic() + max(args.timeout, _LEAST)
    last = _follow(client(args), args.state, deadline)
    if isinstance(last, MargodError):
        raise last
    print(words.line(last))
    if last["state"] == args.state:
        return 0
    print(f"margod: {args.state} was not reached in time: {words.shown(last['message'])}", file=sys.stderr)
    return exit_code(last["state"], last["reason"])


def _follow(daemon: Client, state: str, deadline: float | None) -> StatusDocument | MargodError:
    """Return the first status with `state`, or the last that was heard, or why there is none, at the deadline."""
    last: StatusDocument | MargodError | None = None
    while True:
        try:
            for status in daemon.events(_left(deadline)):
                last = status
                if status["state"] == state:
                    return status
        except (DaemonUnreachable, RequestRefused) as error:
            if error.reason is NOT_PERMITTED:
                raise
            last = error
        left = _left(deadline)
        if left is not None and left <= 0:
            return last or DaemonUnreachable(DAEMON_UNREACHABLE, "The daemon did not say in time what it is doing.")
        time.sleep(RECONNECT if left is None else min(RECONNECT, left))


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else deadline - time.monotonic()
