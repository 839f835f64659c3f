"""`margod identity show|export|rotate|adopt-hardware`: the device's certificate, from the daemon or as stored."""

from __future__ import annotations

import argparse
import base64
import binascii
import errno
import json
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from margod.cli.exits import USAGE
from margod.cli.options import add_socket_options, client
from margod.cli.words import shown
from margod.cli.wrapping import say
from margod.client import IdentityDocument
from margod.model.errors import DaemonUnreachable, IdentityError, MargodError, StateUnusable
from margod.model.reasons import (
    IDENTITY_INVALID,
    NO_CANDIDATE,
    NO_IDENTITY,
    NOT_PERMITTED,
    OUTPUT_FAILED,
    STATE_UNUSABLE,
)
from margod.model.text import timestamp

if TYPE_CHECKING:
    from margod.cli.options import Subparsers

_CODES = "Exit codes: 0 done, 1 there is none, it cannot be read or not be written, 2 usage."
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def add_parser(subparsers: Subparsers) -> None:
    """Add the command and its four."""
    parser = subparsers.add_parser("identity", help="show, export or rotate this device's certificate", epilog=_CODES)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser(
        "show", help="show fingerprint, subject and validity", description="Show the identity.", epilog=_CODES
    )
    show.add_argument("--json", action="store_true", help="print the identity document")
    show.set_defaults(run=_show)
    export = actions.add_parser(
        "export",
        help="print the certificate, to upload it by hand",
        description="Print the certificate: as PEM with its chain, or the device's own as DER or base64 of DER.",
        epilog=_CODES,
    )
    export.add_argument("--format", choices=("pem", "der", "base64"), default="pem", help="default: pem")
    export.add_argument("--out", metavar="FILE", type=Path, help="write to FILE instead of standard output")
    export.set_defaults(run=_export)
    rotate = actions.add_parser(
        "rotate",
        help="have a new key and certificate onboarded, to take the place of the present ones",
        description="Have a new key and certificate (or those of identity.key_file, replaced before) onboarded as a "
        "new device. The present ones stay in force until the WFM has accepted the new, and are kept in the archive.",
    )
    rotate.add_argument("--abort", action="store_true", help="give up what was begun")
    rotate.set_defaults(run=_rotate)
    add_socket_options(rotate)
    adopt = actions.add_parser(
        "adopt-hardware",
        help="say that this is the same device with another board",
        description="Bind the stored identity to the hardware that it is on: the same device with another board or "
        "network card. Not for a copy of another device's disk: both would be the same device to the WFM.",
        epilog=_CODES,
    )
    adopt.set_defaults(run=_adopt_hardware)
    add_socket_options(adopt)
    for action in (show, export):
        add_socket_options(action)
        action.add_argument("--next", action="store_true", help="that of the rotation that is under way")
        action.add_argument(
            "--state-dir",
            metavar="DIR",
            type=Path,
            help="where to look when the daemon is down (default: state.directory)",
        )


def _show(args: argparse.Namespace) -> int:
    identity = _identity(args)
    if args.json:
        print(json.dumps(identity, indent=2))
        return 0
    rows = {
        "Fingerprint": identity["fingerprint"],
        "Key id": identity["key_id"],
        "Algorithm": identity["algorithm"],
        "Subject": identity["subject"],
        "Valid from": identity["not_before"],
        "Valid until": identity["not_after"],
        "Source": {"minted": "made by margod", "files": "given as files"}.get(identity["source"], identity["source"]),
    }
    for label, value in rows.items():
        print(f"{label:13}{shown(value)}")
    return 0


def _export(args: argparse.Namespace) -> int:
    if args.format == "der" and args.out is None and sys.stdout.isatty():
        print("margod: DER is not for a terminal; give --out FILE", file=sys.stderr)
        return USAGE
    pem = _identity(args)["certificate"]
    data = pem.encode() if args.format == "pem" else _first_der(pem)
    if args.format == "base64":
        data = base64.b64encode(data) + b"\n"
    if args.out is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return 0
    try:
        _write(args.out, data)
    except OSError as error:
        raise MargodError(OUTPUT_FAILED, f"{args.out} could not be written: {error.strerror}.") from error
    return 0


