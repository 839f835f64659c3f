"""Lines for a terminal of 80 columns."""

from __future__ import annotations

import sys
import textwrap
from typing import Final, TextIO

WIDTH: Final = 80


def wrapped(text: str, more: int = 2) -> str:
    """Return `text` with each of its lines broken between words; what goes on stands `more` columns further in.

    A word that is longer, such as a path, stays whole: it can be copied.
    """
    lines = []
    for line in text.splitlines():
        indent = line[: len(line) - len(line.lstrip(" "))]
        further = indent + " " * more
        lines += textwrap.wrap(
            line.strip(" "),
            WIDTH,
            initial_indent=indent,
            subsequent_indent=further,
            break_long_words=False,
            break_on_hyphens=False,
        ) or [""]
    return "\n".join(lines)


def say(text: str, more: int = 0, *, to: TextIO | None = None) -> None:
    """Print `text` (default: on the standard output); on a terminal it is wrapped, for a program it stays as it is."""
    stream = sys.stdout if to is None else to
    print(wrapped(text, more) if stream is not None and stream.isatty() else text, file=stream)
