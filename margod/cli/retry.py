"""`margod retry`: the next attempt now instead of when it is due."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from margod.cli.options import add_socket_options, client
from margod.cli.words import shown
from margod.cli.wrapping import say

if TYPE_CHECKING:
    from margod.cli.options import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "retry",
        help="bring the next attempt forward",
        description="Bring the next attempt forward. The daemon spreads attempts and keeps to what the WFM asked for.",
        epilog="Exit codes: 0 the daemon was told, 1 daemon not reachable, 2 usage.",
    )
    add_socket_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what the daemon makes of it; 0."""
    answer = client(args, admin=True).retry()
    say(shown(answer["message"]))
    if answer["next_attempt_at"]:
        print(f"Next attempt: {shown(answer['next_attempt_at'])}")
    return 0