def _rotate(args: argparse.Namespace) -> int:
    daemon = client(args, admin=True)
    answer = daemon.abort_rotation() if args.abort else daemon.rotate()
    say(shown(answer["message"]))
    return 0


def _adopt_hardware(args: argparse.Namespace) -> int:
    say(shown(client(args, admin=True).adopt_hardware()["message"]))
    return 0


def _write(path: Path, data: bytes) -> None:
    """Write the file aside and put it in place at once. Root may be told to write where others can: follows no link.

    Raises OSError; what stood there before is then still there.
    """
    import tempfile  # as what follows: only for --out

    with suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            raise OSError(errno.EINVAL, "it is a link, or something else that is no regular file")
    handle, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(handle, "wb") as file:  # noqa: PTH123 - of a descriptor
            file.write(data)
            os.fchmod(handle, 0o644)  # a certificate is for everybody
        os.replace(aside, path)  # noqa: PTH105 - as the next line
    except OSError:
        with suppress(OSError):
            os.unlink(aside)  # noqa: PTH108 - a string it is
        raise


def _identity(args: argparse.Namespace) -> IdentityDocument:
    if args.next:
        following = client(args).identity(following=True)
        if following is None:
            raise IdentityError(NO_CANDIDATE)
        return following
    try:
        found = client(args).identity()
    except DaemonUnreachable as unreachable:
        found = _stored(state_directory(args), unreachable)
    if found is None:
        raise IdentityError(NO_IDENTITY)
    return found


def state_directory(args: argparse.Namespace) -> Path:
    """Return the directory of --state-dir, or the daemon's."""
    # systemd gives several directories separated by colons; the first is the daemon's.
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    return Path(args.state_dir or given or _configured_directory())


def _configured_directory() -> Path:
    """Return state.directory of the configuration, or its default where that cannot be read."""
    from margod.config import Config, Sources, load  # yaml: only needed with the daemon down
    from margod.model.errors import ConfigError

    try:
        return load(Sources.find(os.environ), os.environ, {}).config.state.directory
    except ConfigError:
        return Config().state.directory


def _stored(directory: Path, unreachable: DaemonUnreachable) -> IdentityDocument | None:
    """Return what the state directory holds, without changing it; None if there is no certificate in it."""
    from margod.identity import load  # heavy: cryptography, and only needed with the daemon down
    from margod.vault import peek

    try:
        if not directory.exists():
            raise MargodError(
                NO_IDENTITY, f"{unreachable.message} There is no state directory {directory}.", hint=unreachable.hint
            )
        records = peek(directory)
    except (PermissionError, StateUnusable) as error:
        if not isinstance(error, PermissionError) and not isinstance(error.__cause__, PermissionError):
            raise
        raise _without_rights(directory, unreachable) from error
    if "identity.crt" not in records:
        return None
    identity = load(records)
    return {
        "certificate": identity.chain_pem.decode("ascii"),
        "client_id": None,
        "wfm_url": None,
        "root_ca": None,
        "fingerprint": identity.fingerprint,
        "key_id": identity.signer.key_id,
        "algorithm": identity.signer.algorithm,
        "subject": identity.subject,
        "not_before": timestamp(identity.not_before),
        "not_after": timestamp(identity.not_after),
        "source": identity.source,
    }


def _without_rights(directory: Path, unreachable: DaemonUnreachable) -> MargodError:
    """Return that neither the daemon nor the state directory can be asked by this user, and what that user can do."""
    if unreachable.reason is NOT_PERMITTED:
        return MargodError(NOT_PERMITTED, f"{unreachable.message} Nor may it read {directory}.", hint=unreachable.hint)
    message = f"{unreachable.message} This user may not read {directory}."
    return StateUnusable(STATE_UNUSABLE, message, hint=f"Use root. {unreachable.hint}")


def _first_der(pem: str) -> bytes:
    body = pem.partition(_BEGIN)[2].partition(_END)[0]
    try:
        der = base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        der = b""
    if not der:
        raise IdentityError(IDENTITY_INVALID, "The daemon's certificate is not PEM.")
    return der
