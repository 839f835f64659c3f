"""Which numbers the users have whom the door's rules name: asked of the system in a thread of its own.

A name service that hangs so keeps nothing else waiting: no signature, no write of the identity.
"""

from __future__ import annotations

import asyncio
import pwd
import time
from collections.abc import Sequence
from typing import Final

from margod.model import reasons
from margod.model.door import DoorError
from margod.shell.disk import Disk

KEPT: Final = 300.0
"""Seconds that a number is kept. That a name is nobody's is not: the user may be made at any moment."""
PATIENCE: Final = 5.0
"""Seconds that a request waits for the system's answer."""


class Users:
    """The numbers of users by name. Each name is asked for once at a time, however many requests wait for it."""

    def __init__(self) -> None:
        """Nothing is asked yet; the thread begins with the first question."""
        self._thread: Disk | None = None
        self._known: dict[str, tuple[int, float]] = {}
        self._asking: dict[str, asyncio.Task[int | None]] = {}

    async def numbers(self, names: Sequence[str]) -> dict[str, int]:
        """Return the numbers of those of these users whom the system knows. Raises DoorError if it does not answer."""
        now = time.monotonic()
        self._known = {name: kept for name, kept in self._known.items() if kept[1] > now}
        found = {name: self._known[name][0] for name in names if name in self._known}
        asking = {name: self._ask(name) for name in names if name not in found}
        if asking:
            done, late = await asyncio.wait(asking.values(), timeout=PATIENCE)
            if late or any(task.cancelled() for task in done):
                message = "This system does not say in time who the users are that the door's rules name."
                hint = "Ask again; /etc/nsswitch.conf says where users are looked for. A rule may name users by number."
                raise DoorError(reasons.DOOR_BUSY, message, status=503, retry_after=PATIENCE, hint=hint)
        found |= {name: uid for name, task in asking.items() if (uid := task.result()) is not None}
        return found

    def close(self) -> None:
        """Ask nothing more; a question that hangs ends with the process."""
        for task in self._asking.values():
            task.cancel()
        if self._thread is not None:
            self._thread.close(0.0)

    def _ask(self, name: str) -> asyncio.Task[int | None]:
        if name not in self._asking:
            task = self._asking[name] = asyncio.ensure_future(self._asked(name))
            task.add_done_callback(lambda _: self._asking.pop(name, None))
        return self._asking[name]

    async def _asked(self, name: str) -> int | None:
        self._thread = self._thread or Disk()
        uid = await self._thread.run(lambda: _number(name))
        if uid is not None:
            self._known[name] = (uid, time.monotonic() + KEPT)
        return uid


def _number(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None
