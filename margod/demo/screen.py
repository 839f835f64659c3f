"""What the person sees: numbered steps in at most 80 columns, coloured on a terminal only."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Sequence
from typing import Final, TextIO

from margod.model.text import clean

WIDTH: Final = 80
_INDENT: Final = 15
"""Columns before a step's text: number and label. A SHA-256 in hexadecimal still fits behind it."""

_COLOURS: Final = {"good": "1;32", "wait": "1;33", "bad": "1;31", "title": "1", "dim": "2"}


class Screen:
    """Writes steps to `out`, each line at once. `clock` gives the seconds since the demo began."""

    def __init__(self, out: TextIO, clock: Callable[[], float]) -> None:
        """Colour is for a terminal whose person does not ask for none (NO_COLOR, TERM=dumb)."""
        self._out = out
        self._clock = clock
        self._coloured = out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def title(self, text: str, *lines: str) -> None:
        """Open with what this is."""
        self._print("", self._paint("title", text), *(self._paint("dim", line) for line in _wrapped(lines, WIDTH)), "")

    def step(self, number: int | None, label: str, text: str, *more: str, mood: str = "good") -> None:
        """Print a step: its number and label, one line with the time at its end where there is room, and more lines.

        `number` None goes on with the step before. `label` has at most 9 characters; `mood` is good, wait or bad.
        """
        first, *rest = _wrapped([text], WIDTH - _INDENT)
        time = f"{self._clock():.1f} s"
        room = WIDTH - 1 - _INDENT - len(first) - len(time)
        end = " " * room + self._paint("dim", time) if room > 0 else ""
        head = f"  {'' if number is None else number:<3}{label:{_INDENT - 5}}"
        self._print(self._paint(mood, head) + first + end)
        self.more(*rest, *more)

    def more(self, *lines: str) -> None:
        """Print more of the last step."""
        for line in _wrapped(lines, WIDTH - _INDENT):
            self._print(" " * _INDENT + self._paint("dim", line))

    def command(self, line: str, *said: str) -> None:
        """Print a command that was run for the person, and what it said if that was not shown as it came."""
        self._print("", self._paint("title", f"$ {line}"), *_wrapped(said, WIDTH), *([""] if said else []))

    def gap(self) -> None:
        """Print an empty line."""
        self._print("")

    def end(self, mood: str, text: str) -> None:
        """Print the last word."""
        self._print("", *(self._paint(mood, line) for line in _wrapped([text], WIDTH)))

    def failed(self, what: str, journals: Sequence[tuple[str, Sequence[str]]]) -> None:
        """Print what went wrong, and the last lines that each process wrote."""
        self._print("", *(self._paint("bad", line) for line in _wrapped([f"The demo failed: {what}"], WIDTH)))
        for name, lines in journals:
            self._print("", f"The last lines of {name}:" if lines else f"{name} wrote nothing.")
            for line in lines:
                shown = textwrap.wrap(clean(line, 400), WIDTH - 4, break_on_hyphens=False)
                self._print(*(f"{'  ' if at == 0 else '    '}{part}" for at, part in enumerate(shown)))

    def note(self, text: str) -> None:
        """Print what may be passed over, from the left edge."""
        self._print(*(self._paint("dim", line) for line in _wrapped([text], WIDTH)))

    def ask(self, question: str) -> None:
        """Print a question; the answer stands behind it."""
        self._out.write("\n" + " " * _INDENT + self._paint("wait", question) + " ")
        self._out.flush()

    def answered(self, *, typed: bool) -> None:
        """Go on after an answer; one that nobody typed has not ended the line."""
        self._print(*([] if typed else [""]))

    def _paint(self, mood: str, text: str) -> str:
        return f"\x1b[{_COLOURS[mood]}m{text}\x1b[0m" if self._coloured and text.strip() else text

    def _print(self, *lines: str) -> None:
        self._out.writelines(f"{line}\n" for line in lines)
        self._out.flush()


def _wrapped(lines: Sequence[str], width: int) -> list[str]:
    """Return `lines`, cleaned of what steers a terminal, in lines of at most `width` columns."""
    return [part for line in lines for part in textwrap.wrap(clean(line, 1000), width, break_on_hyphens=False) or [""]]
