"""Whether a request may leave this device now: the owner's windows of downtime, and the operator's own one.

The one place that says yes or no. Times of windows are wall time, because a person wrote them; the operator's downtime
is a length of time and goes by the monotonic clock, so that a clock which is set neither lengthens nor ends it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from margod.engine.now import Now
from margod.model.windows import LONGEST, Window, around, ends, within

SHORTEST: Final = 60.0
"""Seconds that a downtime which an operator begins lasts at least."""
LONGEST_OWN: Final = 30 * 86_400.0
"""And at most: who forgets it has the device back in a month."""
SOON: Final = 1.0
"""Seconds to the next look at least, whatever the clock says."""
BY_HAND: Final = "hand"
"""What began a downtime that an operator began."""
DRIFT: Final = 1.0
"""Seconds by which wall and monotonic clock may move apart before what was found counts no more."""


@dataclass(frozen=True, slots=True)
class Span:
    """The operator's own downtime: to `until` on the monotonic clock, and never beyond `latest`, Unix seconds.

    `latest` is infinite while the boot goes on in which it was begun; after another one only the wall clock can tell
    how much of it is left.
    """

    until: float
    latest: float = math.inf

    def end(self, now: Now) -> float | None:
        """Return when it ends, Unix seconds; None if it is over."""
        end = min(now.wall + self.until - now.mono, self.latest)
        return end if end > now.wall else None


@dataclass(frozen=True, slots=True)
class View:
    """What holds at one moment. `until`: no request before this, Unix seconds; None: requests may leave.

    `lasting`: no end is in sight, and `until` is only when to look again. `edge`: when it changes next, or has to be
    looked at again, monotonic; None if never. `by`: the window that says so, or `hand`.
    """

    until: float | None
    lasting: bool = False
    edge: float | None = None
    by: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Gate:
    """What decides: the windows of schedule.downtime, and the operator's own span if there is one."""

    windows: tuple[Window, ...] = ()
    span: Span | None = None

    def look(self, now: Now) -> View:
        """Return what holds at `now`. Windows that touch, the operator's among them, are one."""
        found, start = around(self.windows, now.wall)
        own = self.span.end(now) if self.span is not None else None
        end = max(now.wall, found or now.wall, own or now.wall)
        begun = now.wall
        if own is not None:  # a window that touches it goes on after it
            begun = end
            end = max(end, ends(self.windows, end) or end)
        if end == now.wall:
            return View(None, edge=None if start is None else now.mono + max(SOON, start - now.wall))
        by = BY_HAND if own is not None else within(self.windows, now.wall)
        return View(end, end == begun + LONGEST, now.mono + max(SOON, end - now.wall), by)


OPEN: Final = Gate()
"""No downtime at all."""


class Watch:
    """Looks at a gate as seldom as can be: when what was found ends, when the clock was set, or at another gate."""

    def __init__(self) -> None:
        """Have seen nothing yet."""
        self._gate: Gate | None = None
        self._ahead = 0.0
        self._view = View(None)

    def look(self, gate: Gate, now: Now) -> View:
        """Return what holds at `now`."""
        ahead, edge = now.wall - now.mono, self._view.edge
        is_over = edge is not None and (now.mono >= edge or now.wall >= edge + self._ahead)
        if gate is not self._gate or is_over or abs(ahead - self._ahead) > DRIFT:
            self._gate, self._ahead, self._view = gate, ahead, gate.look(now)
        return self._view
