"""The exit codes that are not a command's own."""

from __future__ import annotations

from typing import Final

from margod.model.errors import ConfigError, MargodError, StateInUse

FAILED: Final = 1
"""It could not be done; for what talks to the daemon: it is not reachable."""
USAGE: Final = 2
IN_USE: Final = 75
"""EX_TEMPFAIL: another margod holds the state directory."""
CONFIG: Final = 78
"""EX_CONFIG: the configuration cannot be used."""
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141


def error_exit(error: MargodError) -> int:
    """Return the exit code for an error that ends a command."""
    match error:
        case ConfigError():
            return CONFIG
        case StateInUse():
            return IN_USE
        case _:
            return FAILED
