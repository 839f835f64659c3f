"""`margod check`: the doctor. Looks at everything an onboarding stands on, and changes nothing."""

from __future__ import annotations

import argparse
import json
import os
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Final

from margod.cli.options import add_socket_options
from margod.cli.words import WIDTH, shown
from margod.client import Client, runtime_directory, status_socket

if TYPE_CHECKING:
    from collections.abc import Sequence

    from margod.check import Line
    from margod.cli.options import Subparsers

_INDENT: Final = 13
_COLOURS: Final = {"ok": "32", "warning": "33", "failed": "31", "skipped": "36"}


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "check",
        help="look for what is wrong, from the configuration to the WFM",
        description="Look at configuration, state, identity, clock, network, the WFM and the running margod. Changes "
        "nothing and never onboards. Takes at most about 30 s.",
        epilog="Exit codes: 0 all is well, 10 warnings only, 11 something failed, 2 usage.",
    )
    parser.add_argument("--config", metavar="FILE", help="configuration file (default: /etc/margod/margod.yaml)")
    parser.add_argument("--url", metavar="URL", help="the WFM's root URL, instead of wfm.url")
    parser.add_argument("--state-dir", metavar="DIR", help="instead of state.directory")
    parser.add_argument("--offline", action="store_true", help="send nothing; look at this device only")
    parser.add_argument("--in-downtime", action="store_true", help="ask the WFM although it is downtime")
    parser.add_argument("--json", action="store_true", help="print the report as JSON (schema 1)")
    add_socket_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Look, print the report, and return 0, 10 or 11."""
    import asyncio

    from margod.config import Sources
    from margod.service import imports

    with imports.lean():
        from margod import check

    def daemon(configured: str) -> Client:
        if args.socket:
            path = args.socket
        elif args.runtime_dir or os.environ.get("MARGOD_RUNTIME_DIR"):
            path = status_socket(runtime_directory(args.runtime_dir))
        else:
            path = status_socket(configured)
        return Client(path, timeout=2.0)

    env = dict(os.environ)
    options = {"wfm.url": args.url, "state.directory": args.state_dir}
    overrides = {name: value for name, value in options.items() if value is not None}
    at, began = time.time(), time.monotonic()
    questions = check.Questions(Sources.find(env, args.config), env, overrides, args.offline, daemon, args.in_downtime)
    lines = asyncio.run(check.examine(questions))
    if args.json:
        print(json.dumps(check.document(lines, at, time.monotonic() - began), indent=2))
    else:
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        print(text(lines, colour=colour), end="")
    return check.exit_code(lines)


def text(lines: Sequence[Line], *, colour: bool) -> str:
    """Return the report in lines of at most 80 columns, ended by a newline."""
    parts = []
    counted: dict[str, int] = {}
    for line in lines:
        verdict = line.verdict.value
        counted[verdict] = counted.get(verdict, 0) + 1
        code = f"{line.reason.code}: " if line.reason else ""
        block = [*_wrapped(f"{verdict:9}{line.name:17}{code}{line.message}", "")]
        block += _wrapped(line.detail, "Said: ") if line.detail else []
        block += _wrapped(line.hint, "To do: ") if line.hint else []
        if colour:
            block[0] = f"\x1b[1;{_COLOURS[verdict]}m{verdict}\x1b[0m{block[0][len(verdict) :]}"
        parts += block
    total = ", ".join(f"{number} {verdict}" for verdict, number in counted.items())
    return "\n".join([*parts, "", total, ""])


def _wrapped(words: str, label: str) -> list[str]:
    indent = " " * _INDENT
    first = indent + label if label else ""
    # The columns of the first line are kept; only what a stranger may have written is wrapped and made harmless.
    return textwrap.wrap(
        shown(words),
        WIDTH,
        initial_indent=first,
        subsequent_indent=indent,
        break_on_hyphens=False,
        drop_whitespace=True,
        replace_whitespace=False,
    )
