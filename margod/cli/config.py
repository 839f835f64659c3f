"""`margod config check | show | schema`: the configuration as a person asks about it. Needs no daemon.

Exit codes: 0 it holds; 78 it does not (sysexits' EX_CONFIG, as the daemon's own).
"""

from __future__ import annotations

import argparse
import io
import sys
from typing import TYPE_CHECKING

from margod.cli.exits import CONFIG
from margod.cli.wrapping import wrapped

if TYPE_CHECKING:
    from margod.cli.options import Subparsers
    from margod.config import Loaded
    from margod.model.errors import ConfigError


_CODES = "Exit codes: 0 it holds, 2 usage, 78 it does not."


def add_parser(subparsers: Subparsers) -> None:
    """Add `config` and what is below it."""
    config = subparsers.add_parser("config", help="check or show the configuration", epilog=_CODES)
    actions = config.add_subparsers(dest="action", required=True, metavar="check|show|schema")
    for name, run, about in (
        ("check", run_check, "say everything that is wrong with the configuration"),
        ("show", run_show, "print every effective value and where it comes from"),
    ):
        action = actions.add_parser(name, help=about, description=about, epilog=_CODES)
        where = action.add_mutually_exclusive_group()
        where.add_argument("file", nargs="?", help="main file; default $MARGOD_CONFIG or /etc/margod/margod.yaml")
        where.add_argument("--config", metavar="FILE", help="the same, as the other commands have it")
        action.add_argument("--url", help="root URL of the WFM, as given to `margod run`")
        action.set_defaults(run=run)
    about = "print the JSON Schema of the configuration files"
    schema = actions.add_parser("schema", help=about, description=about, epilog="Exit codes: 0, 2 usage.")
    schema.set_defaults(run=run_schema)


def run_check(args: argparse.Namespace) -> int:
    """Print `ok` and the files that were read, or all problems; 0 or 78."""
    from margod.model.errors import ConfigError

    try:
        loaded = _load(args)
    except ConfigError as error:
        return _complain(error)
    from margod.config.files import shown

    names = ", ".join(shown(path) for path in loaded.files) or "no files, defaults only"
    print(f"configuration: ok ({names})")
    for note in _notes(loaded):
        print(wrapped(f"note: {note}", 6))
    return 0


def run_show(args: argparse.Namespace) -> int:
    """Print the effective configuration as YAML with origins as comments, or all problems; 0 or 78."""
    from margod.config import with_origins
    from margod.model.errors import ConfigError

    try:
        print(with_origins(_load(args)), end="")
    except ConfigError as error:
        return _complain(error)
    return 0


def run_schema(args: argparse.Namespace) -> int:
    """Print the JSON Schema; 0."""
    del args
    import json

    from margod.config import json_schema

    print(json.dumps(json_schema(), indent=2))
    return 0


def _notes(loaded: Loaded) -> list[str]:
    """Return what holds and hardly anybody can mean."""
    import os
    import pwd
    import time

    from margod.config.notes import notes

    def is_user(name: str) -> bool:
        try:
            return bool(pwd.getpwnam(name))
        except KeyError:
            return False

    return notes(loaded, time.time(), is_user=is_user, exists=os.path.exists)


def _load(args: argparse.Namespace) -> Loaded:
    import os

    from margod.config import Sources, load

    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal without UTF-8 gets \xfc or \u2026, which in double quotes is YAML for the same.
        sys.stdout.reconfigure(errors="backslashreplace")
    overrides = {} if args.url is None else {"wfm.url": args.url}
    return load(Sources.find(os.environ, args.config or args.file), os.environ, overrides)


def _complain(error: ConfigError) -> int:
    print(wrapped(error.message), file=sys.stderr)
    return CONFIG
