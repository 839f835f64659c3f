"""`margod reload`: the configuration read anew."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Final

from margod.cli.exits import CONFIG
from margod.cli.options import add_socket_options, client
from margod.cli.words import shown

if TYPE_CHECKING:
    from margod.cli.options import Subparsers

_RESULTS: Final = {
    "reloaded": "The new configuration is in use.",
    "unchanged": "The configuration has not changed.",
    "kept": "The configuration has errors; the one before stays in use.",
}


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "reload",
        help="read the configuration anew",
        description="Have the daemon read its configuration anew.",
        epilog="Exit codes: 0 done, 1 daemon not reachable, 78 the configuration has errors and the old one stays.",
    )
    add_socket_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what came of it and every problem; 0, or 78 when the old configuration was kept."""
    answer = client(args, admin=True).reload()
    kept = answer["result"] == "kept"
    out = sys.stderr if kept else sys.stdout
    print(_RESULTS.get(answer["result"], shown(answer["result"])), file=out)
    for problem in answer["problems"]:
        print(f"  {shown(problem)}", file=out)
    return CONFIG if kept else 0
