"""One moment, as the engine is told it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Now:
    """One moment on both clocks, in seconds: `mono` never jumps, `wall` is Unix time and may."""

    mono: float
    wall: float
