"""Which connections may stay: bounded per user and overall, the oldest idle one giving way to a new caller."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final, Protocol

PER_UID: Final = 32
"""Connections to one socket that one user may hold at a time."""
OVERALL: Final = 128
"""Connections to one socket at a time, of all users: on all sockets together about 3 MB of handlers at the worst."""
FEW: Final = 32
"""Connections to the admin socket at a time."""


class Held(Protocol):
    """A connection, as far as the guard looks at it."""

    @property
    def uid(self) -> int:
        """Whose it is."""

    @property
    def busy(self) -> bool:
        """True while a whole request of it is being answered; such a one is never closed for another's sake."""

    @property
    def touched(self) -> float:
        """When bytes last came, on the loop's clock."""

    def abort(self) -> None:
        """Close at once, without waiting for anything to be written."""


class Guard:
    """Counts the connections of one socket: what others do on another one takes no place on it."""

    def __init__(self, per_uid: int = PER_UID, overall: int = OVERALL) -> None:
        """Take the bounds, both >= 1."""
        self._per_uid = per_uid
        self._overall = overall
        self._held: dict[Held, None] = {}

    def __len__(self) -> int:
        """Return how many connections are held."""
        return len(self._held)

    def admit(self, connection: Held) -> bool:
        """Make room for `connection` and hold it; False if all that could give way are busy.

        A user over its own bound loses its own oldest idle connection. When the whole is full, the user who holds most
        gives way, so that one user's flood never costs another one's connection.
        """
        own = [held for held in self._held if held.uid == connection.uid]
        if len(own) >= self._per_uid:
            if not self._give_way(own):
                return False
        elif len(self._held) >= self._overall:
            counts = Counter(held.uid for held in self._held)
            if not any(self._give_way(self._of(uid)) for uid, _ in counts.most_common()):
                return False
        self._held[connection] = None
        return True

    def release(self, connection: Held) -> None:
        """Forget a connection that is gone; one that is not held is fine."""
        self._held.pop(connection, None)

    def _of(self, uid: int) -> list[Held]:
        return [held for held in self._held if held.uid == uid]

    def _give_way(self, among: Iterable[Held]) -> bool:
        oldest = min((held for held in among if not held.busy), key=lambda held: held.touched, default=None)
        if oldest is None:
            return False
        self.release(oldest)
        oldest.abort()
        return True
