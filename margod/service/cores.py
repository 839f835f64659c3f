"""No core of this process: it would hold the private key and every secret of the enrolment."""

from __future__ import annotations

import resource
from typing import Final

LEAST: Final = 1
"""Bytes. No core fits into it, and unlike 0 it is heeded where `core_pattern` is a pipe (fs/coredump.c)."""


def keep_no_core() -> None:
    """Take away the right to leave a core, for this process and its children. What is already less stays."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    most = LEAST if hard == resource.RLIM_INFINITY else min(LEAST, hard)
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))
