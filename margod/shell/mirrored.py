"""What every mirror of the desired state has in common, wherever it comes from: opened, shown, adopted, let go.

The mirror belongs to one enrolment. What was mirrored before stays until what is new is complete.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import structlog

from margod.deployments.mirror import Held, Mirror
from margod.model import reasons
from margod.model.errors import MargodError, StateUnusable
from margod.model.outcome import Kind, Outcome
from margod.model.reasons import Reason
from margod.model.text import duration
from margod.protocols import Context
from margod.protocols.signed.manifest import Unacceptable
from margod.shell.courier import Courier
from margod.shell.disk import Disk
from margod.shell.ground import Ground
from margod.shell.situation import Warned
from margod.store import drop_tree

log: Final = structlog.get_logger()
T = TypeVar("T")

DIRECTORY: Final = "mirror"
ACCEPTED_FOR: Final = 600.0
"""Seconds for which a person's word holds that the version, or history, may go back."""
ADOPTED_APART: Final = 1.0
"""Seconds between two commits that the agent can cause."""
HELD_BACK: Final = frozenset({reasons.MANIFEST_ROLLED_BACK, reasons.GIT_REWOUND})
"""What a person can let pass."""
SECURITY: Final = frozenset(
    {
        *(reasons.MANIFEST_ROLLED_BACK, reasons.DEPLOYMENT_MISMATCH),
        *(reasons.GIT_REWOUND, reasons.GIT_HOSTILE, reasons.GIT_PLACE_REFUSED),
    }
)
"""What an attack would look like too."""


@dataclass(frozen=True, slots=True)
class Found:
    """What came of a poll. `said`: what the WFM said of this device, whatever is wrong with what it gave."""

    outcome: Outcome
    said: Outcome | None = None
    changed: bool = False


