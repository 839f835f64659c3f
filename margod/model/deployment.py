"""What becomes of a deployment on this device, in words that fit every generation of the specification."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class DeploymentState(Enum):
    """The states of a deployment and of its components, the most severe first (wire, section 1.4)."""

    FAILED = "failed"
    REMOVING = "removing"
    INSTALLING = "installing"
    PENDING = "pending"
    REMOVED = "removed"
    INSTALLED = "installed"


FINAL: Final = frozenset({DeploymentState.FAILED, DeploymentState.REMOVED, DeploymentState.INSTALLED})
"""What does not change by itself any more: a report of it is never left out."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a deployment or a component failed; each part may be empty."""

    code: str = ""
    source: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Component:
    """One component of a deployment."""

    name: str
    state: DeploymentState
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class DeploymentStatus:
    """The state of one deployment at one moment. `state` is the most severe of its components, if it has any."""

    deployment_id: str
    state: DeploymentState
    fault: Fault | None
    components: tuple[Component, ...]


def overall(states: list[DeploymentState]) -> DeploymentState | None:
    """Return the most severe of these states; None of none."""
    order = list(DeploymentState)
    return min(states, key=order.index, default=None)
