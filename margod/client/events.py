"""Server-sent events as they come over a local socket."""

from __future__ import annotations

from collections.abc import Callable


def next_event(line: Callable[[], bytes], limit: int) -> bytes | None:
    """Return the next event's data, None at the end (HTML standard, 9.2.6: lines of fields, ended by an empty one)."""
    data: list[bytes] = []
    size = 0
    while got := line():
        size += len(got)
        if size > limit:
            raise ValueError("an event is too large")
        stripped = got.rstrip(b"\r\n")
        if not stripped and data:
            return b"\n".join(data)
        if stripped.startswith(b"data:"):
            data.append(stripped[5:].removeprefix(b" "))
    return None
