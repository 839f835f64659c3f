"""`margod downtime start 4h|stop|show`: a time in which no request leaves this device, begun and ended by hand."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Final

from margod.cli.options import add_socket_options, client, length_of_time
from margod.cli.words import downtime, shown
from margod.cli.wrapping import wrapped

if TYPE_CHECKING:
    from margod.cli.options import Subparsers

SHORTEST: Final = 60.0
"""Seconds; the daemon has the same bounds."""
LONGEST: Final = 30 * 86_400.0

_CODES: Final = "Exit codes: 0 done, 1 daemon not reachable, 2 usage."


def add_parser(subparsers: Subparsers) -> None:
    """Add the command and its three."""
    about = "keep this device from sending anything for a while"
    parser = subparsers.add_parser("downtime", help=about, epilog=_CODES)
    actions = parser.add_subparsers(dest="action", metavar="start|stop|show", required=True)
    start = actions.add_parser(
        "start",
        help="begin one now",
        description="From now on and for so long no request leaves this device, and what cannot be reached is not "
        "reported; the local sockets go on. Over a restart too. Begun again, it ends so much after that. Downtimes "
        "that are planned stand in schedule.downtime.",
        epilog=_CODES,
    )
    start.add_argument("length", type=_length, metavar="TIME", help="such as 30m, 4h or 2d; 1m to 30d")
    start.set_defaults(run=_start)
    stop = actions.add_parser(
        "stop",
        help="end the one that was begun by hand",
        description="End the downtime that was begun by hand and go on at once. The windows of schedule.downtime stay.",
        epilog=_CODES,
    )
    stop.set_defaults(run=_stop)
    show = actions.add_parser("show", help="show whether it is downtime, and until when", epilog=_CODES)
    show.add_argument("--json", action="store_true", help="print that part of the status document")
    show.set_defaults(run=_show)
    for action in (start, stop, show):
        add_socket_options(action)


def _length(text: str) -> float:
    try:
        seconds = length_of_time(text)
    except argparse.ArgumentTypeError:
        seconds = 0.0
    if not SHORTEST <= seconds <= LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a length of time from 1m to 30d, such as 30m, 4h or 2d")
    return seconds


def _start(args: argparse.Namespace) -> int:
    print(wrapped(shown(client(args, admin=True).start_downtime(int(args.length))["message"]), 0))
    return 0


def _stop(args: argparse.Namespace) -> int:
    print(wrapped(shown(client(args, admin=True).stop_downtime()["message"]), 0))
    return 0


def _show(args: argparse.Namespace) -> int:
    found = client(args).status()["downtime"]
    words = shown(downtime(found) or "none, and none is planned")
    print(json.dumps(found, indent=2) if args.json else wrapped(words, 0))
    return 0
