"""`margod deployments`: what the WFM wants to run on this device, as margod has mirrored and verified it."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from margod.cli.options import add_socket_options, client
from margod.cli.words import shown
from margod.cli.wrapping import say

if TYPE_CHECKING:
    from margod.cli.options import Subparsers

_EPILOG = (
    "Exit codes: 0 done, 1 not possible (daemon not reachable, nothing known yet, no such deployment), 2 usage. "
    "Needs the group margod-agent, or root."
)


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "deployments",
        help="what the WFM wants to run here",
        description="List what the WFM wants to run on this device, as margod has mirrored and verified it. margod "
        "installs nothing: the agent beside it does.",
        epilog=_EPILOG,
    )
    parser.add_argument("--json", action="store_true", help="print the document of the local API")
    add_socket_options(parser)
    parser.set_defaults(run=_list)
    commands = parser.add_subparsers(title="commands (default: the list)", metavar="COMMAND")
    show = commands.add_parser("show", help="print the YAML of one", description="Print its YAML.", epilog=_EPILOG)
    show.add_argument("id", type=_id, help="its id")
    add_socket_options(show, again=True)
    show.set_defaults(run=_show)
    says = "Say that this version of the desired state is what the device works by, as its agent does."
    adopted = commands.add_parser("adopted", help="say which version is adopted", description=says, epilog=_EPILOG)
    adopted.add_argument("version", type=int, help="its manifestVersion")
    add_socket_options(adopted, again=True)
    adopted.set_defaults(run=_adopted)
    says = "Have the next desired state taken whatever its version is, once, within ten minutes; ask for it now. "
    says += "For a WFM whose versions went back (manifest-rolled-back), or a Git history that was rewritten "
    says += "(git-rewound): find out first why they did. Needs root."
    accept = commands.add_parser("accept", help="let its version go back (root)", description=says, epilog=_EPILOG)
    add_socket_options(accept, again=True)
    accept.set_defaults(run=_accept)


def _id(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("an empty id")
    return text


def _list(args: argparse.Namespace) -> int:
    """Print one line for each deployment; 0."""
    found = client(args, agent=True).deployments()
    if args.json:
        print(json.dumps(found, indent=2))
        return 0
    adopted = "nothing adopted yet" if found["adopted"] is None else f"adopted: {found['adopted']}"
    say(f"Manifest version {found['manifestVersion']} of {shown(found['fetched_at'])}, {adopted}", 2)
    if found.get("commit"):
        say(f"Commit {shown(str(found['commit']))}", 2)
    for entry in found["deployments"]:
        say(f"  {shown(entry['deploymentId']):44}  {shown(entry['digest'])[:27]}...", 4)
    if not found["deployments"]:
        print("Nothing is to run here.")
    return 0


def _show(args: argparse.Namespace) -> int:
    """Print the YAML, byte for byte; 0."""
    sys.stdout.buffer.write(client(args, agent=True).deployment(args.id))
    return 0


def _adopted(args: argparse.Namespace) -> int:
    """Print what came of it; 0."""
    print(f"Adopted: {client(args, agent=True).adopted(args.version)['adopted']}")
    return 0


def _accept(args: argparse.Namespace) -> int:
    """Print what holds now; 0."""
    say(shown(client(args, admin=True).accept_deployments()["message"]))
    return 0
