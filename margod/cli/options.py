"""The options that the commands for the local sockets share."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Final

from margod.client import Client, admin_socket, agent_socket, runtime_directory, status_socket

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def add_socket_options(parser: argparse.ArgumentParser, *, again: bool = False) -> None:
    """Add --socket and --runtime-dir; `again`: the command before it has them too, and what was given there holds."""
    where = parser.add_mutually_exclusive_group()
    default = argparse.SUPPRESS if again else None
    where.add_argument("--socket", metavar="PATH", default=default, help="the daemon's socket")
    where.add_argument(
        "--runtime-dir",
        metavar="DIR",
        default=default,
        help="directory of the sockets (MARGOD_RUNTIME_DIR, or /run/margod)",
    )


def client(args: argparse.Namespace, *, admin: bool = False, agent: bool = False) -> Client:
    """Return the client for the socket that the options name; `admin` for what changes something, `agent` for work."""
    if args.socket:
        return Client(args.socket)
    directory = runtime_directory(args.runtime_dir)
    if agent:
        return Client(agent_socket(directory))
    return Client(admin_socket(directory) if admin else status_socket(directory))


def agent_client(args: argparse.Namespace) -> Client:
    """Return the client for the socket of the programs that do the device's work."""
    return Client(args.socket or agent_socket(runtime_directory(args.runtime_dir)))


def length_of_time(text: str) -> float:
    """Return seconds from `30s`, `5m`, `1h`, `500ms`, `2d`; a type for argparse."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a length of time such as 30s, 5m or 1h")
    return float(found[1]) * _UNITS[found[2]]
