"""`margod prepare-image`: leave a disk image without identity, so that each copy of it makes its own."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from margod.cli.exits import FAILED, USAGE
from margod.cli.identity import state_directory
from margod.cli.words import shown
from margod.model.errors import StateUnusable
from margod.model.reasons import STATE_UNUSABLE

if TYPE_CHECKING:
    from margod.cli.options import Subparsers

_ABOUT: Final = """This clears {directory}: key, certificate, enrolment, archives, quarantine.
Nothing brings them back. Files of /etc/margod stay."""
_REST: Final = """Left as it is: /etc/margod (a key that identity.key_file names is in every copy), the journal, and
/etc/machine-id (empty it: serial numbers are derived from it where the hardware has none)."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "prepare-image",
        help="leave a disk image without identity, before it is copied (root)",
        description="Clear the state directory, with the daemon stopped, before the disk is copied to other devices. A "
        "device that starts from the copy makes a key of its own. The configuration stays.",
        epilog="Exit codes: 0 done, 1 not done (no right to, or the answer was no), 2 usage, 75 margod is running.",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--state-dir",
        metavar="DIR",
        type=Path,
        help="what to clear (default: state.directory); that of an image is below its mount",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ask, clear, print what was removed."""
    directory = state_directory(args)
    if not args.yes:
        if not sys.stdin.isatty():
            print("margod: prepare-image asks first; without a terminal give --yes", file=sys.stderr)
            return USAGE
        print(_ABOUT.format(directory=shown(str(directory))), file=sys.stderr)
        print("Type prepare to go on: ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip() != "prepare":
            print("margod: nothing was done", file=sys.stderr)
            return FAILED
    removed = _clear(directory)
    what = ", ".join(removed) if removed else "nothing: it was empty"
    print(f"Removed from {shown(str(directory))}: {shown(what)}.\n{_REST}")
    return 0


def _clear(directory: Path) -> list[str]:
    """Clear it as its owner: what root makes there, the daemon could not use; and no link leads root astray."""
    from margod.vault import clear

    try:
        found = directory.lstat()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StateUnusable(STATE_UNUSABLE, f"{directory} cannot be reached: {error.strerror}.") from error
    if os.geteuid() == 0 and found.st_uid != 0:
        os.setegid(found.st_gid)
        os.seteuid(found.st_uid)
    return clear(directory)
