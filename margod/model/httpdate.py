"""Times in HTTP's headers: dates, and how long a server asks to wait."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

_DIGITS: Final = re.compile(r"[0-9]{1,15}")


def http_date(value: str) -> float | None:
    """Return the Unix seconds of a date (RFC 9110, 5.6.7); None if it is none."""
    if not value or len(value) > 64:
        return None
    try:
        date = parsedate_to_datetime(value)
        # The asctime form names no zone and means UTC; Python would take the device's own.
        return (date.replace(tzinfo=UTC) if date.tzinfo is None else date).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def asked_wait(retry_after: str, date: str, at: float) -> float | None:
    """Return the seconds >= 0 that Retry-After (RFC 9110, 10.2.3) asks to wait; None if it says nothing.

    A date in it is measured against the answer's own `date` where that is one, so that a wrong local clock does not
    count, otherwise against `at`, Unix seconds.
    """
    value = retry_after.strip()
    if _DIGITS.fullmatch(value):
        return float(value)
    then, now = http_date(value), http_date(date)
    return None if then is None else max(0.0, then - (at if now is None else now))
