"""What one look at configuration and vault finds: the facts for the engine, and all that a request is made from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from margod import trust
from margod.engine.messages import Facts, History, Obstacle
from margod.identity import Identity
from margod.model.capabilities import Capabilities
from margod.model.outcome import Step
from margod.model.reasons import Reason
from margod.model.state import State
from margod.protocols import Context
from margod.shell.place import Place, name_of
from margod.shell.records import EPOCH
from margod.shell.renewal import Staged
from margod.wfm import Proxy

NOBODY: Final = Capabilities(None, "", "", "")
"""For a request that says nothing of the device."""


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that does not stop anything and that a person should know."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Claim:
    """Who asks, and what is kept if the WFM knows him: of a former enrolment, that it holds at this place too."""

    identity: Identity
    context: Context
    records: Mapping[str, bytes] = field(repr=False)


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
    retired: frozenset[str] = frozenset()
    """Fingerprints of the root CAs that another one has taken the place of (`retired.py`)."""
    withdrawn: tuple[trust.Anchor, ...] = ()
    """The stored root CAs, where all of them are retired: they verify nothing before a person says so."""
    staged: tuple[Staged, ...] = ()
    """Root CAs that the WFM offers and that are no anchors yet."""
    policy: trust.TrustPolicy | None = None
    proxy: Proxy | None = None
    unverified: trust.UnverifiedPolicy | None = None
    """How a root CA is judged that is downloaded from nobody knows whom; None if it is not."""
    context: Context | None = None
    former: Claim | None = None
    moved: str = ""
    """Of this look alone: the device is at another WFM now, `anew` or with its enrolment there `restored`."""
    leaving: bool = False
    """The WFM was asked to remove this device, and it may have: no automatism brings the device back."""
    client_id: str | None = None
    device_id: str | None = None
    warnings: tuple[Warned, ...] = ()

    def who(self, step: Step) -> Claim | None:
        """Return who makes the request of a step; None where there is nobody to."""
        if step is Step.CONFIRM and self.former is not None:
            return self.former
        if self.identity is None or self.context is None:
            return None
        return Claim(self.identity, self.context, {})


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


def binding_of(identity: Identity, stored: Mapping[str, object]) -> str:
    """Return the name of this identity at the WFM of wfm.json, since the last reset there."""
    epoch = stored.get(EPOCH)
    named = f"{identity.fingerprint}\n{name_of(stored)}" + (f"\n{epoch}" if epoch else "")
    return hashlib.sha256(named.encode()).hexdigest()
