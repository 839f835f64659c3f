"""`margod reset`: end the enrolment and start again, perhaps with a new key, or clear the device for another owner."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Final

from margod.cli.exits import FAILED, USAGE
from margod.cli.options import add_socket_options, client
from margod.cli.words import shown
from margod.cli.wrapping import say

if TYPE_CHECKING:
    from margod.cli.options import Subparsers

_RESET: Final = """This device ends its enrolment and asks to be onboarded anew.
The enrolment is archived on this device; nothing brings it back by itself."""
_WIPE: Final = """This clears the state directory: key, certificate, enrolment, archives, quarantine.
Nothing brings them back. Files of /etc/margod stay."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "reset",
        help="end the enrolment and start again (root)",
        description="End the enrolment, archive it, and onboard anew at the configured WFM: with the same key and a "
        "new certificate over it, unless the certificate was given. The daemon has to run.",
        epilog="Exit codes: 0 done, 1 not done (the daemon is not reachable, the WFM does not confirm, or the answer "
        "to the question was no), 2 usage.",
    )
    parser.add_argument("--unregister", action="store_true", help="first remove this device at the WFM, or do nothing")
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--new-identity", action="store_true", help="make a new key too")
    either.add_argument(
        "--wipe",
        action="store_true",
        help="clear everything, as for a device that is sold, and stay so until restarted",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_socket_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ask, have it done, print what was done."""
    if not args.yes:
        if not sys.stdin.isatty():
            print("margod: reset asks before it does anything; without a terminal give --yes", file=sys.stderr)
            return USAGE
        if not _confirmed("wipe" if args.wipe else "reset", _WIPE if args.wipe else _RESET):
            print("margod: nothing was done", file=sys.stderr)
            return FAILED
    daemon = client(args, admin=True)
    answer = daemon.reset(unregister=args.unregister, new_identity=args.new_identity, wipe=args.wipe)
    say(shown(answer["message"]))
    return 0


def _confirmed(word: str, about: str) -> bool:
    print(about, file=sys.stderr)
    print(f"Type {word} to go on: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() == word
