"""`margod discover`: which WFMs announce themselves on the network, and choosing one of them."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Final

from margod.cli.options import add_socket_options, client, length_of_time
from margod.cli.words import shown

if TYPE_CHECKING:
    from margod.cli.options import Subparsers
    from margod.discovery import Candidate

NOTHING: Final = 3
"""Nobody announces himself (yet)."""


LONGEST: Final = 300.0
"""Seconds that may be asked for."""


def _moment(text: str) -> float:
    seconds = length_of_time(text)
    if seconds > LONGEST:
        raise argparse.ArgumentTypeError("5m is the longest")
    return seconds


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "discover",
        help="list the WFMs on the network, choose one",
        description="List the WFMs that announce themselves on the network, whether the daemon runs or not. What they "
        "say of themselves is a location and no reason to trust them.",
        epilog="Exit codes: 0 one or more were seen (or chosen), 1 daemon not reachable, 2 usage, 3 none was seen.",
    )
    parser.add_argument("--use", metavar="NAME", help="take the WFM of this instance name from now on (root)")
    parser.add_argument("--json", action="store_true", help="print a list of objects")
    parser.add_argument("--timeout", type=_moment, default=3.0, metavar="TIME", help="how long to look: 3s")
    add_socket_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what is seen, or have the daemon take one."""
    if args.use is not None:
        print(shown(client(args, admin=True).use(args.use)["message"]))
        return 0
    found = _look(args.timeout)
    if args.json:
        print(json.dumps([candidate.document() for candidate in found], indent=2))
    for candidate in () if args.json else found:
        print(shown(candidate.instance))
        print(f"    {candidate.url()}")
        print(f"    {', '.join(candidate.addresses)}")
        if candidate.name:
            print(f'    "{shown(candidate.name)}"')
    if not found:
        print("margod: no WFM announces itself on the local network", file=sys.stderr)
    return 0 if found else NOTHING


def _look(seconds: float) -> tuple[Candidate, ...]:
    import asyncio  # heavy, as zeroconf and yaml: not for --use and --help

    from margod.config import Config, Sources, load
    from margod.discovery.browser import look
    from margod.model.errors import ConfigError

    try:
        service_type = load(Sources.find(os.environ), os.environ, {}).config.discovery.type
    except ConfigError:
        service_type = Config().discovery.type
    return asyncio.run(look(service_type, seconds))
