"""What the local sockets need of the daemon."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol


class Controller(Protocol):
    """The daemon, seen from its sockets. Documents are JSON-ready, of the shapes in openapi.yaml, without secrets."""

    def status(self) -> dict[str, object]:
        """Return the status document as of now."""

    def healthy(self) -> bool:
        """Return True if the engine's loop makes progress; truthful, never a constant."""

    def identity(self) -> dict[str, object] | None:
        """Return the identity document, or None if there is no certificate yet."""

    def next_identity(self) -> dict[str, object] | None:
        """Return the identity document of what is onboarded beside the one in force, or None."""

    async def capabilities(self) -> dict[str, object]:
        """Return what the device would report now, and what the WFM took last."""

    async def retry(self) -> dict[str, object]:
        """Bring the next attempt forward; return its answer. Raises MargodError if that cannot be done now."""

    async def reload(self) -> dict[str, object]:
        """Read the configuration anew; return what came of it. Raises MargodError if that cannot be done now."""

    async def choose(self, instance: str) -> dict[str, object]:
        """Take the discovered WFM of this instance name. Raises MargodError if that cannot be or has no effect."""

    async def accept_trust(self, fingerprint: str) -> dict[str, object]:
        """Take the offered root CA with this fingerprint (64 lower-case hex digits). Raises MargodError."""

    async def forget_trust(self) -> dict[str, object]:
        """Drop the root CA that is kept, to download it anew. Raises MargodError if no other could be had."""

    async def adopt_hardware(self) -> dict[str, object]:
        """Bind the stored identity to the hardware that it is on. Raises MargodError if there is none."""

    async def rotate(self) -> dict[str, object]:
        """Begin to have another identity onboarded. Raises MargodError if that cannot be done now."""

    async def abort_rotation(self) -> dict[str, object]:
        """Give up the identity that is being onboarded. Raises MargodError if there is none."""

    async def reset(self, *, unregister: bool, new_identity: bool, wipe: bool) -> dict[str, object]:
        """Archive the enrolment and start again, or clear everything. Raises MargodError if it was not done."""

    async def reset_clock(self) -> dict[str, object]:
        """Forget the stored floor of the clock and what was learnt about the time. Raises MargodError."""

    def changes(self) -> AsyncIterator[dict[str, object]]:
        """Yield the status document now and at every change; a slow consumer may get the latest only."""
