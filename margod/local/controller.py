"""What the local sockets need of the daemon."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from margod.model.door import Asked
from margod.model.wire import Answer, Sink


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

    def deployments(self) -> dict[str, object]:
        """Return what is mirrored of the WFM's desired state. Raises MargodError while nothing is known."""

    async def deployment(self, deployment_id: str) -> tuple[str, bytes]:
        """Return digest (`sha256:...`) and YAML of a mirrored deployment. Raises MargodError if there is none."""

    async def adopt_deployments(self, version: int) -> dict[str, object]:
        """Store the version that the agent works by; return what is mirrored. Raises MargodError."""

    async def accept_deployments(self) -> dict[str, object]:
        """Let the next desired state be taken whatever its version is; say so. Raises MargodError."""

    async def hand_git_token(self, url: str, token: str, expires_at: float | None) -> dict[str, object]:
        """Keep an access token for the repository at `url` ("": the known one); durable when this returns.

        `expires_at`: Unix seconds. Return whether it is `taken` already. Raises MargodError, also where it is refused.
        """

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

    async def start_downtime(self, seconds: float) -> dict[str, object]:
        """Have nothing leave this device for so many seconds, 60 to 2,592,000; a full disk is said, not raised."""

    async def stop_downtime(self) -> dict[str, object]:
        """End the downtime that was begun by hand, if there is one."""

    async def reset_clock(self) -> dict[str, object]:
        """Forget the stored floor of the clock and what was learnt about the time. Raises MargodError."""

    async def report(self, deployment_id: str, body: bytes, uid: int) -> dict[str, object]:
        """Take a report of the user `uid` for the WFM; it is durable when this returns. Raises MargodError."""

    async def reports(self, after: int) -> dict[str, object]:
        """Return the reports behind the number `after` that the WFM has not accepted. Raises MargodError."""

    async def retry_reports(self, number: int | None) -> dict[str, object]:
        """Let a parked report, or all (None), wait to be sent again. Raises MargodError."""

    async def drop_reports(self, number: int | None) -> dict[str, object]:
        """Remove a report, parked or waiting, or all that are parked (None). Raises MargodError."""

    async def forward(self, asked: Asked, body: Callable[[], Awaitable[bytes]], into: Sink) -> Answer:
        """Return the WFM's answer to another program; a success has gone `into` the sink. Raises DoorError.

        `body` is called once, when it is this caller's turn; what it raises comes through.
        """

    def changes(self) -> AsyncIterator[dict[str, object]]:
        """Yield the status document now and at every change; a slow consumer may get the latest only."""