class Failed(Exception):
    """A poll ends here."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.reason.code)
        self.outcome = outcome


class Mirrored:
    """The mirror of the present enrolment, opened when it is needed."""

    def __init__(self, courier: Courier, disk: Disk, ground: Ground) -> None:
        """Keep the mirror in the state directory of `ground`."""
        self._courier, self._disk, self._ground = courier, disk, ground
        self._mirror: Mirror | None = None
        self._for = ""
        """The enrolment that the poll under way is made for."""
        self._retired = False
        self._adopts_again = 0.0
        """When another version may be adopted, monotonic."""
        self._accepts_until = 0.0
        """Until when a person lets it go back, monotonic."""

    @property
    def held(self) -> Held | None:
        """What is mirrored for the present enrolment; None if nothing is."""
        return self._mirror.held if self._mirror and self._mirror.binding == self._binding() else None

    @property
    def whole(self) -> bool:
        """Whether all of that is here."""
        return self.held is not None and self._mirror is not None and self._mirror.whole

    async def open(self) -> None:
        """Open the mirror of the present enrolment, if there is one. Raises MargodError."""
        await self._disk.run(self._opened)

    async def text(self, deployment_id: str) -> tuple[str, bytes | None] | None:
        """Return digest and YAML of a deployment, as Mirror does."""

        def text() -> tuple[str, bytes | None] | None:
            mirror = self._mirror
            if mirror is None or mirror.binding != self._binding():  # what another one left may be going already
                return None
            found = mirror.text(deployment_id)
            _say_damage(mirror)
            return found

        return await self._disk.run(text)

    async def adopt(self, version: int) -> None:
        """Remember what the agent works by. Raises MargodError.

        The version that is stored already writes nothing; another one within a second is refused: each is a commit.
        """
        held = self.held
        if held is not None and version == held.adopted:
            return
        if time.monotonic() < self._adopts_again:
            raise MargodError(reasons.ADOPTED_TOO_OFTEN)

        def adopt() -> None:
            mirror = self._opened()
            if mirror is None or mirror.held is None:
                raise MargodError(reasons.DESIRED_STATE_UNKNOWN)
            mirror.adopt(version)

        apart, self._adopts_again = ADOPTED_APART, math.inf
        try:
            await self._disk.run(adopt)
        except Unacceptable:
            apart = 0.0  # nothing was written
            raise MargodError(reasons.VERSION_UNKNOWN) from None
        finally:
            self._adopts_again = time.monotonic() + apart

    def accept(self) -> None:
        """Let the next one be taken whatever was before it, once. Raises MargodError if nothing is mirrored."""
        if self.held is None:
            raise MargodError(reasons.DESIRED_STATE_UNKNOWN)
        self._accepts_until = time.monotonic() + ACCEPTED_FOR
        log.warning("desired-state-any-version", within=duration(ACCEPTED_FOR), mirrored=self.held.manifest.version)

    async def poll(self, context: Context) -> Found:
        """Make one poll. Raises nothing but CancelledError."""
        raise NotImplementedError

    @property
    def commit(self) -> str | None:
        """The commit that is mirrored, where it comes from Git."""
        return None

    @property
    def wants_poll(self) -> bool:
        """Whether something has come during a poll that another one is to look at."""
        return False

    def interrupt(self) -> None:
        """The enrolment is another one: what is under way is of no use any more."""

    def retry(self) -> None:
        """A person asks."""

    def token_file_changed(self) -> bool:
        """Return whether a file with a token is another one than at the last poll. In the disk thread."""
        return False

    def warnings(self) -> tuple[Warned, ...]:
        """Return what a person should know of the ways by which it is fetched."""
        return ()

    def retire(self) -> None:
        """Give the directory to another one for good (in the disk thread)."""
        self._retired = True
        self.close()

    def close(self) -> None:
        """Give the directory back (in the disk thread)."""
        if self._mirror is not None:
            self._mirror.close()
            self._mirror = None

    async def _in_mirror(self, call: Callable[[Mirror], T]) -> T:
        """Return what `call` makes of the mirror that is polled for, in the disk thread.

        Raises MargodError, also where that is not the present one any more.
        """

        def carry_out() -> T:
            mirror = self._opened(make=True)
            if mirror is None or mirror.binding != self._for:
                raise StateUnusable(reasons.NOT_ENROLLED)
            result = call(mirror)
            _say_damage(mirror)
            return result

        return await self._disk.run(carry_out)

    def _accepts(self) -> bool:
        """Return whether a person has let it go back."""
        return time.monotonic() < self._accepts_until

    def _opened(self, *, make: bool = False) -> Mirror | None:
        """Return the mirror of the present enrolment, None if there is none. In the disk thread. Raises MargodError.

        `make`: begin one where there was none; before that nothing is written of what is never asked for.
        """
        binding, vault = self._binding(), self._ground.vault
        if (mirror := self._mirror) is not None and mirror.binding != binding:
            self.close()
            if vault is not None and not vault.wiped and vault.binding != mirror.binding:  # reset, moved, or replaced
                drop_tree(self._ground.directory, DIRECTORY)
        try:
            if self._mirror is None and binding and not self._retired and (make or self._directory.exists()):
                self._mirror = Mirror(self._directory, binding)
                _say_damage(self._mirror)
        except OSError as error:  # a disk that fails, or one over the network
            raise StateUnusable(reasons.STATE_UNUSABLE, f"The mirror cannot be opened: {error}") from error
        return self._mirror

    @property
    def _directory(self) -> Path:
        return self._ground.directory / DIRECTORY

    def _binding(self) -> str:
        vault = self._ground.vault
        if vault is None or vault.wiped or self._ground.generation.client_id(vault.records) is None:
            return ""
        return vault.binding


def _say_damage(mirror: Mirror) -> None:
    """Put what was found damaged since into the journal."""
    while mirror.findings:
        log.warning("mirror-damaged", code=reasons.DEPLOYMENT_DAMAGED.code, message=mirror.findings.pop(0))


def refused(reason: Reason, detail: str) -> Outcome:
    return Outcome(Kind.BAD_ANSWER, reason, detail)
