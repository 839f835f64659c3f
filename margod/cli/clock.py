"""`margod clock show|reset`: what this device's clock is worth, and the way out where it was wrong and is right now."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Final

from margod.cli.options import add_socket_options, client
from margod.cli.words import clock, shown
from margod.cli.wrapping import say

if TYPE_CHECKING:
    from margod.cli.options import Subparsers

_CODES: Final = "Exit codes: 0 done, 1 daemon not reachable, 2 usage."


def add_parser(subparsers: Subparsers) -> None:
    """Add the command and its two."""
    about = "show what the clock is worth, or forget what was learnt about it"
    parser = subparsers.add_parser("clock", help=about, epilog=_CODES)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser(
        "show", help="show whether the clock can be right, and how far it is from the WFM's", epilog=_CODES
    )
    show.add_argument("--json", action="store_true", help="print that part of the status document")
    show.set_defaults(run=_show)
    reset = actions.add_parser(
        "reset",
        help="forget the time that the clock may not fall behind",
        description="Forget the time that the clock may not fall behind, and the WFM's time. For a device whose clock "
        "was ahead and is right now. The clock itself is not set.",
        epilog=_CODES,
    )
    reset.set_defaults(run=_reset)
    for action in (show, reset):
        add_socket_options(action)


def _show(args: argparse.Namespace) -> int:
    status = client(args).status()
    if args.json:
        print(json.dumps(status["clock"], indent=2))
    else:
        print(shown(clock(status)))
        print(f"never behind {shown(status['clock']['floor'])}")
    return 0


def _reset(args: argparse.Namespace) -> int:
    say(shown(client(args, admin=True).reset_clock()["message"]))
    return 0
