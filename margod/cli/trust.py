"""`margod trust show|accept|forget|pin`: the root CA that the WFM is verified with, and a person's word on it."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from margod.cli.options import add_socket_options, client
from margod.cli.words import shown
from margod.cli.wrapping import say
from margod.model.errors import TrustError
from margod.model.reasons import NO_ANCHOR
from margod.model.text import duration

if TYPE_CHECKING:
    from margod.cli.options import Subparsers
    from margod.client import StatusDocument

_CODES: Final = "Exit codes: 0 done, 1 it cannot be done, or daemon not reachable, 2 usage."
_SOURCES: Final = {
    "ca_file": "the file of trust.ca_file",
    "pin": "downloaded and compared with trust.pin",
    "system": "the system's CA store, and the download it vouched for",
    "accepted": "downloaded and accepted by a person",
    "first_use": "downloaded and taken unseen (trust.first_use: accept)",
    "none": "nowhere yet",
}
_AWAITED: Final = {
    "pin": "to be downloaded and compared with trust.pin",
    "system": "to be downloaded by the word of the system's CA store",
    "first_use": "to be downloaded (trust.first_use)",
}
"""While there is no root CA."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command and its four."""
    parser = subparsers.add_parser("trust", help="show, accept, forget or pin the WFM's root CA", epilog=_CODES)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    about = "show the root CA, where it comes from, and what is offered"
    show = actions.add_parser("show", help=about, description=about, epilog=_CODES)
    show.add_argument("--json", action="store_true", help="print that part of the status document")
    show.set_defaults(run=_show)
    accept = actions.add_parser(
        "accept",
        help="take the offered root CA that you have compared",
        description="Take an offered or staged root CA. Compare its fingerprint with the one that the "
        "WFM's operator gives over another way: whoever sits on the network can offer one.",
        epilog=_CODES,
    )
    accept.add_argument("fingerprint", type=_fingerprint, help="SHA-256 of the certificate, hex, colons allowed")
    accept.set_defaults(run=_accept)
    about = "drop the root CA that was downloaded, and download it anew"
    forget = actions.add_parser("forget", help=about, description=about, epilog=_CODES)
    forget.set_defaults(run=_forget)
    pin = actions.add_parser(
        "pin",
        help="print the lines for trust.pin",
        description="Print the lines for trust.pin, of the root CA in use or of those in FILE.",
        epilog=_CODES,
    )
    pin.add_argument("file", nargs="?", type=Path, metavar="FILE", help="certificates, PEM or DER")
    pin.add_argument("--key", action="store_true", help="pin the public key: holds for a renewed certificate too")
    pin.set_defaults(run=_pin)
    for action in (show, accept, forget, pin):
        add_socket_options(action)


def _show(args: argparse.Namespace) -> int:
    status = client(args).status()
    trust = status["trust"]
    if args.json:
        print(json.dumps(trust, indent=2))
        return 0
    sources = _SOURCES if trust["anchors"] else {**_SOURCES, **_AWAITED}
    print(f"{'Source':13}{sources.get(trust['source'], shown(trust['source']))}")
    labels = (("Root CA", trust["anchors"]), ("Offered CA", trust["offered"]), ("Retired CA", trust["retired"]))
    for label, anchors in labels:
        for anchor in anchors:
            print(f"{label:13}{shown(anchor['subject'])}")
            print(f"{'':13}valid {anchor['not_before'][:10]} to {anchor['not_after'][:10]}")
            print(f"{'':13}{shown(anchor['fingerprint'])}")
            if anchor["spki"]:
                print(f"{'':13}spki:{shown(anchor['spki'])}")
    for root in trust["staged"]:
        print(f"{'Staged CA':13}{shown(root['subject'])}")
        print(f"{'':13}offered since {root['since'][:10]}; {_left(root['seconds_left'])}")
        print(f"{'':13}{shown(root['fingerprint'])}")
    if trust["presented"]:
        print(f"{'Presented':13}by whoever answers in the WFM's place: {shown(trust['presented']['subject'])}")
        print(f"{'':13}issued by {shown(trust['presented']['issuer'])}")
        print(f"{'':13}{shown(trust['presented']['fingerprint'])}")
    if trust["staged"]:
        print("\nA staged root CA becomes one in use by itself, or, once you have compared it, by:")
        print("  margod trust accept FINGERPRINT")
    if trust["retired"]:
        print("\nAnother root CA had taken the place of a retired one. If the WFM has gone back to it:")
        print("  margod trust accept FINGERPRINT")
    if trust["offered"]:
        print(f"\nOffered by {shown(status['wfm']['url'] or '')}, vouched for by nobody. Compare, then:")
        print("  margod trust accept FINGERPRINT")
    return 0


def _left(seconds: int) -> str:
    if seconds == 0:
        return "waits for the WFM to present a chain under it"
    return f"to be offered for {duration(seconds)} more"


def _accept(args: argparse.Namespace) -> int:
    say(shown(client(args, admin=True).accept_trust(args.fingerprint)["message"]))
    return 0


def _forget(args: argparse.Namespace) -> int:
    say(shown(client(args, admin=True).forget_trust()["message"]))
    return 0


def _pin(args: argparse.Namespace) -> int:
    rows = _of_status(client(args).status()) if args.file is None else _of_file(args.file)
    if not rows:
        raise TrustError(NO_ANCHOR, "There is no root CA in use yet.", hint="Name a file: `margod trust pin FILE`.")
    pins = [(f"spki:{spki}" if args.key else fingerprint, subject) for fingerprint, spki, subject in rows]
    if "spki:" in dict(pins):
        raise TrustError(NO_ANCHOR, "The public key cannot be read.", hint="Pin the certificate: leave out --key.")
    print("trust:\n  pin:")
    for value, subject in pins:
        print(f'    - "{shown(value)}"  # {shown(subject)}')
    return 0


def _of_status(status: StatusDocument) -> list[tuple[str, str, str]]:
    return [(each["fingerprint"], each["spki"] or "", each["subject"]) for each in status["trust"]["anchors"]]


def _of_file(path: Path) -> list[tuple[str, str, str]]:
    import time

    from margod.trust import is_root, read_ca_file  # cryptography: for files only

    anchors = [anchor for anchor in read_ca_file(path, time.time(), setting="") if is_root(anchor)]
    if not anchors:
        raise TrustError(
            NO_ANCHOR, f"{shown(str(path))} holds no certificate that signed itself.", hint="Name the root CA's file."
        )
    return [(anchor.fingerprint, anchor.spki, anchor.subject) for anchor in anchors]


def _fingerprint(text: str) -> str:
    bare = text.replace(":", "").lower()
    if not re.fullmatch("[0-9a-f]{64}", bare):
        raise argparse.ArgumentTypeError("expected 64 hexadecimal digits, colons allowed")
    return bare
