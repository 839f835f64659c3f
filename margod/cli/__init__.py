"""The command line. Each command is a module here; one that is not asked for is not imported.

Commands that only talk to a socket import neither asyncio, aiohttp, cryptography nor yaml.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

from margod import __version__
from margod.cli.exits import BROKEN_PIPE, INTERRUPTED, error_exit
from margod.model.errors import MargodError
from margod.model.reasons import CONFIG_INVALID

COMMANDS: Final = (
    "run",
    "status",
    "wait",
    "check",
    "discover",
    "retry",
    "reload",
    "reset",
    "prepare-image",
    "deployments",
    "identity",
    "capabilities",
    "trust",
    "deployment",
    "git-token",
    "clock",
    "downtime",
    "config",
    "demo",
    "devwfm",
)
"""The commands, in the order of the help; each is the module of its name with `add_parser(subparsers)`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Prints MargodErrors as what happened and what to do, never a traceback.

    130 after Ctrl-C, 141 when what reads our output has gone.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        try:
            args = _parser(arguments).parse_args(arguments)
            code: int = args.run(args)
        except SystemExit as leave:  # argparse, after a usage error, --help or --version
            code = leave.code if isinstance(leave.code, int) else 0
        except MargodError as error:
            code = error_exit(error)
            _say(error)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The interpreter flushes once more at exit and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as error:  # a full disk behind the standard output
        print(f"margod: the output cannot be written: {error.strerror or error}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _say(error: MargodError) -> None:
    from margod.cli.wrapping import say, wrapped

    said = f"margod: {error.diagnostics()}"
    say(wrapped(said) if error.code == CONFIG_INVALID.code else said, 2, to=sys.stderr)


class _Formatter(argparse.HelpFormatter):
    """Knows the width of the terminal without shutil, which brings archives along: a tenth of a command's start."""

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("width", _columns() - 2)
        super().__init__(*args, **options)


class _Parser(argparse.ArgumentParser):
    """What argparse makes the parsers of the commands of, too."""

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("formatter_class", _Formatter)
        super().__init__(*args, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse what is not known here, with the usage of this very command; argparse leaves it to the outermost."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown


def _columns() -> int:
    """Return the width as shutil.get_terminal_size does: COLUMNS, else the terminal's, else 80."""
    given = os.environ.get("COLUMNS", "")
    if given.isascii() and given.isdigit() and int(given[:6]) > 0:
        return int(given[:6])
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or 80  # type: ignore[union-attr]  # None is caught
    except (AttributeError, ValueError, OSError):
        return 80


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="margod",
        description="Brings this device under the management of a Margo Workload Fleet Manager and keeps it there.",
    )
    parser.add_argument("--version", action="version", version=f"margod {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    asked_for = [arguments[0]] if arguments and arguments[0] in COMMANDS else COMMANDS
    for name in asked_for:
        import_module(f"margod.cli.{name.replace('-', '_')}").add_parser(subparsers)
    return parser
