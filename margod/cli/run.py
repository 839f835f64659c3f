"""`margod run`: the daemon."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Final

EXIT_CONFIG: Final = 78
"""EX_CONFIG: systemd does not start it again (RestartPreventExitStatus)."""
TURN: Final = 0.001
"""Seconds for which a thread keeps the interpreter while another wants it. The loop gives it away at every write to a
socket, and the threads beside it sign: with Python's own 5 ms a report took twice as long."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser(
        "run",
        help="run the daemon in the foreground",
        epilog="Exit codes: 0 stopped by a signal, 2 usage, 75 another margod has the state directory or the sockets, "
        "78 the configuration is broken and no last good one is stored.",
    )
    parser.add_argument("--config", metavar="FILE", help="configuration file (default: /etc/margod/margod.yaml)")
    parser.add_argument("--url", metavar="URL", help="the WFM's root URL, instead of wfm.url")
    parser.add_argument("--state-dir", metavar="DIR", help="instead of state.directory")
    parser.add_argument("--runtime-dir", metavar="DIR", help="instead of local.directory")
    parser.set_defaults(run=run)


def _path(given: str | None) -> str | None:
    """Return what a person at a prompt meant: relative to where they are."""
    return str(Path.cwd() / given) if given else given


def run(args: argparse.Namespace) -> int:
    """Load the configuration and run until stopped; 75 another margod runs, 78 the configuration is broken."""
    from margod.service import imports

    with imports.lean():
        import asyncio

        import structlog

        from margod.config import Sources, load_with_last_good
        from margod.daemon import Daemon
        from margod.model.errors import ConfigError
        from margod.service import foreign, journal
        from margod.service.cores import keep_no_core
        from margod.shell.settings import Options

    keep_no_core()
    env = dict(os.environ)
    options = {
        "wfm.url": args.url,
        "state.directory": _path(args.state_dir),
        "local.directory": _path(args.runtime_dir),
    }
    overrides = {name: value for name, value in options.items() if value is not None}
    sources = Sources.find(env, args.config)
    journal.configure()
    foreign.route_interpreter()
    try:
        loaded = load_with_last_good(sources, env, overrides)
    except ConfigError as error:
        if sys.stderr.isatty():
            print(error.message, file=sys.stderr)
        else:
            for problem in error.problems:
                structlog.get_logger().error("configuration-problem", message=str(problem))
            message = "The configuration has errors and no last good one is stored; margod does not start."
            hint = "Run `margod config check`, mend what it names, then `systemctl start margod`."
            structlog.get_logger().error("configuration-refused", code=error.code, message=message, hint=hint)
        return EXIT_CONFIG
    journal.configure(loaded.config.log.level, loaded.config.log.format)

    sys.setswitchinterval(TURN)

    async def main() -> int:
        return await Daemon(Options(sources, env, overrides), loaded).run()

    return asyncio.run(main())
