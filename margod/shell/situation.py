"""What one look at configuration and vault finds: the facts for the engine, and all that a request is made from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

from margod import trust
from margod.engine.messages import Facts, History, Obstacle
from margod.identity import Identity
from margod.model.capabilities import Capabilities
from margod.model.reasons import Reason
from margod.model.state import State
from margod.protocols import Context
from margod.shell.place import Place
from margod.wfm import Proxy

NOBODY: Final = Capabilities(None, "", "", "")
"""For a request that says nothing of the device."""


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that does not stop anything and that a person should know."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Situation:
    """All that is known at one moment. `policy` verifies the WFM; None while there is nothing to verify it with."""

    facts: Facts
    history: History = field(default_factory=History)
    url: str | None = None
    place: Place | None = None
    bound: bool = False
    """The WFM of this place has answered over a verified channel, or the device is enrolled."""
    identity: Identity | None = None
    anchors: tuple[trust.Anchor, ...] = ()
    trust_source: str = "none"
    policy: trust.TrustPolicy | None = None
    proxy: Proxy | None = None
    unverified: trust.UnverifiedPolicy | None = None
    """How a root CA is judged that is downloaded from nobody knows whom; None if it is not."""
    context: Context | None = None
    client_id: str | None = None
    device_id: str | None = None
    warnings: tuple[Warned, ...] = ()


def is_valid(identity: Identity, now: float) -> bool:
    """Return whether the certificate is valid at `now`, Unix seconds."""
    return identity.not_before <= now <= identity.not_after


def blocked_by(reason: Reason, detail: str) -> Facts:
    """Return the facts of a device of which nothing is known but what stands in the way."""
    return nothing_but(Obstacle(State.BLOCKED, reason, detail))


def nothing_but(obstacle: Obstacle) -> Facts:
    """Return the facts of a device of which nothing is known but this obstacle."""
    return Facts(
        obstacle=obstacle,
        binding="",
        trusted=False,
        enrols=True,
        enrolled=False,
        reported="",
        report="",
        can_reissue=False,
    )


def binding_of(identity: Identity, place: str) -> str:
    """Return the name of this identity at this WFM, which is named by its place."""
    return hashlib.sha256(f"{identity.fingerprint}\n{place}".encode()).hexdigest()
