"""`margod git-token`: hand over an access token for the Git repository of the desired state."""

from __future__ import annotations

import argparse
import json
import sys
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from margod.cli.exits import USAGE
from margod.cli.options import add_socket_options, client
from margod.cli.words import shown
from margod.cli.wrapping import say
from margod.client import RequestRefused

if TYPE_CHECKING:
    from margod.cli.options import Subparsers

LIMIT: Final = 8_192
"""Bytes of a token."""
_EPILOG: Final = (
    "Exit codes: 0 taken, or kept for the next fetch; 1 refused or not possible; 2 usage. Needs root. The token is "
    "never an argument: those are everybody's to read."
)


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "git-token",
        help="hand over a Git access token",
        description="The access token by which margod reads the Git repository of the desired state (wfm.protocol: "
        "token).",
        epilog=_EPILOG,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    says = "Hand over a token, from a file or the standard input, one line. A fetch proves it before it takes the "
    says += "place of the one in use; until then that one stays."
    give = commands.add_parser("set", help="hand over a token (root)", description=says, epilog=_EPILOG)
    give.add_argument("file", nargs="?", default="-", metavar="FILE", help="the file; - (default): standard input")
    give.add_argument("--expires-at", metavar="TIME", help="when it ends, such as 2026-11-22T12:00:00Z")
    give.add_argument("--url", help="of the repository; without it the one that the WFM named")
    add_socket_options(give)
    give.set_defaults(run=_set)


def _set(args: argparse.Namespace) -> int:
    token = _read(args.file)
    if token is None:
        return 1
    given = {"accessToken": token, "expiresAt": args.expires_at, "url": args.url}
    body = json.dumps({name: value for name, value in given.items() if value is not None}).encode()
    try:
        say(shown(client(args, admin=True).hand_git_token(body)["message"]))
    except RequestRefused as error:
        if error.status != 400:
            raise
        say(f"margod: {shown(_of_the_command(error.message, args.file))}", 2, to=sys.stderr)
        return USAGE
    return 0


def _of_the_command(said: str, file: str) -> str:
    """Return what the daemon says of a field in the words of who gave it by an option or a file."""
    for field, given in (("accessToken", _called(file)), ("expiresAt", "--expires-at"), ("url", "--url")):
        if said.startswith(f"{field}: "):
            return given + said[len(field) :]
    return said


def _called(name: str) -> str:
    return "the standard input" if name == "-" else name


def _read(name: str) -> str | None:
    """Return the one line of a file; None, and say why, where it has none."""
    said = shown(_called(name))
    try:
        if name == "-" and sys.stdin.isatty():
            data = _asked()
        elif name == "-":
            data = sys.stdin.buffer.readline(LIMIT + 2)
        else:
            with Path(name).open("rb") as stream:
                data = stream.read(LIMIT + 2)
    except OSError as error:
        print(f"margod: {said}: {error.strerror or error}", file=sys.stderr)
        return None
    text = data.decode("ascii", "replace").strip()
    if problem := _problem(text):
        say(f"margod: {said}: {problem}", 2, to=sys.stderr)
        return None
    return text


def _asked() -> bytes:
    """Return what is typed: nothing at the end of the input (Ctrl-D), what no token holds for what is no text."""
    try:
        return getpass("Token (not shown): ").encode()
    except EOFError:
        print(file=sys.stderr)  # the cursor is still behind the question
        return b""
    except UnicodeError:
        print(file=sys.stderr)
        return b"\xff"


def _problem(text: str) -> str:
    """Return what is wrong with a token; nothing of it is repeated."""
    if not text:
        return "there is no token in it; it stands alone on one line"
    if len(text) > LIMIT:
        return f"a token has at most {LIMIT} characters, and this is longer"
    if len(text.splitlines()) > 1:
        return "there is more than one line in it; the token stands alone"
    if not text.isascii() or not text.isprintable() or " " in text:
        return "there are blanks in it, or characters that no token has"
    return ""
