"""What is wrong with a text that is no window of time, as far as it can be told: model/windows.py says what one is."""

from __future__ import annotations

import re
from typing import Final

_DASHES: Final = re.compile("[\u2010-\u2015\u2212]")
"""Hyphens and dashes of texts that were set, and the minus sign."""
_TIME: Final = re.compile(r"\d+(?::\d*)*")
_TO: Final = re.compile(r"\s+to(?:\s+|$)", re.IGNORECASE)
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d)?")


def fault(text: str, days: tuple[str, ...]) -> str:
    """Return the part of `text` that is no part of a window and how it is written, "" if no part stands out.

    `days` are the names of weekdays.
    """
    if found := _DASHES.search(text):
        return f"{found[0]} is a dash; write the hyphen of the keyboard, -"
    if re.match(r"\d{4}-", text):
        return _dated(text)
    named = re.match(r"([^\d\s][^\s]*)\s", f"{text} ")
    if named and (word := _no_day(named[1], days)):
        return f"{word} is no weekday; they are {' '.join(days)}, and every day is without any"
    for moment in _TIME.findall(text):
        if wrong := _time(moment):
            return wrong
    return f"{text} has no hours; write them behind: {text} 00:00-24:00" if named and text == named[1] else ""


def _no_day(text: str, days: tuple[str, ...]) -> str:
    known = {day.lower() for day in days}
    return next((word for word in re.split("[-,]", text) if word and word.lower() not in known), "")


def _time(text: str) -> str:
    hours, _, minutes = text.partition(":")
    if not minutes:
        return f"{text} is no time of day; write hours and minutes: {int(hours[:4]):02}:00"
    if not re.fullmatch(r"\d\d", minutes):
        return f"{text} is no time of day; it has hours and minutes with two digits each"
    if len(hours) == 1:
        return f"hours have two digits: 0{text}"
    return "" if re.fullmatch(r"[0-2]\d", hours) and minutes < "60" else f"there is no {text}"


def _dated(text: str) -> str:
    first, *rest = _TO.split(text, maxsplit=1)
    if rest and not rest[0].strip():
        return "its end is missing behind `to`"
    if not rest and _MOMENT.fullmatch(first):
        return f"it has no end; write {first} to, and a date or moment"
    for moment in (first, *rest[:1]):
        if not _MOMENT.match(moment):
            return f"{moment} is no date or moment; write 2026-12-24 or 2026-12-24 18:00"
    return ""
